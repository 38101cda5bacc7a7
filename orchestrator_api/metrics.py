"""What Prometheus reads, through one narrow door. Never labelled by username or run."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from orchestrator_api import __version__
from orchestrator_api.polls import CAUSES, OUTCOMES

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
# What callers are refused for, of who they are or where they come from.
REFUSALS = (
    "token_missing", "token_invalid", "token_expired", "token_revoked", "key_unknown", "keys_away",
    "forbidden", "not_configured", "host_forbidden", "origin_forbidden", "ticket_unknown",
)  # fmt: skip
JWKS_OUTCOMES = ("ok", "failed")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Metrics:
    """The service's metrics; the methods say what happened."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, that nobody reads
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._appends = Counter("orchestrator_appends", "Appends by what they came to.", ["outcome"], registry=registry)
        self._events = Counter("orchestrator_events_stored", "Events committed.", registry=registry)
        self._commit = Histogram(
            "orchestrator_commit_duration_seconds",
            "One group's transaction, from its call to its commit.",
            buckets=FAST,
            registry=registry,
        )
        self._group = Histogram(
            "orchestrator_group_appends", "Appends stored by one transaction.", buckets=SIZES, registry=registry
        )
        self._published = Counter("orchestrator_frames_published", "Frames that Redis acknowledged.", registry=registry)
        self._drops = Counter(
            "orchestrator_publish_drops",
            "Frames that Redis did not take; history has them.",
            ["reason"],
            registry=registry,
        )
        for reason in ("away", "slow", "full", "refused"):
            self._drops.labels(reason)  # at 0 from the start: else a rate misses the first burst
        self._redis_connects = Counter(
            "orchestrator_redis_connects", "Connections made to Redis for publishing.", registry=registry
        )
        self._polls = Counter(
            "orchestrator_polls",
            "Polls that clients named a cause for, by what they came to; revealed: what no socket had brought in time.",
            ["cause", "outcome"],
            registry=registry,
        )
        for cause in CAUSES:
            for outcome in OUTCOMES:
                self._polls.labels(cause, outcome)  # as above
        self._refusals, self._jwks, self._turned_away = _who(registry)
        self._requests = Histogram(
            "orchestrator_request_duration_seconds",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            buckets=FAST,
            registry=registry,
        )
        self._lag = Histogram(
            "orchestrator_event_loop_lag_seconds",
            "How late a timer of the event loop fires.",
            buckets=FAST,
            registry=registry,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}  # found once: labels() costs more than observe()
        self._outcomes: dict[str, Counter] = {}
        build = Gauge("orchestrator_build_info", "The release that runs.", ["version"], registry=registry)
        build.labels(__version__).set(1)

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read at scrape."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def committed(self, seconds: float, appends: int) -> None:
        """One transaction was committed."""
        self._commit.observe(seconds)
        self._group.observe(appends)

    def appended(self, outcome: str, events: int) -> None:
        """One append was answered; so many of its events were stored by it."""
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = self._appends.labels(outcome)
        counter.inc()
        if events:
            self._events.inc(events)

    def published(self, frames: int) -> None:
        """Redis acknowledged frames."""
        self._published.inc(frames)

    def publish_dropped(self, reason: str, frames: int) -> None:
        """Frames were given up.

        reason: `away` (no connection within a second), `slow` (no answer in time), `full` (the bound), `refused`.
        """
        self._drops.labels(reason).inc(frames)

    def redis_connected(self) -> None:
        """A connection for publishing was made."""
        self._redis_connects.inc()

    def polled(self, cause: str, outcome: str) -> None:
        """A client's poll was answered, or is refused."""
        self._polls.labels(cause, outcome).inc()

    def refused(self, code: str) -> None:
        """A request was answered with this problem; counted when it is for who makes it, or from where."""
        if code in REFUSALS:
            self._refusals.labels(code).inc()

    def turned_away(self, limit: str) -> None:
        """A connection was one too many. limit: `process` or `address`."""
        self._turned_away.labels(limit).inc()

    def jwks_fetched(self, outcome: str) -> None:
        """The issuer's keys were asked for. outcome: `ok`, or `failed` and those that we have still hold."""
        self._jwks.labels(outcome).inc()

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. route: its template, never its path."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self._series[method, route, status] = self._requests.labels(method, route, str(status))
        series.observe(seconds)

    def loop_lagged(self, seconds: float) -> None:
        """A timer fired so late."""
        self._lag.observe(max(0.0, seconds))


def _who(registry: CollectorRegistry) -> tuple[Counter, Counter, Counter]:
    """Returns the counters, all at 0: refusals by code, readings of the issuer's keys, connections turned away."""
    refusals = Counter(
        "orchestrator_auth_refusals", "Requests refused for who makes them, or from where.", ["code"], registry=registry
    )
    for code in REFUSALS:
        refusals.labels(code)
    jwks = Counter("orchestrator_jwks_fetches", "Readings of the issuer's keys.", ["outcome"], registry=registry)
    for outcome in JWKS_OUTCOMES:
        jwks.labels(outcome)
    crowd = Counter(
        "orchestrator_connections_refused", "Connections that were one too many.", ["limit"], registry=registry
    )
    for limit in ("process", "address"):
        crowd.labels(limit)
    return refusals, jwks, crowd
