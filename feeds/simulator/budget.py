"""How a simulated venue counts what its clients ask of it, and what it noticed them doing too often."""

from collections import Counter, deque
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS


class Window:
    """A limit of so many per sliding window; it refuses what is over and remembers the most it saw."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = limit
        self.most = 0
        self._window_ns = window_ns
        self._times: deque[int] = deque()

    def admit(self, now_ns: int) -> bool:
        """Whether one more is within the limit; it counts either way."""
        self._times.append(now_ns)
        while self._times[0] <= now_ns - self._window_ns:
            self._times.popleft()
        if len(self._times) > 10 * self.limit + 1000:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
        return len(self._times) <= self.limit


class Counters:
    """
    Everything a test may want to assert about the clients of one venue.

    `violations` counts budget violations by name; a well-behaved client leaves it empty.
    """

    def __init__(self) -> None:
        self.connections_opened = 0
        self.connections_refused = 0
        self.connections_live = 0
        self.connections_live_most = 0
        self.frames_sent = 0
        self.commands = 0
        self.commands_by_connection: Counter[int] = Counter()
        self.rest_requests = 0
        self.rest_requests_by_path: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self._minute = Window(1_000_000, MINUTE_NS)
        self._openings = Window(1_000_000, MINUTE_NS)
        self._requests = Window(1_000_000, MINUTE_NS)

    @property
    def commands_per_minute_most(self) -> int:
        """The most commands seen in any sixty seconds, over all connections."""
        return self._minute.most

    @property
    def connections_per_minute_most(self) -> int:
        """The most connection attempts seen in any sixty seconds."""
        return self._openings.most

    @property
    def requests_per_minute_most(self) -> int:
        """The most connection attempts, commands and REST requests together seen in any sixty seconds."""
        return self._requests.most

    def command(self, connection_id: int, now_ns: int) -> None:
        """A client has sent a command."""
        self._requests.admit(now_ns)
        self.commands += 1
        self.commands_by_connection[connection_id] += 1
        self._minute.admit(now_ns)

    def opening(self, now_ns: int) -> None:
        """A client has asked for a connection."""
        self._requests.admit(now_ns)
        self._openings.admit(now_ns)

    def rest(self, path: str, now_ns: int) -> None:
        """A client has asked something of the REST interface."""
        self._requests.admit(now_ns)
        self.rest_requests += 1
        self.rest_requests_by_path[path] += 1

    def opened(self) -> None:
        """A connection was granted."""
        self.connections_opened += 1
        self.connections_live += 1
        self.connections_live_most = max(self.connections_live_most, self.connections_live)
