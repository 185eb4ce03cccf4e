"""Every fault over a real socket: how long until it is noticed, and until the books are live again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from feeds.simulator.fault import FAULTS, Fault
from tests.faults.bench import Bench

AT_ONCE = 6
LIVE_SECONDS_MAX = 150.0
WATCH_SECONDS = 3.0
STEADY_SECONDS = 2.0
"""Run well for so long first: what is normal has to be learned."""


class Row(NamedTuple):
    """One fault and how to bring it about: `trigger` is another fault that makes it matter."""

    fault: str
    fields: dict[str, Any]
    venue: str = "sunflower"
    trigger: str | None = None
    expect: Literal["noticed", "harmless"] = "noticed"
    untraceable_trades: bool = False
    compression: bool = False

    @property
    def told(self) -> str:
        """The fault in words."""
        fields = {name: value for name, value in self.fields.items() if name != "symbol"}
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        if self.fault == "stall":
            text += ", one symbol" if "symbol" in self.fields else ", the whole socket"
        return f"`{self.fault}`" + (f" {text}" if text else "") + (f", then `{self.trigger}`" if self.trigger else "")


class Measured(NamedTuple):
    """What came of it."""

    row: Row
    noticed_seconds: float | None
    reason: str
    live_seconds: float | None
    compared: int
    violations: list[str]


ROWS: Sequence[Row] = (
    Row("drop", {}),
    Row("drop", {}, "oxfun"),
    Row("drop", {}, "sfox"),
    Row("gap", {"count": 7}),
    Row("duplicate", {"count": 5}, expect="harmless"),
    Row("duplicate", {"count": 5}, "oxfun", expect="harmless"),
    Row("reorder", {}),
    Row("reorder", {}, "oxfun"),
    Row("late_snapshot", {"count": 5}, trigger="vanish"),
    Row("late_snapshot", {"count": 3}, "oxfun", trigger="vanish"),
    Row("wrong_checksum", {"count": 3}, "oxfun", expect="harmless"),
    Row("zero_level", {}, trigger="vanish"),
    Row("unsorted", {}, trigger="vanish"),
    Row("crossed", {"frame": "delta"}),
    Row("crossed", {"frame": "delta"}, "oxfun"),
    Row("duplicate_levels", {"count": 4}, expect="harmless"),
    Row("long_numbers", {"count": 4}, expect="harmless"),
    Row("long_numbers", {"count": 4}, "oxfun", expect="harmless"),
    Row("empty_side", {}, "oxfun", expect="harmless"),
    Row("malformed", {"frame": "delta"}),
    Row("malformed", {"frame": "delta"}, "oxfun"),
    Row("random", {"count": 3}, expect="harmless"),
    Row("unknown", {"count": 3}, expect="harmless"),
    Row("missing_ack", {"count": 6}, trigger="vanish"),
    Row("missing_ack", {"count": 6}, "oxfun", trigger="vanish"),
    Row("missing_ack", {"count": 1}, "sfox", trigger="vanish"),
    Row("missing_greeting", {}, "oxfun", trigger="vanish"),
    Row("stall", {"seconds": 8.0, "symbol": "ETHBTC"}, untraceable_trades=True),
    Row("stall", {"seconds": 8.0, "symbol": "OX-USDT"}, "oxfun", untraceable_trades=True),
    Row("stall", {"seconds": 8.0}, untraceable_trades=True),
    Row("delay", {"seconds": 3.0}, expect="harmless"),
    Row("missing_pong", {"seconds": 10.0}, "oxfun", expect="harmless"),
    Row("close", {"code": 1001}),
    Row("close", {"code": 4000}, "oxfun"),
    Row("vanish", {}),
    Row("reset", {}),
    Row("cut", {}),
    Row("freeze", {"seconds": 12.0}),
    Row("freeze", {"seconds": 12.0}, "oxfun"),
    Row("freeze", {"seconds": 12.0}, "sfox"),
    Row("drip", {"seconds": 30.0, "bytes": 400}),
    Row("oversized", {"bytes": 17_000_000}),
    Row("binary", {"bytes": 100_000}, expect="harmless"),
    Row("bad_frame", {}),
    Row("bomb", {"bytes": 64_000_000}, compression=True),
    Row("refuse", {"count": 3, "status": 503}, trigger="vanish"),
    Row("refuse", {"count": 1, "status": 429, "retry_after_seconds": 3}, trigger="vanish"),
    Row("refuse", {"count": 1, "status": 404}, trigger="vanish"),
    Row("redirect", {"count": 2}, trigger="vanish"),
    Row("handshake_garbage", {"count": 2}, trigger="vanish"),
    Row("handshake_reset", {"count": 2}, trigger="vanish"),
    Row("handshake_close", {"count": 2}, trigger="vanish"),
    Row("handshake_silence", {"count": 1}, trigger="vanish"),
    Row("accept_then_close", {"count": 4}, trigger="vanish"),
    Row("rest_error", {"count": 2, "status": 503}, "oxfun", trigger="vanish"),
    Row("rest_error", {"count": 1, "status": 429, "retry_after_seconds": 2}, "oxfun", trigger="vanish"),
    Row("rest_slow", {"count": 2, "delay_seconds": 2.0}, "oxfun", trigger="vanish"),
    Row("rest_garbage", {"count": 2}, "oxfun", trigger="vanish"),
    Row("rest_reset", {"count": 2}, "oxfun", trigger="vanish"),
    Row("rest_silence", {"count": 1}, "oxfun", trigger="vanish"),
    Row("sequence_reset", {"symbol": "ETHBTC"}),
    Row("sequence_reset", {"symbol": "OX-USDT"}, "oxfun"),
    Row("block", {"seconds": 4.0}, "oxfun", trigger="vanish"),
    Row("block", {"seconds": 4.0}, "sfox", trigger="vanish"),
    Row("not_listening", {"seconds": 5.0}, trigger="reset"),
)
"""SFOX's `crossed` is left out: it is no fault there."""


async def measure(row: Row, seed: int = 1) -> Measured:
    """Bring one fault about and watch what becomes of it."""
    async with Bench(row.venue, seed=seed, compression=row.compression) as bench:
        await bench.until(lambda: bench.well, 30.0)
        await asyncio.sleep(STEADY_SECONDS)
        faults = [Fault(fault=row.fault, **row.fields)]
        if row.trigger is not None:
            faults.append(Fault(fault=row.trigger, at_seconds=0.05))
        compared = bench.oracle.counts["compared"]
        struck = bench.strike(*faults)
        if row.expect == "harmless":
            await asyncio.sleep(WATCH_SECONDS + row.fields.get("seconds", 0.0))
            await bench.until(lambda: bench.live, 5.0)
            sign = bench.noticed
        else:
            await bench.until(lambda: bench.noticed is not None, LIVE_SECONDS_MAX)
            sign = bench.noticed
        over = struck + (row.fields.get("seconds", 0.0) if row.fault not in {"freeze", "drip"} else 0.0)
        await bench.until(lambda: bench.live and time.monotonic() >= over, LIVE_SECONDS_MAX)
        live = time.monotonic()
        await bench.until(lambda: bench.well, LIVE_SECONDS_MAX)
        await asyncio.sleep(0.5)
        lasting = row.fault in {"stall", "not_listening", "block"}  # whatever the connection
        return Measured(
            row,
            None if sign is None else sign.at - struck,
            "" if sign is None else sign.reason,
            None if sign is None else live - (over if lasting else sign.at),
            bench.oracle.counts["compared"] - compared,
            bench.judge(trades=not row.untraceable_trades),
        )


async def measure_all(rows: Sequence[Row] = ROWS) -> list[Measured]:
    """Measure rows, a few at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(row: Row) -> Measured:
        async with turns:
            try:
                return await measure(row)
            except AssertionError as error:
                return Measured(row, None, "", None, 0, [str(error)])

    return await asyncio.gather(*(one(row) for row in rows))


def markdown(results: Sequence[Measured]) -> str:
    """Return the results as a table."""
    lines = [
        "| fault | venue | what it does | noticed after | as | live again after |",
        "|---|---|---|---:|---|---:|",
    ]
    for one in results:
        noticed = "-" if one.noticed_seconds is None else f"{one.noticed_seconds:.2f} s"
        live = "stays live" if one.live_seconds is None else f"{max(one.live_seconds, 0.0):.2f} s"
        reason = f"`{one.reason}`" if one.reason else "harmless"
        does = FAULTS[one.row.fault].does.replace("`", "")
        lines.append(f"| {one.row.told} | {one.row.venue} | {does} | {noticed} | {reason} | {live} |")
    return "\n".join(lines)


def kinds() -> str:
    """Return every kind of fault a script can have, as a table."""
    lines = ["| `fault` | happens to | what it does | chooses |", "|---|---|---|---|"]
    for name, kind in FAULTS.items():
        chooses = f"`{kind.frame}`" if kind.target in {"frame", "window"} else ""
        does = kind.does.replace('"[]"', "`[]`")
        lines.append(f"| `{name}` | {kind.target} | {does} | {chooses} |")
    return "\n".join(lines)
