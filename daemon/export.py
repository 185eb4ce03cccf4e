"""
From archived events to Parquet: typed, exact, partitioned by date, venue and symbol.

    DIRECTORY/trade/date=2025-07-21/venue=sunflower/symbol=ETH-BTC/part-1.parquet

Reads what the file sink wrote (packed or not) and, through a replay, recordings. Needs pyarrow, the
extra `export`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

import msgspec
from structlog.typing import FilteringBoundLogger

from book.errors import ConfigError
from daemon.hub import Hub
from daemon.replay import Replay
from daemon.tape import open_tapes
from feeds.playback import Source, is_recording
from feeds.record import RecordingError
from sinks.sink import Batch, Filter, Sink, SinkContext

if TYPE_CHECKING:
    from daemon.table import Row, Table

_BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Lines held before the fullest partitions are written."""
_WRITERS_MAX: Final = 128
_SKIPPED: Final = frozenset({"meta"})
_REPLAYED: Final = (".rec.zst",)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Exported(msgspec.Struct):
    """What an export came to."""

    events: dict[str, int]
    """Rows by event type."""
    files: int
    bytes: int
    skipped: dict[str, int]
    """Lines that are no row: `meta`, types that this version does not know, damaged ones."""
    seconds: float


class Exporter:
    """
    Sorts lines into partitions and writes those as Parquet files, in bounded memory.

    A file has its final name only when it is complete.
    """

    def __init__(self, directory: Path) -> None:
        try:
            import pyarrow.parquet  # noqa: PLC0415 (an optional extra)

            from daemon import table  # noqa: PLC0415 (as above)
        except ImportError as error:
            raise ConfigError(
                f"export needs pyarrow, which is not installed: pip install 'skulk[export]' ({error})"
            ) from None
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty: an export never adds to another one")
        self.events: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.files = 0
        self.bytes = 0
        self._directory = directory
        self._parquet: Any = pyarrow.parquet
        self._tables: dict[str, Table] = table.tables()
        self._rows: dict[str, list[Row]] = {}
        self._sizes: Counter[str] = Counter()
        self._kinds: dict[str, str] = {}
        self._held = 0
        self._writers: dict[str, tuple[Any, Path]] = {}
        self._parts: Counter[str] = Counter()

    def add(self, line: bytes) -> None:
        """Take one line; a line that is no event is counted and passed over."""
        try:
            row = _decode(line)
            kind = row["type"]
            if kind in _SKIPPED:
                self.skipped[kind] += 1
                return
            table = self._tables.get(kind)
            if table is None:
                self.skipped["unknown_type"] += 1
                return
            partition = _partition(kind, row)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            self.skipped["damaged"] += 1
            return
        self._kinds[partition] = kind
        self._rows.setdefault(partition, []).append(row)
        self._sizes[partition] += len(line)
        self._held += len(line)
        self.events[kind] += 1
        if self._held > _BUFFER_BYTES_MAX:
            for fullest, _ in self._sizes.most_common(max(1, len(self._sizes) // 4)):
                self._write(fullest)

    def close(self) -> None:
        """Write what is held and finish every file."""
        for partition in sorted(self._rows):
            self._write(partition)
        for partition in list(self._writers):
            self._finish(partition)

    def _write(self, partition: str) -> None:
        rows = self._rows.pop(partition)
        self._held -= self._sizes.pop(partition)
        table = self._tables[self._kinds[partition]]
        held = self._writers.pop(partition) if partition in self._writers else self._begin(partition, table)
        self._writers[partition] = held  # the newest is the last
        held[0].write_batch(table.batch(rows))
        if len(self._writers) > _WRITERS_MAX:
            self._finish(next(iter(self._writers)))

    def _begin(self, partition: str, table: Table) -> tuple[Any, Path]:
        self._parts[partition] += 1
        path = self._directory / partition / f"part-{self._parts[partition]}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = self._parquet.ParquetWriter(f"{path}.tmp", table.schema, compression="zstd")
        return writer, path

    def _finish(self, partition: str) -> None:
        writer, path = self._writers.pop(partition)
        writer.close()
        unfinished = path.with_name(f"{path.name}.tmp")
        self.files += 1
        self.bytes += unfinished.stat().st_size
        unfinished.rename(path)


def _partition(kind: str, row: Row) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime(row["ts_recv"] // 10**9))
    if kind == "loss":
        return f"loss/date={date}"
    return f"{kind}/date={date}/venue={quote(row['venue'], safe='')}/symbol={quote(row['symbol'], safe='')}"


class _ExportSink(Sink):
    """Hands the lines of a replay to an exporter."""

    kind: ClassVar[str] = "export"

    def __init__(self, context: SinkContext, exporter: Exporter) -> None:
        super().__init__(context, Filter())
        self._exporter = exporter

    def write(self, batch: Batch) -> None:
        """Take a batch; a replay waits for nothing else."""
        for line in self.wanted_lines(batch):
            self._exporter.add(line)
        self.counts.written += len(batch)

    async def run(self) -> None:
        """Nothing is left to wait for."""

    async def close(self, timeout_seconds: float) -> None:
        """Nothing is left to flush."""

    @property
    def in_flight(self) -> int:
        """Nothing ever is."""
        return 0


async def export(
    paths: Sequence[Path],
    directory: Path,
    *,
    log: FilteringBoundLogger,
    venue: str | None = None,
) -> Exported:
    """
    Write the events of archived files, or of recordings, as a Parquet data set into an empty folder.

    With `venue`, files that are no recordings are that venue's plain frames.

    Raises:
        ConfigError: pyarrow is missing, the folder is not empty, or a file is not what it should be.
        RecordingError: a file cannot be read.

    """
    started = time.perf_counter()
    exporter = Exporter(directory)
    recordings: list[Path] = []
    for path in paths:
        try:
            raw = venue is not None or path.name.endswith(_REPLAYED) or is_recording(path)
            if raw:
                recordings.append(path)
            else:
                for line in Source(path).lines():
                    exporter.add(line)
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
    if recordings:
        run = Replay(open_tapes(recordings, venue), log)
        context = SinkContext("export", Hub(), log, {}, lambda: 0)
        run.hub.sinks.append(_ExportSink(context, exporter))
        await run.run(None)
    exporter.close()
    if not exporter.events:
        raise RecordingError(f"{', '.join(map(str, paths))}: no events in there")
    return Exported(
        events=dict(exporter.events),
        files=exporter.files,
        bytes=exporter.bytes,
        skipped=dict(exporter.skipped),
        seconds=time.perf_counter() - started,
    )
