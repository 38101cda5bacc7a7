"""What a reporter takes from arguments and the environment."""

import re
from typing import Any

import pytest

from runfeed.config import DEFAULT_URL, base_url, read_config
from runfeed.names import RUN_ID


def test_arguments_beat_the_environment() -> None:
    """An argument counts first, then the variables in their order; an empty variable is none."""
    environ = {
        "RUN_ID": "",
        "JOB_ID": "job",
        "RUNFEED_URL": "http://first",
        "WEBHOOK_BASE_URL": "http://second",
        "RUNFEED_USERNAME": "bob",
        "RUNFEED_API_KEY": "key",
        "RUNFEED_SPILL": "there",
    }
    config = read_config(None, environ)
    given = read_config("run", environ, url="http://third", username="alice", api_key="mine", spill="here")

    assert (config.run.run_id, config.run.url, config.run.username) == ("job", "http://first", "bob")
    assert (config.key.get(), config.spill, config.made) == ("key", "there", False)
    assert (given.run.run_id, given.run.url, given.run.username) == ("run", "http://third", "alice")
    assert (given.key.get(), given.spill) == ("mine", "here")
    assert read_config("r", {"WEBHOOK_BASE_URL": "http://second"}).run.url == "http://second"


def test_what_nobody_says() -> None:
    """Without anything there is a new, valid run_id each time, and the API of ./dev run."""
    config, other = read_config(None, {}), read_config(None, {})

    assert RUN_ID.fullmatch(config.run.run_id)
    assert config.run.run_id != other.run.run_id
    assert config.made
    assert (config.run.url, config.run.username, config.key.get(), config.spill) == (DEFAULT_URL, None, None, None)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("HTTPS://Example.ORG/", "https://example.org"),
        ("http://host:/a/b/", "http://host/a/b"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_urls_have_one_spelling(text: str, url: str) -> None:
    """Journals are compared by URL: it has one spelling."""
    assert base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:80", "ftp://host", "http://", "http:///path", "http://host:x", "http://host:99999"),
        *("http://user:secret@host", "http://host?x=1", "http://host/?", "http://host#x", "http://ho st", "http://h\n"),
        *("http://host/a b", "http://höst", 7, b"http://host"),
    ],
)
def test_bad_urls(text: Any) -> None:
    """What is no base URL is refused without being repeated: it may hold a password."""
    with pytest.raises(ValueError, match=r"^url must be") as refused:
        base_url(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {"username": 7},
        {"workflow": ""},
        {"workflow": "x" * 257},
        {"workflow": "\0"},
        {"metadata": [1]},
        {"metadata": {"x": object()}},
        {"metadata": {"x": float("nan")}},
        {"metadata": {"x": "y" * 65536}},
        {"metadata": {"x": "\udc80"}},
        {"api_key": "not\nvisible"},
        {"spill": "a\0b"},
        {"flush_timeout": -1},
        {"flush_timeout": float("inf")},
        {"flush_timeout": "5"},
        {"flush_timeout": True},
    ],
)
def test_bad_arguments_are_named(given: dict[str, Any]) -> None:
    """A bad argument is named, and its value is not repeated."""
    (name,) = given
    with pytest.raises(ValueError, match=f"^{name} must be") as refused:
        read_config("r", {}, **given)
    assert "visible\n" not in str(refused.value)


def test_bad_variables_are_named() -> None:
    """A bad variable is named beside the argument that it stands for."""
    with pytest.raises(ValueError, match=re.escape("run_id (JOB_ID) must be")):
        read_config(None, {"JOB_ID": "a b"})
    with pytest.raises(ValueError, match=re.escape("url (WEBHOOK_BASE_URL) must be")):
        read_config("r", {"WEBHOOK_BASE_URL": "nowhere"})
    with pytest.raises(ValueError, match=re.escape("api_key (RUNFEED_API_KEY) must be")):
        read_config("r", {"RUNFEED_API_KEY": "a b"})


def test_metadata_is_copied() -> None:
    """What the worker does to its metadata later is not the run's."""
    metadata = {"a": [1]}
    config = read_config("r", {}, metadata=metadata)
    metadata["a"].append(2)

    assert config.run.metadata == {"a": [1]}
