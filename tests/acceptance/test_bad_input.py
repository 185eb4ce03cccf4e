"""Bad input never stops the program, never half-applies, never makes a wrong book, and is counted."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.program import Program
from tests.acceptance.scripted_venue import ScriptedVenue, snapshot, update

NONSENSE: dict[str, list[str | bytes]] = {
    "bad_json": [
        "{",
        "",
        "\x00",
        '{"method":"updateOrderbook","params":{"symbol":"ETHB',
        b"\xff\xfe",
        '{"result":' + "[" * 5000,
    ],
    "unknown_method": ['{"jsonrpc":"2.0","method":"updateEverything","params":{}}'],
    "malformed": [
        "[]",
        "[" * 5000,
        "42",
        '{"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","method":"updateOrderbook","params":{"symbol":"ETHBTC","sequence":"12","ask":[],"bid":[]}}',
        '{"jsonrpc":"2.0","method":"updateOrderbook","params":{"symbol":"ETHBTC","sequence":12,"ask":[[1,2]],"bid":[]}}',
        '{"jsonrpc":"2.0","method":"updateOrderbook","params":{"symbol":"ETHBTC","sequence":1e99,"ask":[],"bid":[]}}',
    ],
}


async def test_nonsense_is_refused_whole_and_counted_by_reason(tmp_path: Path):
    """Between two good deltas, every kind of nonsense leaves the book, the connection and the process alone."""
    async with ScriptedVenue() as venue, Program(tmp_path, venue.configuration(tmp_path)) as program:
        await venue.wait_for("subscribeOrderbook", "ETHBTC")
        await venue.send(snapshot("ETHBTC", 1), update("ETHBTC", 2))
        for frames in NONSENSE.values():
            await venue.send(*frames)
        await venue.send(update("ETHBTC", 3, "7"))
        event = await program.wait_for(type="book_delta", venue_seq="3")
        assert event["state"] == "live"
        assert event["bids"] == [["10.1", "7"]]
        feed = (await program.status())["feeds"][0]
        assert feed["rejected"] == {reason: len(frames) for reason, frames in NONSENSE.items()}
        assert venue.connections == 1
        assert await program.stop() == 0
    assert not [row for row in program.stdout if row["type"] == "gap" and row["reason"] != "disconnected"]


async def test_a_delta_with_a_bad_number_breaks_that_book_alone_and_it_recovers(tmp_path: Path):
    """A delta whose numbers cannot be read is a missing delta: gap first, nothing of it published, then a snapshot."""
    async with ScriptedVenue() as venue, Program(tmp_path, venue.configuration(tmp_path)) as program:
        for symbol in ("ETHBTC", "BTCUSD"):
            await venue.wait_for("subscribeOrderbook", symbol)
            await venue.send(snapshot(symbol, 1))
        await venue.send(update("ETHBTC", 2, size="1e9999"))
        gap = await program.wait_for(type="gap", symbol="ETH-BTC")
        assert (gap["state"], gap["reason"], gap["expected"]) == ("gap", "bad_number", "2")
        await venue.wait_for("subscribeOrderbook", "ETHBTC", times=2)
        await venue.send(snapshot("ETHBTC", 9), update("BTCUSD", 2))
        assert (await program.wait_for(type="book_snapshot", symbol="ETH-BTC", venue_seq="9"))["state"] == "live"
        assert (await program.wait_for(type="book_delta", symbol="BTC-USD", venue_seq="2"))["state"] == "live"
        assert venue.connections == 1
        assert await program.stop() == 0


async def test_a_refused_subscription_stops_that_symbol_and_says_why(tmp_path: Path):
    """The venue's words reach the event stream, the log and /status; the other symbol runs on."""
    async with ScriptedVenue(refused=("ETHBTC",)) as venue, Program(tmp_path, venue.configuration(tmp_path)) as program:
        refusal = await program.wait_for(type="status", symbol="ETH-BTC", state="refused")
        assert "Symbol not found" in refusal["reason"]
        line = await program.wait_for_log("upstream.subscription_refused", symbol="ETH-BTC")
        assert "Symbol not found" in line["error"]
        await venue.wait_for("subscribeOrderbook", "BTCUSD")
        await venue.send(snapshot("BTCUSD", 1))
        assert (await program.wait_for(type="book_snapshot", symbol="BTC-USD"))["state"] == "live"
        states = {one["symbol"]: one["state"] for one in (await program.status())["feeds"][0]["subscriptions"]}
        assert states == {"ETH-BTC": "refused", "BTC-USD": "active"}
        assert await program.stop() == 0


async def test_the_venue_goes_and_comes_back_and_every_book_is_marked_first(tmp_path: Path):
    """A lost connection marks each book in its own stream before anything else, and a snapshot brings it back."""
    async with ScriptedVenue() as venue, Program(tmp_path, venue.configuration(tmp_path)) as program:
        await venue.wait_for("subscribeOrderbook", "ETHBTC")
        await venue.send(snapshot("ETHBTC", 1))
        before = await program.wait_for(type="book_snapshot", symbol="ETH-BTC")
        await venue.drop()
        gap = await program.wait_for(type="gap", symbol="ETH-BTC")
        assert (gap["reason"], gap["seq"], gap["epoch"]) == ("disconnected", before["seq"] + 1, before["epoch"])
        await venue.wait_for("subscribeOrderbook", "ETHBTC", times=2)
        await venue.send(snapshot("ETHBTC", 5))
        after = await program.wait_for(type="book_snapshot", symbol="ETH-BTC", venue_seq="5")
        assert (after["seq"], after["state"]) == (gap["seq"] + 1, "live")
        assert await program.stop() == 0


async def test_a_stalled_stdout_delays_neither_the_feed_nor_other_sinks(tmp_path: Path):
    """With nobody reading the pipe, far more than it holds still reaches the books; the pipe catches up later."""
    configuration = venue_configuration = ""
    async with ScriptedVenue() as venue:
        venue_configuration = venue.configuration(tmp_path)
        configuration = venue_configuration.replace('type = "stdout"', 'type = "stdout"\nbuffer_bytes_max = 100000')
        async with Program(tmp_path, configuration, read_stdout=False) as program:
            await venue.wait_for("subscribeOrderbook", "ETHBTC")
            await venue.send(snapshot("ETHBTC", 1))
            count = 3000
            for number in range(2, count + 2):
                await venue.send(update("ETHBTC", number, str(number)))
            while (await program.status())["books"][0]["venue_seq"] != str(count + 1):
                pass
            sinks = {sink["type"]: sink for sink in (await program.status())["sinks"]}
            assert sinks["stdout"]["dropped"]["queue_full"] > 0
            assert sum(sinks["websocket"]["dropped"].values()) == 0
            program.read_stdout()
            loss = await program.wait_for(type="loss")
            assert loss["events"] > 0
            assert await program.stop() == 0
            lost = sum(row["events"] for row in program.stdout if row["type"] == "loss")
            deltas = [int(row["venue_seq"]) for row in program.stdout if row["type"] == "book_delta"]
            assert len(deltas) < count
            assert lost >= count - len(deltas)
