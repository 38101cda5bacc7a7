"""fanout.limits: counts that end at nothing, a bucket, minutes."""

from hypothesis import given
from hypothesis import strategies as st

from fanout.limits import MINUTE, Bucket, Counts, Messages


@given(st.lists(st.sampled_from("abc")), st.integers(0, 3))
def test_counts(names: list[str], most: int) -> None:
    """A name is over when there are more than may be, and nothing is kept of a name that has none."""
    counts = Counts(most)
    for number, name in enumerate(names):
        counts.add(name)
        assert counts.of(name) == names[: number + 1].count(name)
        assert counts.over(name) is (0 < most < counts.of(name))
    for name in names:
        counts.remove(name)

    assert len(counts) == 0
    assert not counts.over("a")


def test_bucket() -> None:
    """A second's worth at once, then as many as time gives."""
    bucket, now = Bucket(4, 100.0), 100.0
    assert [bucket.take(now) for _ in range(5)] == [True] * 4 + [False]
    assert bucket.empty(now)
    assert bucket.empty(now + 0.2)
    assert not bucket.empty(now + 0.25)
    assert [bucket.take(now + 0.25) for _ in range(2)] == [True, False]


def test_whoever_finds_none_takes_none() -> None:
    """Those who are turned away do not put off the time when others may."""
    bucket = Bucket(4, 100.0)
    assert sum(bucket.take(100.0) for _ in range(1000)) == 4
    assert not bucket.empty(100.25)


def test_bucket_holds_a_second() -> None:
    """However long nobody comes, it is a second's worth."""
    bucket = Bucket(2, 0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


@given(st.lists(st.floats(0, 10)))
def test_bucket_is_fair(steps: list[float]) -> None:
    """In no time more are let in than a second's worth and what that time gives."""
    bucket, now, taken = Bucket(5, 0.0), 0.0, 0
    for step in steps:
        now += step
        taken += bucket.take(now)
    assert taken <= 5 + 5 * now


def test_no_limit() -> None:
    """0 is no limit."""
    bucket, counts, messages = Bucket(0, 0.0), Counts(0), Messages()
    for _ in range(1000):
        assert bucket.take(0.0)
        counts.add("a")
        assert not messages.one_too_many(0.0, 0)

    assert not counts.over("a")


def test_messages() -> None:
    """One more than may be within a minute is too many; a minute later the count begins anew."""
    messages = Messages()
    assert not any(messages.one_too_many(1000.0 + n, 3) for n in range(3))
    assert messages.one_too_many(1000.0 + MINUTE - 0.1, 3)
    assert not any(messages.one_too_many(1000.0 + MINUTE + n, 3) for n in range(3))
