"""
The command line: what a person types, and what they are told when it is wrong.

The only place that reads the environment. A mistake of the user's is one line on standard error,
never a traceback; a verb imports what it needs, so that help is instant.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from daemon.config import Config, Environment
    from daemon.logs import Logs
    from daemon.replay import Replayed
    from feeds.venue import FeedOptions

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130

OPS_URL: Final = "http://127.0.0.1:7411"
REBROADCAST_URL: Final = "ws://127.0.0.1:7410"

ResultT = TypeVar("ResultT")
Verb = Callable[[argparse.Namespace, Mapping[str, str]], int]


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command; return its exit status."""
    environment = os.environ if environment is None else environment
    try:
        arguments = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
        status = _guarded(arguments, environment)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. Python would complain once more when it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _guarded(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb; what is not a bug becomes one line and a status."""
    from book.errors import ConfigError, SkulkError

    verb: Verb = arguments.verb
    try:
        return verb(arguments, environment)
    except ConfigError as error:
        return _fail(str(error), EXIT_CONFIG)
    except SkulkError as error:
        return _fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{(error.strerror or str(error)).lower()}")


def _fail(message: str, status: int = EXIT_FAILED) -> int:
    print(f"skulk: {' '.join(message.split())}", file=sys.stderr)
    return status


# What can be typed


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line and where help is."""

    def error(self, message: str) -> NoReturn:
        """Leave with one line."""
        self.exit(EXIT_FAILED, f'{self.prog}: {message}; try "{self.prog} --help"\n')


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="skulk", description="A market-data daemon: many venues in, one exact stream of events out.")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, verb: Verb, summary: str, example: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(verb=verb)
        return added

    run = add("run", _run, "run the daemon", "skulk run --config skulk.toml")
    _add_config(run)
    demo = add("demo", _demo, "simulated venues and the daemon: no network, no key", "skulk demo --seconds 10")
    demo.add_argument("--seconds", type=_positive, metavar="N", help="stop after N seconds (default: on Ctrl-C)")
    demo.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed gives the same market (1)")
    demo.add_argument("--rate", type=_positive, default=1.0, metavar="R", help="how busy the markets are (1)")
    check = add("check", _check, "validate a configuration", "skulk check --config skulk.toml --no-network")
    _add_config(check)
    check.add_argument("--no-network", action="store_true", help="do not look the symbols up at the venues")
    config = add(
        "config", _config, "print the default, the effective configuration or the schema", "skulk config default"
    )
    config.add_argument("what", choices=("default", "show", "schema"), help="which of them")
    _add_config(config)
    _add_sim(add("sim", _sim, "run the venue simulators alone", "skulk sim --listen 127.0.0.1:7420 --seed 7"))
    _add_tail(add("tail", _tail, "print a running daemon's events", "skulk tail --channels trade --streams '*:BTC-*'"))
    capture = add("capture", _capture, "record raw frames, both ways", "skulk capture --directory captures")
    _add_config(capture)
    capture.add_argument("--directory", type=Path, metavar="DIR", help="where the recordings go (default: [capture])")
    replay = add("replay", _replay, "run recordings through the live code", "skulk replay captures/*.zst --speed max")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, or one received frame a line")
    replay.add_argument("--venue", help="the venue of plain files of frames")
    replay.add_argument("--speed", type=_speed, default=1.0, metavar="N|max", help="times the recorded pace (1)")
    _add_config(replay)
    export = add("export", _export, "archived events as Parquet", "skulk export data/*.ndjson* --output research")
    export.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of the file sink, or recordings")
    export.add_argument("--format", choices=("parquet",), default="parquet", help="the only one (parquet)")
    export.add_argument("--output", type=Path, required=True, metavar="DIR", help="an empty folder, or a new one")
    export.add_argument("--venue", help="the venue of plain files of frames")
    status = add("status", _status, "show feeds, books and sinks of a running daemon", "skulk status --json")
    _add_ops_url(status)
    status.add_argument("--json", action="store_true", help="the whole of /status as JSON")
    top = add("top", _top, "the same, live", "skulk top")
    _add_ops_url(top)
    top.add_argument("--seconds", type=_positive, default=1.0, metavar="N", help="time between two looks (1)")
    top.add_argument("--once", action="store_true", help="two looks, then leave")
    _add_gaps(add("gaps", _gaps, "list and explain the gaps of a daemon's past", "skulk gaps list --since 24h"))
    _add_coverage(add("coverage", _coverage, "how much of the time each stream was good", "skulk coverage --since 24h"))
    venues = add("venues", _venues, "list the supported venues", "skulk venues")
    venues.add_argument("--json", action="store_true", help="as JSON")
    symbols = add("symbols", _symbols, "print a venue's symbol table", "skulk symbols sunflower '*-BTC'")
    symbols.add_argument("venue", help="one of `skulk venues`")
    symbols.add_argument("patterns", nargs="*", metavar="GLOB", help="only these")
    symbols.add_argument("--rest-url", metavar="URL", help="where the venue's REST is, if not at its own address")
    symbols.add_argument("--json", action="store_true", help="one JSON object a line")
    add("version", _version, "print the version", "skulk version")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (default: $SKULK_CONFIG, else /etc/skulk/skulk.toml)",
    )


def _add_history(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--directory", type=Path, metavar="DIR", help="the state directory (default: as configured)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_gaps(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    listed = kinds.add_parser("list", help="one line a gap, newest first")
    _add_history(listed)
    listed.add_argument("--since", type=_span, metavar="SPAN", help="only the last 30m, 24h, 7d (default: all)")
    listed.add_argument("--stream", default="*", metavar="GLOB", help="only streams such as 'sfox:*:trade'")
    listed.set_defaults(gap_id=None)
    shown = kinds.add_parser("show", help="everything known about one gap")
    shown.add_argument("gap_id", metavar="ID", help="the gap_id of the event, the log or the list")
    _add_history(shown)


def _add_coverage(parser: argparse.ArgumentParser) -> None:
    _add_history(parser)
    parser.add_argument("--since", type=_span, default=86400.0, metavar="SPAN", help="the last 30m, 24h, 7d (24h)")
    parser.add_argument("--stream", default="*", metavar="GLOB", help="only streams such as '*:book'")


def _add_ops_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=OPS_URL, help=f"the daemon's ops address, also unix:/path ({OPS_URL})")


def _add_sim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:7420", metavar="HOST:PORT", help="the first venue's (…:7420)")
    parser.add_argument("--venues", type=_words, metavar="A,B", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed gives the same market (1)")
    parser.add_argument("--rate", type=_positive, default=1.0, metavar="R", help="how busy the markets are (1)")
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="faults and when they happen: a file, or gaps, network, storm"
    )


def _add_tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=REBROADCAST_URL, help=f"the rebroadcast ({REBROADCAST_URL})")
    parser.add_argument("--channels", type=_words, metavar="A,B", help="only these (default: all)")
    parser.add_argument("--streams", type=_words, default=["*"], metavar="GLOB,…", help="only these, over venue:symbol")
    parser.add_argument("--format", choices=("json", "text"), default="json", help="one JSON object, or words, a line")
    parser.add_argument("--mode", choices=("full", "conflate"), help="every event, or the newest state (full)")
    parser.add_argument("--interval-ms", type=int, metavar="N", help="how often, when conflating")
    parser.add_argument("--depth", type=int, metavar="N", help="only the best N levels of a book's side")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds the subscriber's token")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _speed(text: str) -> float | None:
    """Return how many times real time, None for as fast as can be."""
    return None if text == "max" else _positive(text)


def _span(text: str) -> float:
    """Return the seconds of `24h`."""
    from daemon.moment import span_seconds

    try:
        return span_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        message = f'"{text}" is not a number above 0'
        raise argparse.ArgumentTypeError(message)
    return value


# The verbs


def _run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.rules import check_runnable

    def read() -> Config:
        config = _load(arguments, environment)
        check_runnable(config)
        return config

    return _serve(read, environment)


def _serve(read: Callable[[], Config], environment: Mapping[str, str]) -> int:
    """Run a daemon under what `read` returns, and again after each reload."""
    from book.errors import SinkError
    from daemon.run import Daemon
    from daemon.systemd import Notifier

    config = read()
    logs = _logs(config, environment)
    notifier = Notifier(
        environment.get("NOTIFY_SOCKET"), environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
    )
    try:
        return _await(Daemon(config, logs, notifier=notifier, reread=read).run(), config.daemon.event_loop)
    except SinkError as error:
        reason = str(error)
    except Exception as error:
        logs.log.exception("daemon.failed", error=f"{type(error).__name__}: {error}")
        reason = "internal error"
    finally:
        logs.close()
    logs.log.error("daemon.stopped", reason=reason)
    return EXIT_FAILED


def _demo(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.demo import demo
    from daemon.logs import adopt_libraries, open_logs

    logs = open_logs("error", colour="NO_COLOR" not in environment)
    adopt_libraries(logs)
    return _await(demo(seconds=arguments.seconds, seed=arguments.seed, rate=arguments.rate, log=logs.log))


def _check(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.checking import check_symbols
    from daemon.rules import check_runnable

    config = _load(arguments, environment)
    check_runnable(config)
    if not arguments.no_network:
        for warning in _await(check_symbols(config)):
            print(f"skulk: {config.source}: {warning}", file=sys.stderr)
    feeds = ", ".join(f"{feed.name} ({len(feed.symbols)} symbols)" for feed in config.feeds)
    sinks = ", ".join(str(sink.name) for sink in config.sinks)
    print(f"{config.source}: good; feeds: {feeds}; sinks: {sinks}; hash {config.hash}")
    return EXIT_DONE


def _config(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    if arguments.what == "default":
        from daemon.default_config import default_config

        print(default_config(), end="")
    elif arguments.what == "schema":
        from daemon.default_config import schema

        _print_json(schema(), indent=True)
    else:
        from daemon.toml import dump

        config = _load(arguments, environment)
        print(f"# {config.source}, hash {config.hash}\n\n{dump(config.effective())}", end="")
    return EXIT_DONE


def _sim(arguments: argparse.Namespace, _: Mapping[str, str]) -> int:
    from daemon.simulate import simulate

    return _await(
        simulate(
            listen=arguments.listen,
            venues=arguments.venues,
            seed=arguments.seed,
            rate=arguments.rate,
            script=arguments.script,
            out=sys.stdout,
        )
    )


def _tail(arguments: argparse.Namespace, _: Mapping[str, str]) -> int:
    from daemon.secret import read_secret
    from daemon.tail import tail

    token = None if arguments.token_file is None else read_secret(arguments.token_file, "--token-file")
    wishes = {"mode": arguments.mode, "interval_ms": arguments.interval_ms, "depth": arguments.depth}
    with contextlib.suppress(KeyboardInterrupt):
        _await(
            tail(
                arguments.url,
                channels=arguments.channels,
                streams=arguments.streams,
                output=sys.stdout,
                format=arguments.format,
                token=token,
                options={key: value for key, value in wishes.items() if value is not None} or None,
            )
        )
    return EXIT_DONE


def _capture(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    import msgspec

    from daemon.capture import capturing
    from feeds.recording import CaptureConfig

    def read() -> Config:
        config = _load(arguments, environment)
        capture = config.capture or CaptureConfig()
        if arguments.directory is not None:
            capture = msgspec.structs.replace(capture, directory=str(arguments.directory))
        return capturing(config, capture)

    return _serve(read, environment)


def _replay(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.logs import open_logs
    from daemon.replay import replay

    config = _load(arguments, environment) if arguments.config is not None else None
    logs = open_logs("warning", colour="NO_COLOR" not in environment) if config is None else _logs(config, environment)
    replayed = _await(
        replay(
            arguments.files,
            venue=arguments.venue,
            speed=arguments.speed,
            sinks=() if config is None else config.sinks,
            options=_options(config, arguments.venue),
            log=logs.log,
        )
    )
    logs.close()
    if not replayed.reader_gone:
        print(_replayed(replayed), file=sys.stderr)
    return EXIT_DONE


def _export(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.export import export
    from daemon.logs import open_logs

    logs = open_logs("warning", colour="NO_COLOR" not in environment)
    exported = _await(export(arguments.files, arguments.output, log=logs.log, venue=arguments.venue))
    logs.close()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(exported.events.items()))
    skipped = {reason: count for reason, count in exported.skipped.items() if reason != "meta"}
    tail = "".join(f"; {count} lines {reason}" for reason, count in sorted(skipped.items()))
    print(
        f"skulk: exported {kinds} into {exported.files} files, {exported.bytes} bytes, "
        f"in {exported.seconds:.1f} s{tail}",
        file=sys.stderr,
    )
    return EXIT_DONE


def _options(config: Config | None, venue: str | None) -> FeedOptions | None:
    """Return the options of the configured feed of this venue, for recordings that bring none of their own."""
    feeds = [] if config is None else [feed for feed in config.feeds if feed.venue == venue]
    return feeds[0].options if feeds else None


def _replayed(result: Replayed) -> str:
    """Say what a replay came to."""
    rate = f"{result.frames / result.seconds:,.0f}" if result.seconds > 0 else "-"
    troubles = [f"{count} frames {reason}" for reason, count in result.rejected.items()]
    if result.lost_records:
        troubles.append(f"{result.lost_records} records were left out by the recorder")
    if result.torn_bytes:
        troubles.append(f"{result.torn_bytes} bytes torn off at the end")
    tail = f"; {', '.join(troubles)}" if troubles else ""
    return (
        f"skulk: replayed {result.frames} frames as {result.events} events in {result.seconds:.1f} s, {rate} frames/s, "
        f"recorded over {result.recorded_seconds:.1f} s{tail}"
    )


def _status(arguments: argparse.Namespace, _: Mapping[str, str]) -> int:
    from daemon.status import fetch_status, status_table

    status = fetch_status(arguments.url)
    if arguments.json:
        _print_json(status, indent=True)
    else:
        print(status_table(status), end="")
    return EXIT_DONE


def _top(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.top import top

    return top(
        arguments.url,
        seconds=arguments.seconds,
        once=arguments.once,
        out=sys.stdout,
        colour="NO_COLOR" not in environment and sys.stdout.isatty(),
    )


def _gaps(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.history import list_gaps, show_gap, state_directory

    directory = state_directory(arguments.directory, arguments.config, environment)
    if arguments.gap_id is None:
        list_gaps(directory, arguments.stream, arguments.since, as_json=arguments.json)
    else:
        show_gap(directory, arguments.gap_id, as_json=arguments.json)
    return EXIT_DONE


def _coverage(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from daemon.history import show_coverage, state_directory

    directory = state_directory(arguments.directory, arguments.config, environment)
    show_coverage(directory, arguments.stream, arguments.since, as_json=arguments.json)
    return EXIT_DONE


def _venues(arguments: argparse.Namespace, _: Mapping[str, str]) -> int:
    from feeds.venues import VENUES

    rows = [
        {
            "venue": venue.name,
            "title": venue.title,
            "channels": sorted(venue.channels - {"candle"})
            + ([f"candle:<{' '.join(venue.periods)}>"] if venue.periods else []),
            "ws_url": venue.ws_url,
            "rest_url": venue.rest_url,
        }
        for venue in VENUES.values()
    ]
    if arguments.json:
        _print_json(rows, indent=True)
        return EXIT_DONE
    for row in rows:
        print(f"{row['venue']:<12}{row['title']}")
        print(f"{'':<12}channels  {', '.join(row['channels'])}")
        print(f"{'':<12}websocket {row['ws_url']}")
        print(f"{'':<12}REST      {row['rest_url']}")
    return EXIT_DONE


def _symbols(arguments: argparse.Namespace, _: Mapping[str, str]) -> int:
    from daemon.checking import fetch_symbols, symbol_lines

    table = _await(fetch_symbols(arguments.venue, arguments.rest_url))
    for line in symbol_lines(table, arguments.patterns, as_json=arguments.json):
        print(line)
    return EXIT_DONE


def _version(_: argparse.Namespace, __: Mapping[str, str]) -> int:
    import platform
    from importlib.metadata import version

    print(f"skulk {version('skulk')} (Python {platform.python_version()})")
    return EXIT_DONE


# What several verbs need


def _load(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Config:
    from daemon.config import DEFAULT_PATH, load

    path = arguments.config or Path(environment.get("SKULK_CONFIG") or DEFAULT_PATH)
    return load(path, _environment(environment))


def _environment(environment: Mapping[str, str]) -> Environment:
    from daemon.config import Environment

    return Environment(
        credentials_directory=environment.get("CREDENTIALS_DIRECTORY") or None,
        state_directory=environment.get("STATE_DIRECTORY") or None,
    )


def _logs(config: Config, environment: Mapping[str, str]) -> Logs:
    from daemon.logs import adopt_libraries, open_logs

    logs = open_logs(
        config.daemon.log_level,
        config.daemon.log_format,
        colour="NO_COLOR" not in environment,
        journal_stream=environment.get("JOURNAL_STREAM"),
    )
    logs.hide(config.secrets())
    adopt_libraries(logs)
    return logs


def _await(work: Coroutine[Any, Any, ResultT], event_loop: str = "auto") -> ResultT:
    """Run a coroutine to its end on the configured event loop."""
    factory = None
    if event_loop != "asyncio":
        try:
            import uvloop
        except ImportError:
            if event_loop == "uvloop":
                work.close()
                from book.errors import ConfigError

                raise ConfigError('daemon.event_loop: uvloop is not installed; use "auto" or "asyncio"') from None
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _print_json(value: object, *, indent: bool = False) -> None:
    import orjson

    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.write(orjson.dumps(value, option=options, default=str).decode())
