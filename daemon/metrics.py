"""
What a scrape answers: plain counters that the parts keep anyway, read when somebody asks.

Nothing on the way of a message knows about metrics.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from daemon.latency import Histogram, Latency
from daemon.metric import METRICS, STARTING_REASONS
from daemon.pulse import Pulse
from sinks.websocket import WebsocketSink

if TYPE_CHECKING:
    from book.series import Series
    from book.tracker import BookTracker
    from daemon.health import HealthWatch
    from daemon.logs import Logs
    from daemon.service import Service
    from feeds.connection import Connection
    from feeds.feed import Feed
    from sinks.sink import Sink

_NANOSECONDS: Final = 1e9
_SUBSCRIPTION_STATES: Final = ("new", "asked", "active", "refused")


class Metrics:
    """
    Every metric of one daemon. Built once, read at each scrape, possibly from another thread.

    It listens to the hub for latency samples, and to the loop by `pulse`; the rest it finds.
    """

    def __init__(self, service: Service, health: HealthWatch | None = None, logs: Logs | None = None) -> None:
        self.latency = Latency(lambda: service.sinks)
        self.pulse = Pulse()
        self.reloads: dict[str, int] = dict.fromkeys(STARTING_REASONS["skulk_config_reloads"], 0)
        """Configurations read, by outcome: counted by whoever reloads."""
        self.applied_ns = service.started_ns
        self._service = service
        self._health = health
        self._logs = logs
        self._version = version("skulk")
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        service.hub.listen(self.latency.batch)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type: OpenMetrics where it is asked for, else Prometheus text."""
        encoder, content_type = choose_encoder(accept)
        ours = self._read().text(openmetrics=content_type.startswith("application/openmetrics-text"))
        return ours.encode() + encoder(self._registry), content_type

    def _read(self) -> _Page:
        """Read everything once."""
        page = _Page()
        service = self._service
        self._process(page)
        for name, connection in list(service.connections.items()):
            _connection(page, name, connection)
            self.latency.expect(connection.feed.venue.name)
        for venue, budget in list(service.budgets.items()):
            for kind, tokens in budget.tokens().items():
                page.put("skulk_upstream_budget_tokens", round(tokens, 3), venue, kind)
                page.put("skulk_upstream_requests", budget.spent[kind], venue, kind)
        for tracker in service.trackers():
            self._book(page, tracker)
        self._pipeline(page)
        for sink in list(service.sinks):
            _sink(page, sink, failed=sink.name in service.failed_sinks)
        return page

    def _process(self, page: _Page) -> None:
        page.put("skulk_build_info", 1, self._version, platform.python_version())
        trackers = self._service.trackers()
        page.put("skulk_books_configured", len(trackers))
        page.put("skulk_books_live", sum(tracker.state == "live" for tracker in trackers))
        ready = None if self._health is None else self._health.readyz()
        page.put("skulk_ready", 0 if ready is None else int(ready.ok))
        page.put("skulk_waiting_for", 0 if ready is None else len(ready.reasons))
        page.histogram("skulk_event_loop_lag_seconds", self.pulse.lag)
        page.put("skulk_event_loop_stalls", self.pulse.stalls)
        page.put("skulk_pipeline_heartbeat_timestamp_seconds", self.pulse.beat_ns / _NANOSECONDS)
        page.put("skulk_clock_jumps", self.pulse.clock_jumps)
        page.put("skulk_config_applied_timestamp_seconds", self.applied_ns / _NANOSECONDS)
        for outcome, count in self.reloads.items():
            page.put("skulk_config_reloads", count, outcome)
        lines = {} if self._logs is None else self._logs.counts
        for level in ("debug", "info", "warning", "error"):
            page.put("skulk_log_lines", lines.get(level, 0), level)
        page.put("skulk_log_lines_suppressed", 0 if self._logs is None else self._logs.suppressed)
        page.put("skulk_log_lines_dropped", 0 if self._logs is None else self._logs.writer.dropped)

    def _book(self, page: _Page, tracker: BookTracker) -> None:
        series = tracker.series
        labels = (series.venue, series.symbol, series.channel)
        since = self._service.transitions.since.get(series.stream, self._service.started_ns)
        page.put("skulk_book_live", int(tracker.state == "live"), *labels)
        page.put("skulk_book_state_timestamp_seconds", since / _NANOSECONDS, *labels)
        page.put("skulk_book_update_timestamp_seconds", tracker.ts_recv / _NANOSECONDS, *labels)
        page.put("skulk_book_levels", len(tracker.book.bids), *labels, "bid")
        page.put("skulk_book_levels", len(tracker.book.asks), *labels, "ask")
        counts = tracker.counts
        page.put("skulk_book_deltas", tracker.deltas + counts["kept_deltas"], *labels)
        page.put("skulk_book_snapshots", counts["snapshots"] + counts["repeated_snapshots"], *labels)
        page.put("skulk_book_kept_deltas", tracker.kept, *labels)
        page.put("skulk_book_audits", counts["audits"], *labels)
        page.put("skulk_book_audit_mismatched_levels", counts["audit_mismatched_levels"], *labels)
        page.put("skulk_book_divergence_ratio", tracker.divergence, *labels)
        page.reasons("skulk_book_gaps", tracker.gaps, *labels)
        old = counts["stale_deltas"] + counts["stale_snapshots"] + counts["older_books"]
        unusable = {
            "stale": old,
            "broken": counts["broken_deltas"],
            "malformed": counts["malformed_deltas"],
            "kept_overflowed": counts["kept_overflowed"],
            "kept_dropped": counts["kept_dropped"],
        }
        for reason, count in unusable.items():
            page.put("skulk_book_unusable_messages", count, *labels, reason)

    def _pipeline(self, page: _Page) -> None:
        service = self._service
        gaps: dict[tuple[str, str], dict[str, int]] = {}
        events: dict[tuple[str, str], int] = {}
        streams: set[Series] = set()
        for connection in list(service.connections.values()):
            feed = connection.feed
            wanted = {channel.partition(":")[0] for channel in connection.wanted.channels} | {"status"}
            for channel in wanted | ({"quote"} if "book" in wanted else set()):
                events.setdefault((feed.venue.name, channel), 0)
            for subscription in list(feed.trackers):
                book = (subscription.venue, subscription.symbol, subscription.channel)
                page.put("skulk_book_messages", subscription.frames, *book)
            for subscription in list(feed.subscriptions):
                if subscription.channel == "trade":
                    gaps.setdefault((subscription.venue, subscription.symbol), {})
            streams.update(list(feed.series.values()))
        for series in streams:
            key = (series.venue, series.channel)
            events[key] = events.get(key, 0) + series.seq
        for (venue, symbol, reason), count in list(service.transitions.trade_gaps.items()):
            gaps.setdefault((venue, symbol), {})[reason] = count
        for labels, counts in gaps.items():
            page.reasons("skulk_trade_gaps", counts, *labels)
        clerk = service.gap_clerk
        page.reasons("skulk_gap_dossiers", {"written": clerk.written, "skipped": clerk.skipped})
        page.put("skulk_coverage_lost_intervals", service.coverage.lost)
        for labels, count in events.items():
            page.put("skulk_events", count, *labels)
        page.put("skulk_batches", service.hub.batches)
        latency = self.latency
        for venue, histogram in list(latency.venue.items()):
            page.histogram("skulk_venue_latency_seconds", histogram, venue)
            page.put("skulk_venue_clock_ahead", latency.venue_ahead[venue], venue)
        page.histogram("skulk_publish_latency_seconds", latency.publish)
        for sink in list(service.sinks):
            page.histogram("skulk_sink_latency_seconds", latency.of_sink(sink.name), sink.name)


def _connection(page: _Page, name: str, connection: Connection) -> None:
    feed: Feed = connection.feed
    labels = (feed.venue.name, name)
    page.put("skulk_upstream_connected", int(feed.connected), *labels)
    page.put("skulk_upstream_connected_timestamp_seconds", connection.connected_since_ns / _NANOSECONDS, *labels)
    page.put("skulk_upstream_connects", connection.connects, *labels)
    page.put("skulk_upstream_backoff_seconds", connection.backoff_seconds, *labels)
    page.put("skulk_upstream_ping_seconds", connection.latency_seconds, *labels)
    page.put("skulk_upstream_last_frame_timestamp_seconds", connection.last_frame_ns / _NANOSECONDS, *labels)
    page.put("skulk_upstream_frames", feed.frames, *labels)
    page.put("skulk_upstream_received_bytes", feed.frame_bytes, *labels)
    page.reasons("skulk_upstream_connect_failures", connection.connect_failures, *labels)
    page.reasons("skulk_upstream_disconnects", connection.disconnects, *labels)
    page.reasons("skulk_upstream_rejected_frames", feed.rejected, *labels)
    page.reasons("skulk_upstream_notes", feed.notes, *labels)
    recorder = connection.recorder
    page.put("skulk_capture_records", recorder.records, *labels)
    page.put("skulk_capture_written_records", recorder.written, *labels)
    page.put("skulk_capture_written_bytes", recorder.written_bytes, *labels)
    page.put("skulk_capture_dropped_records", recorder.dropped, *labels)
    page.put("skulk_capture_in_flight_records", recorder.in_flight, *labels)
    page.put("skulk_capture_queue_bytes", recorder.queue_bytes[0], *labels)
    page.reasons("skulk_capture_errors", recorder.errors, *labels)
    states = dict.fromkeys(_SUBSCRIPTION_STATES, 0)
    for subscription in list(feed.subscriptions):
        states[subscription.state] = states.get(subscription.state, 0) + 1
    for state, count in states.items():
        page.put("skulk_upstream_subscriptions", count, *labels, state)


def _sink(page: _Page, sink: Sink, *, failed: bool) -> None:
    counts, name = sink.counts, sink.name
    held, limit = sink.queue_bytes
    page.put("skulk_sink_up", int(not failed), name)
    page.put("skulk_sink_taken_events", counts.taken, name)
    page.put("skulk_sink_written_events", counts.written, name)
    page.put("skulk_sink_written_bytes", counts.written_bytes, name)
    page.put("skulk_sink_filtered_events", counts.filtered, name)
    page.put("skulk_sink_conflated_events", counts.conflated, name)
    page.reasons("skulk_sink_dropped_events", counts.dropped, name)
    page.reasons("skulk_sink_rejected_events", counts.rejected, name)
    page.reasons("skulk_sink_errors", counts.errors, name)
    page.put("skulk_sink_in_flight_events", sink.in_flight, name)
    page.put("skulk_sink_queue_bytes", held, name)
    page.put("skulk_sink_queue_limit_bytes", limit, name)
    if isinstance(sink, WebsocketSink):
        _rebroadcast(page, sink)


def _rebroadcast(page: _Page, sink: WebsocketSink) -> None:
    shown, name = sink.describe(), sink.name
    page.put("skulk_ws_clients", shown["clients"], name)
    page.put("skulk_ws_subscriptions", shown["subscriptions"], name)
    page.put("skulk_ws_lagging_clients", sum(client.lagging for client in list(sink.fanout.clients)), name)
    page.put("skulk_ws_slow_warnings", shown["warnings"], name)
    page.reasons("skulk_ws_sent_messages", shown["sent"], name)
    page.reasons("skulk_ws_conflated_events", shown["conflated"], name)
    page.reasons("skulk_ws_resumes", shown["resumes"], name)
    page.reasons("skulk_ws_refused_clients", shown["refused"], name)
    known = STARTING_REASONS["skulk_ws_closes"]
    closes = dict.fromkeys(known, 0)
    for code, count in shown["closes"].items():  # a client may close with thousands of codes
        closes[code if code in known else "other"] += count
    page.reasons("skulk_ws_closes", closes, name)


class _Page:
    """One scrape's samples, by family. Written out here: the client library's way takes six times as long."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in METRICS}

    def put(self, name: str, value: float, *labels: str) -> None:
        """Add one sample."""
        metric = METRICS[name]
        self._samples[name].append(f"{metric.served_name}{_labels(metric.labels, labels)} {value!r}\n")

    def reasons(self, name: str, counts: Mapping[str, int], *labels: str) -> None:
        """Add one sample for each value of the last label, known ones as 0 from the start."""
        for reason in dict.fromkeys((*STARTING_REASONS[name], *list(counts))):
            self.put(name, counts.get(reason, 0), *labels, str(reason))

    def histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Add the buckets, the count and the sum."""
        names, samples = METRICS[name].labels, self._samples[name]
        total = 0
        for bound, count in zip((*histogram.bounds, float("inf")), list(histogram.counts), strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else repr(float(bound))
            samples.append(f"{name}_bucket{_labels((*names, 'le'), (*labels, le))} {total}\n")
        samples.append(f"{name}_count{_labels(names, labels)} {total}\n")
        samples.append(f"{name}_sum{_labels(names, labels)} {histogram.sum!r}\n")

    def text(self, *, openmetrics: bool) -> str:
        """Return the families that have samples, in the order of the list."""
        parts: list[str] = []
        for name, samples in self._samples.items():
            if samples:
                metric = METRICS[name]
                family = name if openmetrics else metric.served_name
                parts.append(f"# HELP {family} {metric.help}\n# TYPE {family} {metric.kind}\n")
                parts += samples
        return "".join(parts)


@functools.lru_cache(maxsize=100_000)
def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return `{name="value",…}`, or nothing without labels."""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}" if names else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
