"""fanout.metrics: plain integers, read at a scrape."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fanout.metrics import Histogram, HubCollector, Metrics, registry


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value of all samples."""
    collector = HubCollector(
        metrics,
        {"fanout_a": ("A.", lambda: 1.5), "fanout_b": ("B.", lambda: None)},
        {"fanout_c": ("C.", lambda: 2)},
        {"malformed": 3},
    )
    text = generate_latest(registry(collector)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_collect() -> None:
    """A scrape shows what was counted, gauges as they are now, and leaves unknown ones out."""
    metrics = Metrics()
    metrics.opened = 5
    metrics.request_refused(404)
    metrics.request_refused(404)
    metrics.socket_closed(1000)
    found = scraped(metrics)

    assert found["fanout_connections_opened_total", ()] == 5
    assert found["fanout_requests_refused_total", (("status", "404"),)] == 2
    assert found["fanout_connections_closed_total", (("code", "1000"),)] == 1
    assert found["fanout_frames_dropped_total", (("reason", "malformed"),)] == 3
    assert found["fanout_a", ()] == 1.5
    assert found["fanout_c_total", ()] == 2
    assert ("fanout_b", ()) not in found


def test_codes_are_bounded() -> None:
    """A client cannot make a label of its own: codes that mean nothing here are counted as other."""
    metrics = Metrics()
    for code in range(3000, 5000):
        metrics.socket_closed(code)

    assert metrics.closed == {"other": 1993} | dict.fromkeys(map(str, (4400, 4401, 4403, 4404, 4408, 4409, 4410)), 1)


def test_histogram() -> None:
    """Each observation is counted in the first bucket that holds it, and the sums are cumulative."""
    histogram = Histogram()
    for value in (0.0, 0.001, 0.0011, 10.0, 11.0):
        histogram.observe(value)
    cumulative = dict(histogram.cumulative())

    assert (cumulative["0.001"], cumulative["0.0025"], cumulative["5.0"], cumulative["10.0"], cumulative["+Inf"]) == (
        2,
        3,
        3,
        4,
        5,
    )
    assert histogram.total == 21.0021


def test_names() -> None:
    """Every metric of ours begins with fanout_ and counters end with _total."""
    ours = {name for name, _ in scraped(Metrics()) if not name.startswith(("process_", "python_"))}

    assert ours
    assert all(name.startswith("fanout_") for name in ours)


def test_reasons_are_bounded() -> None:
    """Only reasons that are about who may are counted by name; others have their status."""
    metrics = Metrics()
    for code in ("token_expired", "host_forbidden", "run_unknown", "x" * 99, ""):
        metrics.request_refused(401, code)
    metrics.limit_refused("user")
    metrics.jwks_fetched("ok")
    found = scraped(metrics)

    assert metrics.unproven == {"token_expired": 1, "host_forbidden": 1}
    assert found["fanout_requests_refused_total", (("status", "401"),)] == 5
    assert found["fanout_auth_refusals_total", (("code", "token_expired"),)] == 1
    assert found["fanout_limits_refused_total", (("limit", "user"),)] == 1
    assert found["fanout_jwks_fetches_total", (("outcome", "ok"),)] == 1
