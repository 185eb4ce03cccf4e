"""
Raw capture: everything that goes into a feed, and every command that leaves it, in order.

Without this file an argument about what a venue really sent could not be settled, and nothing
could be replayed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
import zstandard
from structlog.typing import FilteringBoundLogger

from book.series import Position
from feeds import record
from feeds.record import Asked, Closed, Fetched, FetchFailed, Lost, Meta, Opened, Ticked, Wish
from feeds.session import Fetch, Send, Subscription

_WAKE_BYTES: Final = 256 * 1024
"""So much waiting is packed without waiting for the interval."""
_ZSTD_LEVEL: Final = 3
_DAY_NS: Final = 86_400 * 10**9
_RETRY_SECONDS: Final = 1.0


class CaptureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[capture]`: record the raw traffic of every feed. Limits are per feed; sizes are those of the packed files."""

    directory: str = "./capture"
    """Where the recordings go."""
    rotate_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 256 * 1024**2
    """A file ends at about so many bytes, and at midnight UTC."""
    retain_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 10 * 1024**3
    """The oldest files are deleted so that all files of a feed stay below this."""
    retain_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Files that ended longer ago are deleted."""
    flush_interval_milliseconds: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """How long frames may wait before they are written."""
    buffer_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 64 * 1024 * 1024
    """What waits for a slow or failing disk; what does not fit is left out, counted and told in the file."""


class Recorder:
    """
    What a connection tells about itself, call by call; this one keeps nothing.

    Each method takes what the feed is given at the same moment, directly before the feed is called:
    a recording is complete when every input of the feed is in it. No method blocks, waits or raises.
    """

    records = 0
    """Lines made; = written + dropped + in flight."""
    dropped = 0

    @property
    def written(self) -> int:
        """Lines on the disk."""
        return 0

    @property
    def in_flight(self) -> int:
        """Lines queued or being written."""
        return self.records - self.dropped - self.written

    @property
    def written_bytes(self) -> int:
        """Bytes on the disk, packed."""
        return 0

    @property
    def errors(self) -> Counter[str]:
        """What the disk refused, by the name of the error."""
        return Counter()

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) in bytes."""
        return (0, 0)

    def subscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """`feed.subscribe` is called with these."""

    def unsubscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """`feed.unsubscribe` is called with these."""

    def opened(self, url: str, ts_recv: int, now: float, *, synthetic: bool = False) -> None:
        """A socket is open: `feed.opened(ts_recv, now)`."""

    def received(self, frame: bytes, ts_recv: int) -> None:
        """A frame came in: `feed.receive(frame, ts_recv)`."""

    def sent(self, send: Send) -> None:
        """A command goes out: `feed.sent(send)`. Its text is not kept when it is secret."""

    def fetched(self, url: str, body: bytes, ts_recv: int, fetch: Fetch | None = None) -> None:
        """A REST answer came in: `feed.fetched(fetch, body, ts_recv)`, or a table for nobody's `fetch`."""

    def fetch_failed(self, url: str, reason: str, ts_recv: int, fetch: Fetch) -> None:
        """A REST request got no usable answer: `feed.fetch_failed(fetch)`."""

    def ready_timed_out(self) -> None:
        """`feed.ready_timeout()` is called."""

    def ticked(self, ts_recv: int, now: float) -> None:
        """`feed.tick(ts_recv, now)` is called."""

    def closed(self, reason: str, ts_recv: int) -> None:
        """The socket is gone: `feed.closed(reason, ts_recv)`."""

    def close(self, timeout_seconds: float) -> None:
        """Nothing more will come: put everything on the disk, if that can be done in time."""


class FileRecorder(Recorder):
    """
    Writes one feed's recording from a thread of its own; the loop only ever queues.

    It never delays the feed: what the disk cannot take waits in a bounded queue, then is left out,
    counted, and told in the recording at its place.
    """

    def __init__(
        self,
        meta: Meta,
        config: CaptureConfig,
        log: FilteringBoundLogger,
        *,
        positions: Callable[[], dict[str, Position]] = dict,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._meta = meta
        self._config = config
        self._log = log
        self._positions = positions
        self._wall_clock_ns = wall_clock_ns
        self._monotonic_ns = monotonic_ns
        self._wishes: dict[tuple[str, str], Wish] = {(wish.symbol, wish.channel): wish for wish in meta.subscriptions}
        self._parts = 0
        self._part_end_ns = 0
        self._bytes = 0
        self._lost = 0
        self._failing = ""
        self._writer = _Writer(meta.feed, config)
        self._begin_part(wall_clock_ns())

    @property
    def written(self) -> int:
        """Lines on the disk."""
        return self._writer.records

    @property
    def written_bytes(self) -> int:
        """Bytes on the disk, packed."""
        return self._writer.packed_bytes

    @property
    def errors(self) -> Counter[str]:
        """What the disk refused, by the name of the error."""
        return self._writer.errors

    @property
    def queue_bytes(self) -> tuple[int, int]:
        """Return (held, limit) in bytes."""
        return (self._bytes - self._writer.taken_bytes, self._config.buffer_bytes_max)

    def subscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """See `Recorder`."""
        wishes = [Wish.of(subscription) for subscription in subscriptions]
        self._put(record.struct_line(record.SUBSCRIBED, ts_recv, self._monotonic_ns(), wishes), ts_recv)
        self._wishes.update({(wish.symbol, wish.channel): wish for wish in wishes})

    def unsubscribed(self, subscriptions: Sequence[Subscription], ts_recv: int) -> None:
        """See `Recorder`."""
        wishes = [Wish.of(subscription) for subscription in subscriptions]
        self._put(record.struct_line(record.UNSUBSCRIBED, ts_recv, self._monotonic_ns(), wishes), ts_recv)
        for wish in wishes:
            self._wishes.pop((wish.symbol, wish.channel), None)

    def opened(self, url: str, ts_recv: int, now: float, *, synthetic: bool = False) -> None:
        """See `Recorder`."""
        opened = Opened(url, now, synthetic)
        self._put(record.struct_line(record.OPENED, ts_recv, self._monotonic_ns(), opened), ts_recv)
        self._meta.connected = True
        self._meta.synthetic = self._meta.synthetic or synthetic

    def received(self, frame: bytes, ts_recv: int) -> None:
        """See `Recorder`."""
        self._put(record.received_line(frame, ts_recv, self._monotonic_ns()), ts_recv)

    def sent(self, send: Send) -> None:
        """See `Recorder`."""
        now = self._wall_clock_ns()
        kind, text = (record.SENT_SECRET, b"") if send.secret else (record.SENT, send.text.encode())
        self._put(record.line(kind, now, self._monotonic_ns(), text.replace(b"\n", b" ")), now)

    def fetched(self, url: str, body: bytes, ts_recv: int, fetch: Fetch | None = None) -> None:
        """See `Recorder`."""
        fetched = Fetched.of(url, body, fetch)
        self._put(record.struct_line(record.FETCHED, ts_recv, self._monotonic_ns(), fetched), ts_recv)

    def fetch_failed(self, url: str, reason: str, ts_recv: int, fetch: Fetch) -> None:
        """See `Recorder`."""
        failed = FetchFailed(url, reason, Asked.of(fetch))
        self._put(record.struct_line(record.FETCH_FAILED, ts_recv, self._monotonic_ns(), failed), ts_recv)

    def ready_timed_out(self) -> None:
        """See `Recorder`."""
        now = self._wall_clock_ns()
        self._put(record.line(record.READY_TIMED_OUT, now, self._monotonic_ns(), b""), now)

    def ticked(self, ts_recv: int, now: float) -> None:
        """See `Recorder`."""
        self._put(record.struct_line(record.TICKED, ts_recv, self._monotonic_ns(), Ticked(now)), ts_recv)
        if self._writer.failing != self._failing:
            self._report(self._writer.failing)

    def closed(self, reason: str, ts_recv: int) -> None:
        """See `Recorder`."""
        self._put(record.struct_line(record.CLOSED, ts_recv, self._monotonic_ns(), Closed(reason)), ts_recv)
        self._meta.connected = False

    def end(self) -> None:
        """Nothing more will come: the thread writes the rest and ends. Returns at once."""
        if self._lost:
            self._tell_loss(self._wall_clock_ns())
        self._writer.end()

    def close(self, timeout_seconds: float) -> None:
        """See `Recorder`; waits for the disk as long as told."""
        self.end()
        self._writer.join(timeout_seconds)
        if self.in_flight:
            self.dropped += self.in_flight
            self._log.error("capture.failed", error="the disk did not take the rest in time", records=self.dropped)

    # Inner steps

    def _put(self, text: bytes, ts_recv: int) -> None:
        size = len(text)
        held = self._bytes - self._writer.taken_bytes
        limit = self._config.buffer_bytes_max
        if held + size > limit or (self._lost and held > limit // 2):
            if not self._lost:
                self._log.error("capture.discarded", queue_bytes=held)
            self._lost += 1
            self.dropped += 1
            self.records += 1
            return
        if self._lost:
            self._tell_loss(ts_recv)
        writer = self._writer
        is_full = writer.files == self._parts and writer.offset >= self._config.rotate_bytes_max
        if is_full or ts_recv >= self._part_end_ns:
            self._begin_part(ts_recv)
        self._queue(text)

    def _queue(self, text: bytes) -> None:
        self.records += 1
        self._bytes += len(text)
        self._writer.lines.append(text)
        if self._bytes - self._writer.taken_bytes >= _WAKE_BYTES:
            self._writer.wake()

    def _tell_loss(self, ts_recv: int) -> None:
        lost, self._lost = self._lost, 0
        self._queue(record.struct_line(record.LOST, ts_recv, self._monotonic_ns(), Lost(lost)))

    def _begin_part(self, ts_recv: int) -> None:
        """Begin a file with a first line that says where the feed stands."""
        self._parts += 1
        self._part_end_ns = ts_recv - ts_recv % _DAY_NS + _DAY_NS
        meta = self._meta
        meta.subscriptions = list(self._wishes.values())
        meta.positions = self._positions()
        self._writer.lines.append(None)
        self._queue(record.struct_line(record.META, ts_recv, self._monotonic_ns(), meta))
        meta.part += 1

    def _report(self, failing: str) -> None:
        self._failing = failing
        if failing:
            self._log.error("capture.failed", error=failing)
        else:
            self._log.warning("capture.recovered", records_dropped=self.dropped)


class _Writer(threading.Thread):
    """
    The disk's side: packs what is queued into independent zstd frames, one after another.

    `lines` holds what to write, None where a new file begins. A frame that the disk did not take
    whole is cut off again and written once more later, so a file never has a torn frame but at its
    end.
    """

    def __init__(self, name: str, config: CaptureConfig) -> None:
        super().__init__(name=f"capture-{name}", daemon=True)
        self.lines: deque[bytes | None] = deque()
        self.taken_bytes = 0
        """Bytes of lines that are done with; only this thread changes it."""
        self.records = 0
        self.packed_bytes = 0
        self.files = 0
        """Files begun; `offset` is the size of the last one."""
        self.offset = 0
        self.failing = ""
        self.errors: Counter[str] = Counter()
        self._name = quote(name, safe="")
        self._config = config
        self._directory = Path(config.directory)
        self._interval = config.flush_interval_milliseconds / 1000
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        self._wanted = threading.Event()
        self._stopping = False
        self._fd = -1
        self._hand: list[bytes] = []
        """Lines taken out of the queue that are not on the disk yet."""
        self.start()

    def wake(self) -> None:
        """Write now."""
        self._wanted.set()

    def end(self) -> None:
        """Write the rest and end."""
        self._stopping = True
        self._wanted.set()

    def run(self) -> None:
        """Write now and then until stopped."""
        while True:
            stopping = self._stopping
            if not stopping:
                self._wanted.wait(self._interval)
                self._wanted.clear()
            try:
                while self._fill():
                    self._write(self._compressor.compress(b"".join(self._hand)))
                    self.records += len(self._hand)
                    self.taken_bytes += sum(map(len, self._hand))
                    self._hand.clear()
                self.failing = ""
            except OSError as error:
                self.errors[errno.errorcode.get(error.errno or 0, "unknown").lower()] += 1
                self.failing = error.strerror or str(error)
                if not stopping:
                    time.sleep(_RETRY_SECONDS)
            if stopping:
                self._close()
                return

    def _fill(self) -> bool:
        """Take the next run of lines in hand; False when there is nothing to write."""
        lines = self.lines
        if self._hand:
            return True
        size = 0
        while lines and size < _WAKE_BYTES:
            text = lines[0]
            if text is None:
                if self._hand:
                    break
                self._open()
            else:
                self._hand.append(text)
                size += len(text)
            lines.popleft()
        return bool(self._hand)

    def _write(self, frame: bytes) -> None:
        """Append one packed frame, whole or not at all."""
        view = memoryview(frame)
        try:
            while view:
                view = view[_write(self._fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.offset)
            raise
        self.offset += len(frame)
        self.packed_bytes += len(frame)

    def _open(self) -> None:
        """Begin a new file under a name that is not taken; the oldest go when there are too many."""
        self._close()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._retain()
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f"{now // 10**6 % 1000:03d}"
        number = 1
        while True:
            path = self._directory / f"{self._name}.{stamp}.{number}{record.SUFFIX}"
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                number += 1
            else:
                break
        self.offset = 0
        self.files += 1

    def _close(self) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1

    def _retain(self) -> None:
        """Delete the oldest files of this feed: too old, or no room for one more file."""
        config = self._config
        held = sorted(
            path
            for path in self._directory.iterdir()
            if path.name.startswith(f"{self._name}.") and path.name.endswith(record.SUFFIX)
        )
        sizes = [path.stat().st_size for path in held]
        total = sum(sizes)
        room = max(config.retain_bytes_max - config.rotate_bytes_max, 0)
        oldest = 0.0 if config.retain_seconds is None else time.time() - config.retain_seconds
        for path, size in zip(held, sizes, strict=True):
            if total <= room and path.stat().st_mtime >= oldest:
                break
            path.unlink()
            total -= size


def _write(fd: int, data: memoryview) -> int:
    """Write some of it: the one place where bytes reach a recording."""
    return os.write(fd, data)
