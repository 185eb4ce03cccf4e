"""
The reference pages in docs/, made from what the program itself goes by: metrics, log events, configuration.

`python -m daemon.reference docs` writes them; a test fails when one is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon.config import DaemonConfig, FeedTable, OpsConfig
from daemon.default_config import first_paragraph, sink_structs
from daemon.field import Field, fields_of
from daemon.latency import NETWORK_BOUNDS, STAGE_BOUNDS
from daemon.logs import EVENTS
from daemon.metric import METRICS, PROCESS, STARTING_REASONS
from daemon.toml import value_text
from feeds.recording import CaptureConfig
from feeds.venue import FeedOptions
from feeds.venues import VENUES
from sinks.sink import SinkConfig

_MADE: Final = "<!-- Made by `python -m daemon.reference docs`; change the source instead. -->\n"


def metrics_page() -> str:
    """Return docs/metrics.md."""
    rows = [
        (
            f"`{metric.served_name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "-",
            metric.help,
        )
        for metric in METRICS.values()
    ]
    starting = [
        (f"`{METRICS[name].served_name}`", f"`{METRICS[name].labels[-1]}`", ", ".join(f"`{word}`" for word in words))
        for name, words in STARTING_REASONS.items()
    ]
    return f"""# Metrics

{_MADE}
Served at `/metrics` of the ops address, as Prometheus text or OpenMetrics, whichever the scraper accepts.
Names start with `skulk_`, units are base units, instants are seconds since the epoch (subtract them from
`time()` for an age). Label values come from the configuration and from closed lists, never from clients or
free text. Every series is there from the start, so that `rate()` and `absent()` mean what they say.

Nothing on the way of a message knows about metrics: the figures are plain counters that are read when
somebody scrapes, in a thread.

{_table(("metric", "kind", "labels", "meaning"), rows)}
From the system, where it has `/proc`: {", ".join(f"`{name}`" for name in PROCESS)}.

## Label values that are there from the start

Others of the same label appear with their first case.

{_table(("metric", "label", "values"), starting)}
## Buckets, in seconds

* inside the process (`skulk_event_loop_lag_seconds`, `skulk_publish_latency_seconds`): {_bounds(STAGE_BOUNDS)}
* over a network or to a reader (`skulk_venue_latency_seconds`, `skulk_sink_latency_seconds`): {_bounds(NETWORK_BOUNDS)}

Latencies are sampled: once for each batch, that is, for each turn of the event loop that published something;
a sink's at most ten times a second. `skulk_venue_latency_seconds` compares two clocks: the venue's and ours.

## First questions

| question | query |
|---|---|
| is every book live? | `skulk_books_live == skulk_books_configured` |
| since when is it not? | `time() - skulk_book_state_timestamp_seconds and skulk_book_live == 0` |
| how many gaps, and why? | `sum by (venue, reason) (increase(skulk_book_gaps_total[1h]))` |
| how late are we? | `histogram_quantile(0.99, sum by (le, venue) (rate(skulk_venue_latency_seconds_bucket[5m])))` |
| how much of that is ours? | `histogram_quantile(0.99, rate(skulk_publish_latency_seconds_bucket[5m]))` |
| who is slow? | `skulk_ws_lagging_clients`, `skulk_sink_queue_bytes / skulk_sink_queue_limit_bytes` |
| what was lost? | `sum by (sink, reason) (increase(skulk_sink_dropped_events_total[1h]))` |

For each sink, always: taken = written + filtered + conflated + dropped + rejected + in flight.
"""


def logs_page() -> str:
    """Return docs/logs.md."""
    families: dict[str, list[tuple[str, str]]] = {}
    for name, meaning in EVENTS.items():
        families.setdefault(name.partition(".")[0], []).append((f"`{name}`", meaning))
    tables = "\n".join(f"## {family}\n\n{_table(('event', 'meaning'), rows)}" for family, rows in families.items())
    return f"""# Log

{_MADE}
One JSON object a line on standard error (`log_format = "auto"`: words on a terminal). Standard output belongs to
the stdout sink. The names below are all there are; a line with another name is a bug, and fails in the tests.

    {{"ts":"2023-11-14T22:13:20.123456Z","level":"warning","event":"book.gap_detected","venue":"sunflower",
     "symbol":"ETH-BTC","stream":"sunflower:ETH-BTC:book","reason":"sequence","expected":"8073829",
     "received":"8073831","gap_id":"sunflower-ETH-BTC-book-20231114T221300000-17"}}

* Fields are always named alike: `venue feed symbol channel stream sink client reason code expected received gap_id
  error duration_seconds`. `reason` and `code` are words from a bounded set, `error` is for people.
* What changes is logged, messages never are.
* The same complaint about the same thing comes at most once in 10 seconds; the next one says in `suppressed` how
  many were left out. This goes for warnings and errors, and for everything about books, trades, clients and waits.
* A reader of the log that stalls costs lines, not time: `lost_lines` on the next line tells how many.
* No secret is ever logged. Keys that were read are hidden even if a venue sends one back.
* The last line of every run is `daemon.stopped` with its reason.

Under systemd, `journalctl -u skulk -o cat | jq` reads it, and `journalctl -u skulk -p warning` chooses by level.

{tables}"""


def configuration_page() -> str:
    """Return docs/configuration.md."""
    common = {field.name for field in fields_of(FeedOptions)}
    venues = "\n".join(
        f'### {venue.title}\n\n`venue = "{venue.name}"`. Channels: '
        f"{', '.join(f'`{word}`' for word in sorted(venue.channels - {'candle'}))}"
        f"{', `candle:<period>` with ' + ', '.join(venue.periods) if venue.periods else ''}.\n\n"
        f"{_keys(field for field in fields_of(venue.Options) if field.name not in common)}"
        for venue in VENUES.values()
    )
    sinks = "\n".join(
        f"### {struct.__struct_config__.tag}\n\n{first_paragraph(sys.modules[struct.__module__].__doc__)}\n\n"
        f"{_keys(field for field in fields_of(struct) if field.name not in SinkConfig.__struct_fields__)}"
        for struct in sink_structs()
    )
    return f"""# Configuration

{_MADE}
One TOML file: `--config FILE`, else `$SKULK_CONFIG`, else `/etc/skulk/skulk.toml`. `skulk config default` prints one
with every key, `skulk config show` what is in force with defaults filled in, `skulk config schema` a JSON Schema for
editors, and `skulk check` says what is wrong, in one line, with its place and the nearest right word:

    skulk: skulk.toml: feeds[0].symbls: unknown key; did you mean "symbols"?

Units are in the names. Relative paths are relative to the working directory. SIGHUP reads the file again: what
differs is changed, everything else goes on undisturbed; a file with a mistake is rejected as a whole, with
`config.rejected` in the log, and what runs keeps running. `log_format`, `state_directory`, `event_loop` and
`[capture]` need a restart, which `config.reloaded` says.

Secrets are never in the file: it names files that hold them, or systemd credentials. A secret file that others can
read is refused.

## [daemon]

{_keys(fields_of(DaemonConfig))}
## [ops]

Without this table there is no ops address.

{_keys(fields_of(OpsConfig))}
## [capture]

Without this table nothing is recorded.

{_keys(fields_of(CaptureConfig))}
## [[feeds]]

One table for each venue, or several as long as no stream is in two of them.

{_keys([_VENUE, *fields_of(FeedTable), *fields_of(FeedOptions)])}
{venues}
## [[sinks]]

{_keys([_TYPE, *fields_of(SinkConfig)])}
{sinks}"""


PAGES: Final = {"metrics.md": metrics_page, "logs.md": logs_page, "configuration.md": configuration_page}


def write(folder: Path) -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")


def _tag(name: str, doc: str, words: Iterable[str]) -> Field:
    choices = " or ".join(f'"{word}"' for word in words)
    return Field(name, doc, choices, msgspec.NODEFAULT, required=True, optional=False, type=str)


_VENUE: Final = _tag("venue", "Which venue.", VENUES)
_TYPE: Final = _tag("type", "Which kind of sink.", (str(sink.__struct_config__.tag) for sink in sink_structs()))


def _keys(fields: Iterable[Field]) -> str:
    rows = [
        (f"`{field.name}`", field.kind.replace('"', "`"), _default(field), field.doc.replace("|", r"\|"))
        for field in fields
    ]
    return _table(("key", "type", "default", "meaning"), rows) if rows else "No keys of its own.\n"


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.default is None or field.default == "":
        return "-"
    value: Any = msgspec.to_builtins(field.default)
    return f"`{value_text(value)}`"


def _bounds(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:.6f}".rstrip("0").rstrip(".") for bound in bounds)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
