"""What the hub counts: plain integers on the hot path, read at a scrape. Never labelled by username or run."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from . import __version__

LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
# A client may send any code from 3000 to 4999; each as a label would let it make 2,000 series.
_CODES: Final = frozenset(
    (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4404, 4408, 4409, 4410)
)
# By name, so that a refusal with a new code makes no new series until it is named here.
_AUTH: Final = frozenset((
    "token_missing", "token_invalid", "token_expired", "token_revoked", "token_in_query", "forbidden",
    "host_forbidden", "origin_forbidden", "keys_away",
))  # fmt: skip


class Histogram:
    """Observed seconds in buckets."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LAG_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(LAG_BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus wants them."""
        result, so_far = [], 0
        for bound, count in zip((*map(str, LAG_BUCKETS), "+Inf"), self.counts, strict=True):
            so_far += count
            result.append((bound, float(so_far)))
        return result


class Metrics:
    """The counters; whoever does the work adds to them."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: dict[str, int] = {}
        self.refused: dict[int, int] = {}
        self.unproven: dict[str, int] = {}
        self.limited: dict[str, int] = {}
        self.jwks: dict[str, int] = {}
        self.frames_sent = 0
        self.bytes_sent = 0
        self.reconnects = 0
        self.joins_protected = 0
        self.joins_unprotected = 0
        self.heals = 0
        self.heals_vain = 0
        self.healed_frames = 0
        self.replayed_frames = 0
        self.resets = 0
        self.rebuilds = 0
        self.history: dict[tuple[str, str], int] = {}
        self.delivery_lag = Histogram()
        self.loop_lag = Histogram()

    def socket_closed(self, code: int) -> None:
        """One socket's life ended with `code`."""
        label = str(code) if code in _CODES else "other"
        self.closed[label] = self.closed.get(label, 0) + 1

    def history_asked(self, call: str, outcome: str) -> None:
        """One request to the API ended: `call` is the method's name in short; `outcome` ok, away or unknown."""
        self.history[call, outcome] = self.history.get((call, outcome), 0) + 1

    def request_refused(self, status: int, code: str = "") -> None:
        """One request was answered with `status`, or a close that stands for it, instead of a socket."""
        self.refused[status] = self.refused.get(status, 0) + 1
        self.auth_refused(code)

    def auth_refused(self, code: str) -> None:
        """Somebody was refused, or closed, for a reason of this name; only those about who may are counted by it."""
        if code in _AUTH:
            self.unproven[code] = self.unproven.get(code, 0) + 1

    def limit_refused(self, limit: str) -> None:
        """Somebody found a limit reached: process, handshakes, user, address or messages."""
        self.limited[limit] = self.limited.get(limit, 0) + 1

    def jwks_fetched(self, outcome: str) -> None:
        """The issuer was asked for its keys: ok or failed."""
        self.jwks[outcome] = self.jwks.get(outcome, 0) + 1


class HubCollector(Collector):
    """Turns the counters into metrics at scrape time.

    Args:
        metrics: the counters.
        gauges: name and help of each value that is looked up at scrape time, with the look-up (None: not known now).
        counters: the same for counters that live elsewhere.
        dropped: frames dropped, by reason.
    """

    def __init__(
        self,
        metrics: Metrics,
        gauges: dict[str, tuple[str, Callable[[], float | None]]],
        counters: dict[str, tuple[str, Callable[[], int]]],
        dropped: dict[str, int],
    ) -> None:
        self._metrics = metrics
        self._gauges = gauges
        self._counters = counters
        self._dropped = dropped

    def collect(self) -> Iterable[Metric]:
        """All metrics, as they stand now."""
        m = self._metrics
        for name, (text, look_up) in self._gauges.items():
            value = look_up()
            if value is not None:
                yield GaugeMetricFamily(name, text, value)
        for name, (text, count) in self._counters.items():
            yield CounterMetricFamily(name, text, count())
        yield CounterMetricFamily("fanout_connections_opened", "Sockets opened.", m.opened)
        yield CounterMetricFamily("fanout_redis_reconnects", "Subscriptions confirmed after the first.", m.reconnects)
        for name, text, value in (
            ("fanout_joins_protected", "Sockets opened with a base that history gave.", m.joins_protected),
            ("fanout_joins_unprotected", "Sockets opened though history did not answer in time.", m.joins_unprotected),
            ("fanout_heals", "Feeds about which history was asked, once a feed and question.", m.heals),
            ("fanout_heals_vain", "Those of them that found nothing.", m.heals_vain),
            ("fanout_healed_frames", "Frames that came from history and not from Redis.", m.healed_frames),
            (
                "fanout_replayed_frames",
                "Frames of history written to sockets that brought a cursor.",
                m.replayed_frames,
            ),
            ("fanout_resets", "Feeds whose numbering changed under their sockets.", m.resets),
            ("fanout_redis_rebuilds", "Redis connections given up because no beacon came.", m.rebuilds),
        ):
            yield CounterMetricFamily(name, text, value)
        requests = CounterMetricFamily(
            "fanout_history_requests", "Requests to the API, by call and outcome.", labels=("call", "outcome")
        )
        for (call, outcome), number in sorted(m.history.items()):
            requests.add_metric((call, outcome), number)
        yield requests
        yield CounterMetricFamily("fanout_frames_sent", "Frames written to sockets.", m.frames_sent)
        yield CounterMetricFamily("fanout_sent_bytes", "Bytes of frames written to sockets.", m.bytes_sent)
        yield _labelled("fanout_connections_closed", "Sockets closed, by close code.", "code", m.closed)
        yield _labelled("fanout_requests_refused", "Requests refused, by HTTP status.", "status", m.refused)
        yield _labelled("fanout_auth_refusals", "Refused or closed for who they are, by code.", "code", m.unproven)
        yield _labelled("fanout_limits_refused", "Refused or closed for a limit, by its name.", "limit", m.limited)
        yield _labelled("fanout_jwks_fetches", "Questions for the issuer's keys, by outcome.", "outcome", m.jwks)
        yield _labelled("fanout_frames_dropped", "Redis messages dropped, by reason.", "reason", self._dropped)
        yield _histogram(
            "fanout_delivery_lag_seconds",
            "From recorded_at of the first frame of a read of Redis to the last socket write of the read, once a read.",
            m.delivery_lag,
        )
        yield _histogram("fanout_event_loop_lag_seconds", "By how much a turn of the timer came late.", m.loop_lag)
        build = GaugeMetricFamily("fanout_build_info", "What runs.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build


def registry(collector: HubCollector) -> CollectorRegistry:
    """A registry of its own: the hub's metrics, the process' and the platform's."""
    result = CollectorRegistry()
    result.register(collector)
    ProcessCollector(registry=result)
    PlatformCollector(registry=result)
    return result


def _labelled(name: str, text: str, label: str, counts: dict[str, int] | dict[int, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((str(value),), count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, buckets=histogram.cumulative(), sum_value=histogram.total)
