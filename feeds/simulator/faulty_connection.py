"""One client behind a script of faults: frames lost, doubled, swapped, spoiled or held on their way out."""

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.fault import Fault, Target
from feeds.simulator.frame_label import FrameLabel, label
from feeds.simulator.spoiled_frame import is_spoil, random_text, spoiled, unknown
from feeds.simulator.venue import Mishap, SimulatedConnection, Truth

if TYPE_CHECKING:
    from feeds.simulator.faulty_venue import FaultyVenue

_FROZEN_FRAMES_MAX: Final = 20_000
_SEQUENCE: Final = re.compile(r'"(?:sequence|seqNum)":"?(\d+)')
_BAD_FRAME: Final = b"\xff\xff\xff\xff\xff\xff\xff\xff"
_LOST: Final = frozenset({"drop", "gap", "missing_ack", "missing_greeting"})


class Armed:
    """A fault of the script with what it has done so far."""

    def __init__(self, fault: Fault, start_ns: int) -> None:
        self.fault = fault
        self.target: Target = fault.kind.target
        self.hits = 0
        self.symbol = fault.symbol
        self.connection_id: int | None = None
        self.window_until_ns = 0
        self._from_ns = start_ns + int(fault.at_seconds * SECOND_NS)
        self._until_ns: int | None = None
        if fault.until_seconds is not None:
            self._until_ns = start_ns + int(fault.until_seconds * SECOND_NS)
        elif fault.probability is None and self._lasts:
            self._until_ns = self._from_ns + int(fault.seconds * SECOND_NS)

    @property
    def _lasts(self) -> bool:
        """Whether it strikes all the time for its seconds, instead of counting."""
        return self.fault.seconds > 0 and self.target in {"handshake", "rest"}

    def is_active(self, now_ns: int) -> bool:
        """Whether it could strike now."""
        return now_ns >= self._from_ns and not self.is_over(now_ns)

    def is_over(self, now_ns: int) -> bool:
        """Whether it will never strike again."""
        if self._until_ns is not None and now_ns >= self._until_ns:
            return True
        if self.fault.probability is not None or self._lasts:
            return False
        if self.target in {"window", "socket", "venue"}:
            return self.hits > 0 and now_ns >= self.window_until_ns
        return self.hits >= (1 if self.fault.fault == "late_snapshot" else self.fault.count)

    def concerns(self, tag: FrameLabel) -> bool:
        """Whether it chooses such a frame."""
        return self.fault.label in tag.labels and self.symbol in {None, tag.symbol}


@dataclass(slots=True)
class _Held:
    """A frame that waits until so many deltas of its symbol have passed."""

    frame: str
    symbol: str
    deltas_left: int


class FaultyConnection(SimulatedConnection):
    """A connection of the venue, with the frames that its client really gets."""

    def __init__(self, inner: SimulatedConnection, venue: "FaultyVenue") -> None:
        super().__init__(inner.connection_id, inner.path)
        self._inner = inner
        self._venue = venue
        self._held: list[_Held] = []
        self._delayed: deque[tuple[int, str]] = deque()
        self._frozen_until_ns = 0
        self._is_to_be_cut = False
        self.mishaps: list[Mishap] = []

    def receive(self, frame: str | bytes, now_ns: int) -> None:
        """The venue has the client's message, unless the connection is frozen."""
        if now_ns >= self._frozen_until_ns:
            self._inner.receive(frame, now_ns)

    def frames_due(self, now_ns: int) -> list[str]:
        """What is left of the frames due, and what was held back before."""
        if now_ns < self._frozen_until_ns:
            del self._inner.outbox[_FROZEN_FRAMES_MAX:]
            return []
        if self._inner.close_code is not None:
            self.close(self._inner.close_code, self._inner.close_reason)
        frames: list[str] = []
        while self._delayed and self._delayed[0][0] <= now_ns:
            frames.append(self._delayed.popleft()[1])
        due = self._inner.frames_due(now_ns)
        if self._venue.is_quiet and not self._held and not self._is_to_be_cut:
            return frames + due
        for frame in due:
            frames += self._through(frame, now_ns)
        if self._is_to_be_cut and frames:
            self._is_to_be_cut = False
            self.mishaps.append(Mishap("cut", frame=frames.pop()))
        return frames

    def mishaps_due(self, now_ns: int) -> list[Mishap]:
        """What the script has for the socket."""
        del now_ns
        mishaps, self.mishaps = self.mishaps, []
        return mishaps

    def suffer(self, fault: Fault, now_ns: int) -> None:
        """A fault of sockets has struck this one."""
        if fault.fault == "close":
            self.close(fault.code, "by the script")
        elif fault.fault == "cut":
            self._is_to_be_cut = True
        elif fault.fault == "freeze":
            self._frozen_until_ns = now_ns + int(fault.seconds * SECOND_NS)
            self.mishaps.append(Mishap("freeze", seconds=fault.seconds))
        else:
            self.mishaps.append(self._mishap(fault))

    def _mishap(self, fault: Fault) -> Mishap:
        if fault.fault == "drip":
            return Mishap("drip", seconds=fault.seconds, count=fault.bytes)
        if fault.fault == "bomb":
            return Mishap("bomb", count=fault.bytes)
        if fault.fault == "oversized":
            return Mishap("text", data=b'"' + b"x" * (fault.bytes - 2) + b'"')
        if fault.fault == "binary":
            return Mishap("binary", data=self._venue.rng.randbytes(fault.bytes))
        if fault.fault == "bad_frame":
            return Mishap("raw", data=_BAD_FRAME)
        return Mishap("reset" if fault.fault == "reset" else "vanish")

    # ------------------------------------------------------------ frames

    def _through(self, frame: str, now_ns: int) -> list[str]:
        """What comes out for one frame."""
        faults = [*self._venue.active("window", now_ns), *self._venue.active("frame", now_ns)]
        if not faults and not self._held:
            return [frame]
        tag = label(self._venue.name, frame)
        for armed in faults:
            if armed.concerns(tag) and armed.connection_id in {None, self.connection_id}:
                outcome = self._strike(armed, frame, tag, now_ns)
                if outcome is not None:
                    return outcome
        return [frame, *self._released(tag)]

    def _strike(self, armed: Armed, frame: str, tag: FrameLabel, now_ns: int) -> list[str] | None:
        """What comes out when the fault strikes, None when it does not."""
        fault = armed.fault
        if armed.target == "window":
            if now_ns >= armed.window_until_ns:
                return None
            if fault.fault == "delay":
                self._delayed.append((armed.window_until_ns, frame))
            return []
        if not self._venue.chance(armed):
            return None
        if fault.fault in _LOST:
            outcome: list[str] | None = []
            if fault.fault == "gap":
                armed.symbol, armed.connection_id = tag.symbol, self.connection_id
        elif is_spoil(fault.fault):
            text = spoiled(fault.fault, frame, self._venue.rng, self._truth(frame, tag.symbol))
            outcome = None if text is None else [text, *self._released(tag)]
        else:
            outcome = self._mixed_up(fault, frame, tag)
        if outcome is not None:
            self._venue.struck(armed)
        return outcome

    def _mixed_up(self, fault: Fault, frame: str, tag: FrameLabel) -> list[str] | None:
        """The frame doubled, held back, or in strange company."""
        if fault.fault == "duplicate":
            return [frame, frame, *self._released(tag)]
        if fault.fault in {"reorder", "late_snapshot"}:
            if any(held.symbol == tag.symbol for held in self._held):
                return None
            self._held.append(_Held(frame, tag.symbol, fault.count if fault.fault == "late_snapshot" else 1))
            return []
        if fault.fault == "malformed":
            return [frame[: len(frame) // 2]]
        if fault.fault == "random":
            return [random_text(self._venue.rng), frame, *self._released(tag)]
        return [unknown(self._venue.name, self._venue.rng.randrange(1_000_000)), frame, *self._released(tag)]

    def _released(self, tag: FrameLabel) -> list[str]:
        """Frames that have waited for this one."""
        if not self._held or "delta" not in tag.labels:
            return []
        released = []
        for held in list(self._held):
            if held.symbol == tag.symbol:
                held.deltas_left -= 1
                if held.deltas_left <= 0:
                    self._held.remove(held)
                    released.append(held.frame)
        return released

    def _truth(self, frame: str, wire_symbol: str) -> Truth | None:
        """The book as of this very frame: several of a symbol may leave at once."""
        sequence = _SEQUENCE.search(frame) if wire_symbol else None
        return None if sequence is None else self._venue.truth(wire_symbol, int(sequence[1]), self.connection_id)
