"""The API key, from where it comes."""

import pytest

from runfeed.key import Key, NoKey


def test_text() -> None:
    """A text is the key, and there is no other."""
    key = Key("k1", {"RUNFEED_API_KEY": "k2"})

    assert key.get() == "k1"
    assert not key.is_another()


def test_environment() -> None:
    """RUNFEED_API_KEY is read at the start, and anew when the key was refused."""
    environ = {"RUNFEED_API_KEY": "k1"}
    key = Key(None, environ)
    environ["RUNFEED_API_KEY"] = "k2"

    assert key.get() == "k1"
    assert key.is_another()
    assert key.get() == "k2"
    assert not key.is_another()


@pytest.mark.parametrize("environ", [{}, {"RUNFEED_API_KEY": ""}])
def test_nothing(environ: dict[str, str]) -> None:
    """Without any there is none, which is no error."""
    assert Key(None, environ).get() is None


def test_function() -> None:
    """A function is asked when a key is needed, and again when that was refused."""
    given = iter(["k1", "k1", "k2"])
    key = Key(lambda: next(given), {"RUNFEED_API_KEY": "other"})

    assert (key.get(), key.get()) == ("k1", "k1")
    assert not key.is_another()
    assert key.is_another()
    assert key.get() == "k2"


def test_function_that_fails() -> None:
    """A function that raises, or returns no key, is asked again; what it returned is not repeated."""

    def read() -> str:
        what = answers.pop(0)
        if isinstance(what, Exception):
            raise what
        return what

    answers: list[str | Exception] = [
        FileNotFoundError(2, "No such file", "key.txt"),
        "a secret",
        "k1",
        OSError("gone"),
    ]
    key = Key(read, {})

    with pytest.raises(NoKey, match=r"^api_key: FileNotFoundError: .* 'key.txt'$"):
        key.get()
    with pytest.raises(NoKey, match=r"^api_key: ValueError: api_key must be 1 to 255 visible") as caught:
        key.get()
    assert "a secret" not in str(caught.value)
    assert key.get() == "k1"
    assert not key.is_another()
    assert key.get() == "k1"


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 256, 7])
def test_no_key(given: str) -> None:
    """What is no key is refused by its name, and is not repeated."""
    with pytest.raises(ValueError, match=r"^api_key must be 1 to 255 visible ASCII characters$"):
        Key(given, {})
