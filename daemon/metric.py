"""
The list of metrics: name, kind, labels and meaning of each, once.

docs/metrics.md is made from it, and what a running daemon serves is checked against it.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from daemon.latency import NETWORK_BOUNDS, STAGE_BOUNDS

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric family. Counters are named without the `_total` that they are served with."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def served_name(self) -> str:
        """The name as a query writes it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_FEED: Final = ("venue", "feed")
_BOOK: Final = ("venue", "symbol", "channel")
_SINK: Final = ("sink",)

STARTING_REASONS: Final[dict[str, tuple[str, ...]]] = {
    "skulk_upstream_connect_failures": ("unreachable", "timeout", "tls", "bad_handshake"),
    "skulk_upstream_disconnects": ("lost", "quiet", "snapshot_timeout", "gaps"),
    "skulk_upstream_rejected_frames": ("malformed", "bad_json", "unknown_frame"),
    "skulk_upstream_notes": ("throttled",),
    "skulk_capture_errors": ("enospc",),
    "skulk_book_gaps": ("sequence", "disconnected"),
    "skulk_book_unusable_messages": ("stale", "broken", "malformed", "kept_overflowed", "kept_dropped"),
    "skulk_trade_gaps": ("sequence", "disconnected"),
    "skulk_gap_dossiers": ("written", "skipped"),
    "skulk_sink_dropped_events": ("queue_full", "disk_failing", "closed"),
    "skulk_sink_rejected_events": ("too_large",),
    "skulk_sink_errors": ("write", "enospc"),
    "skulk_config_reloads": ("applied", "rejected"),
    "skulk_ws_closes": ("1000", "1001", "1006", "1008", "1009", "1011", "4008", "4500", "4501", "4504", "other"),
    "skulk_ws_sent_messages": ("book", "quote", "trade", "ticker", "status"),
    "skulk_ws_conflated_events": ("book", "quote", "ticker"),
    "skulk_ws_refused_clients": ("origin", "token"),
    "skulk_ws_resumes": ("exact", "snapshot", "none"),
}
"""Last label values that are served as 0 from the start; others appear with their first case."""

_ALL: Final = (
    # The process
    Metric("skulk_build_info", "gauge", "1; the labels say which version runs on which Python.", ("version", "python")),
    Metric("skulk_ready", "gauge", "1 while every configured book is live (or was until a moment ago)."),
    Metric("skulk_books_configured", "gauge", "Books that are subscribed to."),
    Metric("skulk_books_live", "gauge", "Books that are live."),
    Metric("skulk_waiting_for", "gauge", "Configured things that are not as they should be; /readyz names them."),
    Metric("skulk_event_loop_lag_seconds", "histogram", "How late timers fire.", (), STAGE_BOUNDS),
    Metric("skulk_event_loop_stalls", "counter", "Times that the event loop stood still for more than a second."),
    Metric("skulk_pipeline_heartbeat_timestamp_seconds", "gauge", "When the pipeline was last seen moving."),
    Metric("skulk_clock_jumps", "counter", "Times that the wall clock moved by over half a second on its own."),
    Metric("skulk_config_reloads", "counter", "Configurations read on SIGHUP.", ("outcome",)),
    Metric("skulk_config_applied_timestamp_seconds", "gauge", "When the configuration in force was put in force."),
    Metric("skulk_log_lines", "counter", "Lines written to the log.", ("level",)),
    Metric("skulk_log_lines_suppressed", "counter", "Repeats that were left out of the log."),
    Metric("skulk_log_lines_dropped", "counter", "Lines that the reader of the log was too slow for."),
    # Venues
    Metric("skulk_upstream_connected", "gauge", "1 while the venue's websocket is open.", _FEED),
    Metric("skulk_upstream_connected_timestamp_seconds", "gauge", "When it was last opened; 0 before.", _FEED),
    Metric("skulk_upstream_connects", "counter", "Times that it was opened.", _FEED),
    Metric("skulk_upstream_connect_failures", "counter", "Times that it could not be opened.", (*_FEED, "reason")),
    Metric("skulk_upstream_disconnects", "counter", "Times that it was lost or dropped.", (*_FEED, "reason")),
    Metric("skulk_upstream_backoff_seconds", "gauge", "How long the wait that goes on now is; 0 without.", _FEED),
    Metric("skulk_upstream_ping_seconds", "gauge", "Round trip of the last answered websocket ping.", _FEED),
    Metric("skulk_upstream_last_frame_timestamp_seconds", "gauge", "When the last frame came; 0 before.", _FEED),
    Metric("skulk_upstream_frames", "counter", "Frames received.", _FEED),
    Metric("skulk_upstream_received_bytes", "counter", "Bytes received in frames.", _FEED),
    Metric("skulk_upstream_rejected_frames", "counter", "Frames that could not be understood.", (*_FEED, "reason")),
    Metric("skulk_upstream_notes", "counter", "What the venue's session found worth counting.", (*_FEED, "note")),
    Metric("skulk_upstream_subscriptions", "gauge", "Subscriptions by how they stand.", (*_FEED, "state")),
    Metric("skulk_upstream_budget_tokens", "gauge", "Requests allowed now; negative: waiting.", ("venue", "kind")),
    Metric("skulk_upstream_requests", "counter", "Requests spent from the budget.", ("venue", "kind")),
    Metric("skulk_capture_records", "counter", "Lines made for recordings.", _FEED),
    Metric("skulk_capture_written_records", "counter", "Lines written to recordings.", _FEED),
    Metric("skulk_capture_written_bytes", "counter", "Bytes written to recordings, packed.", _FEED),
    Metric("skulk_capture_dropped_records", "counter", "Lines that recordings are missing.", _FEED),
    Metric("skulk_capture_in_flight_records", "gauge", "Lines made and not yet written.", _FEED),
    Metric("skulk_capture_queue_bytes", "gauge", "Bytes queued for a recording.", _FEED),
    Metric("skulk_capture_errors", "counter", "Failed attempts to write a recording.", (*_FEED, "reason")),
    # Books and trades
    Metric("skulk_book_live", "gauge", "1 while the book may be traded on.", _BOOK),
    Metric("skulk_book_state_timestamp_seconds", "gauge", "Since when it is, or is not, live.", _BOOK),
    Metric("skulk_book_update_timestamp_seconds", "gauge", "When it last changed.", _BOOK),
    Metric("skulk_book_levels", "gauge", "Price levels held.", (*_BOOK, "side")),
    Metric("skulk_book_messages", "counter", "Deltas and whole books that came in for it.", _BOOK),
    Metric("skulk_book_deltas", "counter", "Deltas applied, kept ones included.", _BOOK),
    Metric("skulk_book_snapshots", "counter", "Whole books taken, those included that only repeat it.", _BOOK),
    Metric("skulk_book_kept_deltas", "gauge", "Deltas kept aside until the snapshot comes.", _BOOK),
    Metric("skulk_book_gaps", "counter", "Times that the book could not be trusted any more.", (*_BOOK, "reason")),
    Metric("skulk_book_unusable_messages", "counter", "Deltas and whole books not applied.", (*_BOOK, "reason")),
    Metric("skulk_book_audits", "counter", "Times that a rebuilt book was compared with the venue's own.", _BOOK),
    Metric("skulk_book_audit_mismatched_levels", "counter", "Levels that differed in those.", _BOOK),
    Metric("skulk_book_divergence_ratio", "gauge", "Share of levels that differed in the last of those.", _BOOK),
    Metric("skulk_trade_gaps", "counter", "Holes in trades.", ("venue", "symbol", "reason")),
    Metric("skulk_gap_dossiers", "counter", "Gaps by whether a dossier explains them.", ("outcome",)),
    Metric("skulk_coverage_lost_intervals", "counter", "Entries that the coverage ledger is missing."),
    # The pipeline
    Metric("skulk_events", "counter", "Events published.", ("venue", "channel")),
    Metric("skulk_batches", "counter", "Batches they went out in."),
    Metric("skulk_venue_latency_seconds", "histogram", "Venue's stamp to receipt.", ("venue",), NETWORK_BOUNDS),
    Metric("skulk_venue_clock_ahead", "counter", "Samples stamped by the venue in our future.", ("venue",)),
    Metric("skulk_publish_latency_seconds", "histogram", "Receipt to being with every sink.", (), STAGE_BOUNDS),
    Metric("skulk_sink_latency_seconds", "histogram", "From there to being done with.", _SINK, NETWORK_BOUNDS),
    # Sinks
    Metric("skulk_sink_up", "gauge", "0 when the sink has failed for good.", _SINK),
    Metric("skulk_sink_taken_events", "counter", "Events handed to the sink.", _SINK),
    Metric("skulk_sink_written_events", "counter", "Events written.", _SINK),
    Metric("skulk_sink_written_bytes", "counter", "Bytes written.", _SINK),
    Metric("skulk_sink_filtered_events", "counter", "Events that the sink's filter leaves out.", _SINK),
    Metric("skulk_sink_conflated_events", "counter", "Events merged into later ones.", _SINK),
    Metric("skulk_sink_dropped_events", "counter", "Events lost to this sink.", (*_SINK, "reason")),
    Metric("skulk_sink_rejected_events", "counter", "Events that the sink cannot take.", (*_SINK, "reason")),
    Metric("skulk_sink_errors", "counter", "Failed attempts.", (*_SINK, "reason")),
    Metric("skulk_sink_in_flight_events", "gauge", "Events taken and not yet done with.", _SINK),
    Metric("skulk_sink_queue_bytes", "gauge", "Bytes queued.", _SINK),
    Metric("skulk_sink_queue_limit_bytes", "gauge", "Bytes that the queue may hold; 0: it has none.", _SINK),
    # The rebroadcast
    Metric("skulk_ws_clients", "gauge", "Subscribers connected.", _SINK),
    Metric("skulk_ws_subscriptions", "gauge", "Streams they are subscribed to, added up.", _SINK),
    Metric("skulk_ws_lagging_clients", "gauge", "Subscribers over half of their byte budget.", _SINK),
    Metric("skulk_ws_slow_warnings", "counter", "Times that a subscriber got there and was warned.", _SINK),
    Metric("skulk_ws_sent_messages", "counter", "Messages sent to subscribers.", (*_SINK, "channel")),
    Metric("skulk_ws_conflated_events", "counter", "Events merged into other messages.", (*_SINK, "channel")),
    Metric("skulk_ws_resumes", "counter", "Resumed streams, by how much could be replayed.", (*_SINK, "outcome")),
    Metric("skulk_ws_refused_clients", "counter", "Handshakes refused.", (*_SINK, "reason")),
    Metric("skulk_ws_closes", "counter", "Subscribers gone; what is no code of ours is other.", (*_SINK, "code")),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}

PROCESS: Final = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""Served besides, by the client library, where the system has /proc."""
