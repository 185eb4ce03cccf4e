"""The loss identity as a scraper sees it: in = out + conflated + filtered + dropped + rejected + in flight."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from daemon.capture import Capture
from daemon.metrics import Metrics
from daemon.service import Plan, Service, make_epoch
from feeds.recording import CaptureConfig
from feeds.simulator import SIMULATORS, SimulatorServer
from sinks.file import FileConfig
from tests.daemon.recorder import feed_plan
from tests.daemon.test_replay import SYMBOLS
from tests.loss import assert_nothing_unaccounted
from tests.sinks.memory import Log

BOOK_OUT = ("skulk_book_deltas_total", "skulk_book_snapshots_total", "skulk_book_kept_deltas")
SINK_OUT = (
    "skulk_sink_written_events_total",
    "skulk_sink_filtered_events_total",
    "skulk_sink_conflated_events_total",
    "skulk_sink_dropped_events_total",
    "skulk_sink_rejected_events_total",
    "skulk_sink_in_flight_events",
)
CAPTURE_OUT = (
    "skulk_capture_written_records_total",
    "skulk_capture_dropped_records_total",
    "skulk_capture_in_flight_records",
)


def totals(text: str, keys: tuple[str, ...]) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric name and those labels, other labels added up."""
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    for family in parse(text):
        for sample in family.samples:
            if all(key in sample.labels for key in keys):
                found[sample.name][tuple(sample.labels[key] for key in keys)] += sample.value
    return found


async def test_every_stage_adds_up_in_the_metrics(tmp_path: Path):
    """Books, hub, sinks and recordings of a daemon that runs: a scraper can check that nothing is lost unseen."""
    log = Log()
    async with SimulatorServer(seed=6, rate=3.0) as server:
        plan = Plan(
            feeds=[feed_plan(server, venue, SYMBOLS[venue]) for venue in SIMULATORS],
            sinks=[
                FileConfig(directory=str(tmp_path / "all"), flush_interval_milliseconds=20),
                FileConfig(name="books", directory=str(tmp_path / "books"), channels=["book"]),
            ],
            state_directory=str(tmp_path),
        )
        epoch = make_epoch(server.settings.clock())
        capture = Capture(CaptureConfig(directory=str(tmp_path / "capture")), epoch, log)
        service = Service(plan, log, epoch=epoch, recorder=capture.recorder)
        metrics = Metrics(service)
        await service.start()
        enough = asyncio.Event()
        service.hub.listen(lambda _batch: enough.set() if service.hub.events > 400 else None)
        run = asyncio.create_task(service.run())
        try:
            await asyncio.wait_for(enough.wait(), 20)
            service.hub.flush()
            text = metrics.render()[0].decode()
        finally:
            service.stop("enough")
            feeds = [connection.feed for connection in service.connections.values()]
            sinks = list(service.sinks)
            await run
            await capture.close(5)
    books = totals(text, ("venue", "symbol", "channel"))
    messages = books["skulk_book_messages_total"]
    assert len(messages) == sum(len(SYMBOLS[venue]) for venue in SIMULATORS)
    for book, taken in messages.items():
        out = sum(books[name][book] for name in BOOK_OUT) + books["skulk_book_unusable_messages_total"][book]
        assert out == taken, book
    assert sum(messages.values()) > 30
    by_sink = totals(text, ("sink",))
    events = sum(totals(text, ())["skulk_events_total"].values())
    for sink in (("file",), ("books",)):
        taken = by_sink["skulk_sink_taken_events_total"][sink]
        assert taken == events == sum(by_sink[name][sink] for name in SINK_OUT)
    assert by_sink["skulk_sink_filtered_events_total"]["books",] > 0
    recordings = totals(text, ("feed",))
    for feed, made in recordings["skulk_capture_records_total"].items():
        assert made == sum(recordings[name][feed] for name in CAPTURE_OUT) > 0
    assert_nothing_unaccounted(feeds, service.hub, sinks)
