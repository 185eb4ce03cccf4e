"""From a seed to everything that goes wrong in one run."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from feeds.simulator.fault import Fault, FaultScript
from feeds.simulator.instrument import Instrument
from feeds.simulator.oxfun import OxfunOptions
from feeds.simulator.oxfun_wire import INSTRUMENTS as OXFUN
from feeds.simulator.sfox import SfoxOptions
from feeds.simulator.sfox_wire import INSTRUMENTS as SFOX
from feeds.simulator.sunflower import SunflowerOptions
from feeds.simulator.sunflower_wire import INSTRUMENTS as SUNFLOWER

INSTRUMENTS: dict[str, tuple[Instrument, ...]] = {"oxfun": OXFUN, "sfox": SFOX, "sunflower": SUNFLOWER}
FAULTS_UNTIL = 15.0

# Faults that every venue's books must survive, by their weight.
_FRAMES = (
    ("drop", 3),
    ("gap", 3),
    ("duplicate", 2),
    ("reorder", 3),
    ("late_snapshot", 2),
    ("zero_level", 1),
    ("unsorted", 1),
    ("crossed", 2),
    ("duplicate_levels", 1),
    ("long_numbers", 1),
    ("malformed", 3),
    ("random", 1),
    ("unknown", 1),
    ("missing_ack", 2),
    ("missing_greeting", 1),
    ("wrong_checksum", 1),
)
_OTHERS = (
    ("stall", 3),
    ("delay", 2),
    ("missing_pong", 1),
    ("close", 2),
    ("vanish", 2),
    ("reset", 2),
    ("cut", 1),
    ("freeze", 3),
    ("drip", 2),
    ("oversized", 1),
    ("binary", 1),
    ("bad_frame", 1),
    ("bomb", 1),
    ("refuse", 2),
    ("redirect", 1),
    ("handshake_garbage", 1),
    ("handshake_reset", 1),
    ("handshake_close", 1),
    ("handshake_silence", 1),
    ("accept_then_close", 2),
    ("rest_error", 2),
    ("rest_slow", 2),
    ("rest_garbage", 1),
    ("rest_reset", 1),
    ("rest_silence", 1),
    ("sequence_reset", 3),
    ("block", 1),
    ("not_listening", 2),
)
UNTRACEABLE = frozenset({"stall", "drop", "gap", "reorder", "malformed", "crossed"})
"""May lose, delay or move trades on the way without leaving any trace in the venue's numbers."""


_MOVING = frozenset({"reorder", "delay", "late_snapshot"})


class Scenario(NamedTuple):
    """One run: which venue in which reading, what goes wrong, and whether trades can be held to completeness."""

    seed: int
    venue: str
    options: Any
    instruments: tuple[Instrument, ...]
    script: FaultScript
    rate: float
    feed_options: dict[str, Any]

    @property
    def trades_complete(self) -> bool:
        """Whether every lost trade must be told."""
        for fault in self.script.faults:
            if self.venue == "sfox":
                if fault.fault in _MOVING:
                    return False  # every frame is counted there, but late ones come behind the gap that told of them
                continue
            if fault.fault not in UNTRACEABLE or fault.fault == "malformed":
                continue
            if fault.label not in {"delta", "snapshot", "book"}:
                return False
        return True

    def __str__(self) -> str:
        faults = ", ".join(_told(fault) for fault in self.script.faults)
        names = ", ".join(one.wire_symbol for one in self.instruments)
        return f"seed {self.seed}: {self.venue} [{names}] {self.options} faults: {faults}"


def scenario(seed: int, venue: str | None = None) -> Scenario:
    """Draw a run."""
    rng = Random(f"skulk:{seed}")
    name = venue or rng.choice(("sunflower", "sunflower", "oxfun", "oxfun", "sfox"))
    count = rng.choice((1, 2, 2, 3))
    instruments = tuple(rng.sample(INSTRUMENTS[name], count))
    faults = tuple(_fault(rng, name, instruments) for _ in range(rng.randint(1, 6)))
    if any(fault.fault in {"freeze", "drip", "delay"} for fault in faults):
        # What is made to cross the present book does not cross an older one, and then nobody could tell.
        faults = tuple(fault for fault in faults if fault.fault != "crossed")
    script = FaultScript(seed=seed, faults=faults)
    rate = rng.choice((0.3, 0.6, 1.0))
    feed_options = {"audit_every_seconds": rng.choice((60.0, 1.0))}
    return Scenario(seed, name, _options(rng, name), instruments, script, rate, feed_options)


def _options(rng: Random, venue: str) -> Any:
    if venue == "sunflower":
        return SunflowerOptions(
            zero_text=rng.choice(("0", "fixed", "0.000")),
            repeat_snapshot=rng.random() < 0.7,
            zero_level_in_snapshot=rng.random() < 0.3,
        )
    if venue == "oxfun":
        return OxfunOptions(
            first_diff=rng.choice(("same", "next", "before")),
            channel_as_list=rng.random() < 0.3,
        )
    return SfoxOptions(
        acks=rng.choice(("full", "bare")),
        asks=rng.choice(("ascending", "descending")),
        tiny_as_string=rng.random() < 0.3,
        levels=40,
    )


def _fault(rng: Random, venue: str, instruments: tuple[Instrument, ...]) -> Fault:
    kinds = _FRAMES if rng.random() < 0.5 else _OTHERS
    name = rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    if venue == "sfox" and name in {"crossed", "duplicate_levels"}:
        name = "drop"  # a blended book may be crossed and repeat a level: nobody could tell
    at = round(rng.uniform(0.0, FAULTS_UNTIL - 5.0), 2)
    symbol = rng.choice([None, None, *[one.wire_symbol for one in instruments]])
    seconds = round(rng.choice((rng.uniform(0.1, 2.0), rng.uniform(2.0, 9.0))), 2)
    fields: dict[str, Any] = {"fault": name, "at_seconds": at, "symbol": symbol, "count": rng.choice((1, 1, 2, 5, 12))}
    if name in {"stall", "delay", "missing_pong", "freeze", "drip", "block", "not_listening"}:
        fields["seconds"] = seconds
    if name in {"refuse", "redirect", "accept_then_close"} or name.startswith(("handshake", "rest")):
        fields["count"] = rng.choice((1, 2, 4))
    if name in {"refuse", "rest_error"}:
        fields["status"] = rng.choice((429, 500, 503, 403, 404))
        fields["retry_after_seconds"] = rng.choice((None, None, 1, 5))
    if name in {"close", "accept_then_close"}:
        fields["code"] = rng.choice((1000, 1001, 1006, 1011, 1012, 4000))
    if name == "drip":
        fields["bytes"] = rng.choice((200, 2_000, 20_000))
    if name in {"oversized", "bomb", "binary"}:
        fields["bytes"] = rng.choice((1_000, 17_000_000))
    if name in {"drop", "duplicate", "reorder", "malformed"} and rng.random() < 0.3:
        # By chance, for a while.
        fields |= {"probability": rng.choice((0.01, 0.1)), "until_seconds": min(at + seconds, FAULTS_UNTIL)}
    if name == "rest_slow":
        fields["delay_seconds"] = rng.choice((0.5, 3.0))
    return Fault(**fields)


_PLAIN = Fault(fault="drop")
_EXTRAS = ("symbol", "count", "seconds", "probability", "until_seconds", "status", "code", "bytes", "delay_seconds")


def _told(fault: Fault) -> str:
    extras = [f"{name}={getattr(fault, name)}" for name in _EXTRAS if getattr(fault, name) != getattr(_PLAIN, name)]
    return f"{fault.fault}@{fault.at_seconds}" + (f"({' '.join(extras)})" if extras else "")
