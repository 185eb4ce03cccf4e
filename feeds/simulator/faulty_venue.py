"""A simulated venue with a script of faults between it and its clients; the same contract, so any transport will do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from feeds.simulator.budget import SECOND_NS
from feeds.simulator.fault import Fault, FaultScript, Target
from feeds.simulator.faulty_connection import Armed, FaultyConnection
from feeds.simulator.venue import Mishap, Reply, SimulatedConnection, SimulatedVenue, Truth


class FaultyVenue(SimulatedVenue):
    """
    Passes everything through but what its script spoils; the venue behind it stays right, and so does its truth.

    `injected` counts what happened, by fault. Nothing here draws from the venue's own randomness.
    """

    def __init__(self, inner: SimulatedVenue, script: FaultScript | None = None, *, start_ns: int) -> None:
        super().__init__()
        self.name = inner.name  # type: ignore[misc] # it is the same venue to everybody outside
        self.ws_path = inner.ws_path  # type: ignore[misc] # as above
        self.rest_path = inner.rest_path  # type: ignore[misc] # as above
        self.inner = inner
        self.instruments = inner.instruments
        self.counters = inner.counters
        self.injected: Counter[str] = Counter()
        self.rng = Random(f"{script.seed if script else 0}:{inner.name}:faults")
        self._now_ns = start_ns
        self._second = start_ns // SECOND_NS
        self._closed_until_ns = start_ns
        self._armed: list[Armed] = []
        self._connections: dict[int, FaultyConnection] = {}
        for fault in script.faults if script else ():
            self.inject(fault, start_ns)

    # ------------------------------------------------------------ faults

    def inject(self, fault: Fault, now_ns: int | None = None) -> None:
        """The fault happens; its seconds count from now."""
        if fault.concerns(self.name):
            self._armed.append(Armed(fault, self._now_ns if now_ns is None else now_ns))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is going to happen any more."""
        return not self._armed

    @property
    def is_striking(self) -> bool:
        """Whether something that has begun to happen is not over."""
        return any(armed.hits > 0 and armed.is_active(self._now_ns) for armed in self._armed)

    def active(self, target: Target, now_ns: int) -> Iterator[Armed]:
        """The faults of a target that could strike now, in the order of the script."""
        return (armed for armed in self._armed if armed.target == target and armed.is_active(now_ns))

    def struck(self, armed: Armed) -> None:
        """The fault has happened once more."""
        armed.hits += 1
        self.injected[armed.fault.fault] += 1

    def chance(self, armed: Armed) -> bool:
        """Whether a fault that goes by chance strikes this time."""
        probability = armed.fault.probability
        return probability is None or self.rng.random() < probability

    # ------------------------------------------------------------ the contract

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._now_ns >= self._closed_until_ns

    def advance(self, now_ns: int) -> None:
        """The venue has moved, and what the script had for sockets and the venue has happened."""
        self._now_ns = now_ns
        self.inner.advance(now_ns)
        if not self._armed:
            return
        is_new_second, self._second = now_ns // SECOND_NS != self._second, now_ns // SECOND_NS
        for target in ("window", "socket", "venue"):
            for armed in list(self.active(target, now_ns)):
                if armed.fault.probability is None or (is_new_second and self.chance(armed)):
                    self._happen(armed, now_ns)
        self._armed = [armed for armed in self._armed if not armed.is_over(now_ns)]

    def open(self, connection_id: int, path: str, now_ns: int) -> SimulatedConnection | Reply:
        """A connection of the venue, its refusal, or what the script has for this handshake."""
        if not self.listening:
            return Reply(0, behaviour="reset")
        for armed in self.active("handshake", now_ns):
            if not self.chance(armed):
                continue
            self.struck(armed)
            if armed.fault.fault != "accept_then_close":
                self.counters.opening(now_ns)
                self.counters.connections_refused += 1
                return _refusal(armed.fault)
            connection = self._opened(connection_id, path, now_ns)
            if isinstance(connection, SimulatedConnection):
                connection.close(armed.fault.code)
            return connection
        return self._opened(connection_id, path, now_ns)

    def closed(self, connection_id: int) -> None:
        """The connection is gone, here and in the venue."""
        self._connections.pop(connection_id, None)
        self.inner.closed(connection_id)

    def rest(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ns: int) -> Reply:
        """The venue's answer, or what the script has for this request."""
        for armed in self.active("rest", now_ns):
            if self.chance(armed):
                self.struck(armed)
                if armed.fault.fault == "rest_slow":
                    reply = self.inner.rest(method, path, query, headers, now_ns)
                    return Reply(reply.status, reply.body, reply.headers, armed.fault.delay_seconds)
                self.counters.rest(path, now_ns)
                return _rest_refusal(armed.fault)
        return self.inner.rest(method, path, query, headers, now_ns)

    def truth(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Truth | None:
        """The venue's truth, which no fault touches."""
        return self.inner.truth(wire_symbol, sequence, connection_id)

    def truths(self, wire_symbol: str, sequence: int, connection_id: int | None = None) -> Sequence[Truth]:
        """Every truth of that sequence."""
        return self.inner.truths(wire_symbol, sequence, connection_id)

    def sequence(self, wire_symbol: str, connection_id: int | None = None) -> int | None:
        """The venue's newest sequence."""
        return self.inner.sequence(wire_symbol, connection_id)

    def reset_sequence(self, wire_symbol: str) -> None:
        """As the venue does it."""
        self.inner.reset_sequence(wire_symbol)

    # ------------------------------------------------------------ inside

    def _opened(self, connection_id: int, path: str, now_ns: int) -> SimulatedConnection | Reply:
        outcome = self.inner.open(connection_id, path, now_ns)
        if isinstance(outcome, Reply):
            return outcome
        connection = self._connections[connection_id] = FaultyConnection(outcome, self)
        return connection

    def _happen(self, armed: Armed, now_ns: int) -> None:
        """A fault of sockets or of the venue happens; a window opens."""
        fault = armed.fault
        if armed.target == "window":
            self._open_window(armed, now_ns)
            return
        self.struck(armed)
        if fault.fault == "sequence_reset":
            for wire_symbol in [fault.symbol] if fault.symbol else self.wire_symbols:
                self.inner.reset_sequence(wire_symbol)
        elif fault.fault == "block":
            self.inner.blocked_until_ns = now_ns + int(fault.seconds * SECOND_NS)
        elif fault.fault == "not_listening":
            self._closed_until_ns = now_ns + int(fault.seconds * SECOND_NS)
        else:
            for connection in self._connections.values():
                connection.suffer(fault, now_ns)

    def _open_window(self, armed: Armed, now_ns: int) -> None:
        """By script a window opens once, by chance again and again; while it is open, frames come to it."""
        if armed.window_until_ns > now_ns:
            return
        self.struck(armed)
        armed.window_until_ns = now_ns + int(armed.fault.seconds * SECOND_NS)
        if armed.fault.fault == "missing_pong":
            for connection in self._connections.values():
                connection.mishaps.append(Mishap("mute_pongs", seconds=armed.fault.seconds))


def _refusal(fault: Fault) -> Reply:
    behaviours: Mapping[str, Reply] = {
        "redirect": Reply(302, headers={"Location": fault.location}),
        "handshake_garbage": Reply(0, behaviour="garbage"),
        "handshake_reset": Reply(0, behaviour="reset"),
        "handshake_close": Reply(0, behaviour="close"),
        "handshake_silence": Reply(0, behaviour="silence"),
    }
    return behaviours.get(fault.fault) or Reply(fault.status, b"refused by the script", _retry_after(fault))


def _rest_refusal(fault: Fault) -> Reply:
    behaviours: Mapping[str, Reply] = {
        "rest_garbage": Reply(200, b"<html>maintenance</html>", {"Content-Type": "text/html"}),
        "rest_reset": Reply(0, behaviour="reset"),
        "rest_silence": Reply(0, behaviour="silence"),
    }
    return behaviours.get(fault.fault) or Reply(fault.status, b'{"error":"by the script"}', _retry_after(fault))


def _retry_after(fault: Fault) -> Mapping[str, str]:
    return {} if fault.retry_after_seconds is None else {"Retry-After": str(fault.retry_after_seconds)}
