"""Metrics: the list is what is served, from the start, cheaply, and true."""

import re

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from daemon.metric import METRICS, PROCESS, STARTING_REASONS
from feeds.simulator import SimulatorServer
from tests.daemon.running import feed_of, running, until


@pytest.fixture
async def simulator():
    async with SimulatorServer(seed=5) as server:
        yield server


def table_of(simulator):
    feeds = [feed_of(simulator, "sunflower", "ETH-BTC", "BTC-USD"), feed_of(simulator, "sfox", "BTC-USD")]
    sinks = [{"type": "websocket", "listen": "127.0.0.1:0"}]
    return {"feeds": feeds, "sinks": sinks, "ops": {"listen": "127.0.0.1:0"}}


async def scrape(url, accept=""):
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics", headers={"Accept": accept}) as answer:
        return await answer.text(), answer.headers["Content-Type"]


def samples(text):
    """Return every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


async def test_what_is_served_is_the_list_and_all_of_it_from_the_first_moment(simulator):
    async with running(table_of(simulator)) as run:
        await until(lambda: len(run.daemon.service.trackers()) == 3)
        text, _ = await scrape(run.url)
        served = {family.name: family for family in parse_text(text)}
        names = {metric.served_name.removesuffix("_total") for metric in METRICS.values()}
        assert served.keys() == names | {name.removesuffix("_total") for name in PROCESS}
        for metric in METRICS.values():
            family = served[metric.name]
            assert (family.type, family.documentation) == (metric.kind, metric.help), metric.name
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(metric.labels), sample
        early = samples(text).keys()
        await run.ready()
        await until(lambda: run.daemon.metrics.latency.of_sink("websocket").count)
        later = samples((await scrape(run.url))[0]).keys()
        assert later - early == set(), "a series that appears later is one that no alert can rely on"


async def test_the_figures_are_those_of_the_parts(simulator):
    async with running(table_of(simulator)) as run:
        await run.ready()
        await until(lambda: run.daemon.service.hub.events > 300)
        values = samples((await scrape(run.url))[0])

        def value(name, **labels):
            return values[name, tuple(sorted(labels.items()))]

        book = {"venue": "sunflower", "symbol": "ETH-BTC", "channel": "book"}
        assert value("skulk_book_live", **book) == 1
        assert value("skulk_books_live") == value("skulk_books_configured") == 3
        assert value("skulk_ready") == 1
        assert value("skulk_book_levels", **book, side="bid") > 0
        assert value("skulk_book_deltas_total", **book) > 0
        assert value("skulk_book_gaps_total", **book, reason="sequence") == 0
        assert value("skulk_upstream_connected", venue="sfox", feed="sfox") == 1
        assert value("skulk_upstream_frames_total", venue="sfox", feed="sfox") > 0
        assert value("skulk_events_total", venue="sunflower", channel="book") > 0
        assert value("skulk_sink_taken_events_total", sink="websocket") > 300
        assert value("skulk_publish_latency_seconds_count") > 0
        assert value("skulk_venue_latency_seconds_count", venue="sunflower") > 0
        assert value("skulk_event_loop_lag_seconds_count") > 0
        started = run.daemon.service.started_ns / 1e9
        for name in ("skulk_book_state_timestamp_seconds", "skulk_book_update_timestamp_seconds"):
            assert started - 1 < value(name, **book) < started + 60


async def test_both_formats_are_well_formed(simulator):
    async with running(table_of(simulator)) as run:
        await run.ready()
        plain, kind = await scrape(run.url, "text/plain")
        assert kind.startswith("text/plain; version=")
        assert list(parse_text(plain))
        openmetrics, kind = await scrape(run.url, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert openmetrics.endswith("# EOF\n")
        assert {family.name for family in parse_openmetrics(openmetrics)} >= METRICS.keys()


async def test_histograms_are_cumulative_and_complete(simulator):
    async with running(table_of(simulator)) as run:
        await run.ready()
        values = samples((await scrape(run.url))[0])
        for metric in METRICS.values():
            if metric.kind != "histogram":
                continue
            for (name, labels), total in values.items():
                if name != f"{metric.name}_count":
                    continue
                buckets = [
                    values[f"{metric.name}_bucket", tuple(sorted((*labels, ("le", le))))]
                    for le in [*map(repr, metric.bounds), "+Inf"]
                ]
                assert buckets == sorted(buckets)
                assert buckets[-1] == total


def test_names_units_and_labels_have_their_form():
    for metric in METRICS.values():
        assert re.fullmatch(r"skulk_[a-z_]+", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info_total"))
        assert metric.help.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert metric.bounds == tuple(sorted(metric.bounds))
        if "latency" in metric.name or "_lag_" in metric.name or "timestamp" in metric.name:
            assert metric.name.endswith("_seconds")


def test_reasons_served_from_the_start_belong_to_metrics_with_such_a_label():
    for name in STARTING_REASONS:
        assert METRICS[name].labels[-1] in {"reason", "note", "outcome", "code", "channel"}, name
    for metric in METRICS.values():
        assert not (set(metric.labels) & {"reason", "outcome", "code"}) or metric.name in STARTING_REASONS
