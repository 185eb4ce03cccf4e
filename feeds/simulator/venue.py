"""
The sans-I/O contract of a simulated venue: time, frames and requests come in as arguments, frames come out.

A transport, real or fake, does four things: `open` a connection, `receive` what the client sent, `advance` the venue
from time to time, and carry away `frames_due` of each connection until its `close_code` is set.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import ClassVar, Literal, NamedTuple

from feeds.simulator.budget import Counters
from feeds.simulator.instrument import Instrument

Behaviour = Literal["answer", "garbage", "reset", "silence", "close"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: of REST, or of a handshake that was refused. `behaviour` other than `answer` never answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    behaviour: Behaviour = "answer"


@dataclass(frozen=True, slots=True)
class Mishap:
    """
    What a transport does to the socket itself, after the frames that are due; only faults cause any.

    `reset` ends with a TCP reset, `vanish` without a close frame, `cut` after half of `frame`. `freeze` neither reads
    nor writes, `drip` writes `count` bytes a second, `mute_pongs` answers no protocol ping: each for `seconds`.
    `raw` writes `data` between two frames, `text` and `binary` send it as one frame, `bomb` sends one compressed frame
    that inflates to `count` bytes.
    """

    kind: Literal["reset", "vanish", "cut", "freeze", "drip", "mute_pongs", "raw", "text", "binary", "bomb"]
    frame: str = ""
    data: bytes = b""
    seconds: float = 0.0
    count: int = 0


class Truth(NamedTuple):
    """
    A whole book, best first, in the venue's own text.

    Levels are `(price, size)`, for SFOX `(price, size, source)`.
    """

    bids: list[tuple[str, ...]]
    asks: list[tuple[str, ...]]


class SimulatedConnection(ABC):
    """One client of a venue: what it subscribed to, and the frames it is owed."""

    def __init__(self, connection_id: int, path: str) -> None:
        self.connection_id = connection_id
        self.path = path
        self.outbox: list[str] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._agenda_number = 0

    @abstractmethod
    def receive(self, frame: str | bytes, now_ns: int) -> None:
        """The client has sent a message."""

    def frames_due(self, now_ns: int) -> list[str]:  # noqa: ARG002 - a faulty connection needs the time
        """Everything owed since the last call, in order."""
        frames, self.outbox = self.outbox, []
        return frames

    def mishaps_due(self, now_ns: int) -> list[Mishap]:  # noqa: ARG002 - as above
        """What is to happen to the socket after those frames."""
        return []

    def at(self, due_ns: int, action: Callable[[int], None]) -> None:
        """`action(now_ns)` is done at `due_ns`, in order with the frames that are sent then."""
        self._agenda_number += 1
        heappush(self._agenda, (due_ns, self._agenda_number, action))

    def perform(self, now_ns: int) -> None:
        """What was due by `now_ns` is done; the venue calls this from `advance`."""
        while self._agenda and self._agenda[0][0] <= now_ns:
            heappop(self._agenda)[2](now_ns)

    def close(self, code: int, reason: str = "") -> None:
        """The venue wants to be rid of this client once its frames are out."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason


class SimulatedVenue(ABC):
    """One venue, its market, its clients and its memory; it never reads a clock, opens a socket or sleeps."""

    name: ClassVar[str]
    ws_path: ClassVar[str]
    rest_path: ClassVar[str]
    instruments: Sequence[Instrument]

    def __init__(self) -> None:
        self.counters = Counters()
        self.blocked_until_ns = 0
        """Until then every command is refused as one too many."""

    @property
    def listening(self) -> bool:
        """Whether the venue's port is open at all."""
        return True

    @property
    def wire_symbols(self) -> list[str]:
        """The venue's own names of what it trades."""
        return [instrument.wire_symbol for instrument in self.instruments]

    @abstractmethod
    def advance(self, now_ns: int) -> None:
        """The market, the tickers and everything else that was due by `now_ns` is in the outboxes."""

    @abstractmethod
    def open(self, connection_id: int, path: str, now_ns: int) -> SimulatedConnection | Reply:
        """A new connection on a path of the websocket, or the refusal of its handshake."""

    @abstractmethod
    def closed(self, connection_id: int) -> None:
        """The connection is gone, whoever ended it; nothing more is put aside for it."""

    @abstractmethod
    def rest(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ns: int) -> Reply:
        """The answer to a REST request; names of `headers` are lower case."""

    @abstractmethod
    def truth(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Truth | None:
        """The full book at a venue sequence, None when unknown or forgotten; SFOX numbers frames per connection."""

    def truths(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Sequence[Truth]:
        """Every full book that was ever sent under a sequence: a series that began anew may repeat one."""
        truth = self.truth(wire_symbol, sequence, connection_id)
        return () if truth is None else (truth,)

    @abstractmethod
    def sequence(self, wire_symbol: str, connection_id: int | None = None) -> int | None:
        """The newest venue sequence of a symbol's book; for SFOX that of the connection's newest frame of it."""

    @abstractmethod
    def reset_sequence(self, wire_symbol: str) -> None:
        """The symbol's series starts again lower, as after a restart of the venue's engine."""
