"""The command line: what a person types, what they get, and what they are told when it is wrong."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from daemon.cli import main
from daemon.config import parse_text
from feeds.simulator import SimulatorServer
from feeds.venues import VENUES
from tests.daemon.running import feed_of, until

ROOT = Path(__file__).parent.parent.parent
VERBS = [
    "run",
    "demo",
    "check",
    "config",
    "sim",
    "tail",
    "capture",
    "replay",
    "export",
    "status",
    "top",
    "gaps",
    "coverage",
    "venues",
    "symbols",
]
GOOD = '[[feeds]]\nvenue = "sunflower"\nsymbols = ["ETH-BTC"]\n[[sinks]]\ntype = "stdout"\n'


def skulk(*arguments, **environment):
    """Run the command in this process; return (status, out, err) through capsys' eyes."""
    return main([str(argument) for argument in arguments], environment)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "skulk.toml"
    path.write_text(GOOD)
    return path


# Help


@pytest.mark.parametrize("verb", [*VERBS, "version"])
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as left:
        skulk(verb, "--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  skulk {verb}" in text


def test_help_lists_every_verb_and_needs_nothing_heavy():
    code = (
        "import sys, daemon.cli\n"
        "try:\n  daemon.cli.main(['--help'], {})\nexcept SystemExit: pass\n"
        "heavy = {'msgspec', 'aiohttp', 'websockets', 'structlog', 'prometheus_client', 'orjson', 'uvloop'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == "[]\n"
    assert [verb for verb in VERBS if f"    {verb} " not in done.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "skulk: the following arguments are required: COMMAND"),
        (["rnu"], "skulk: argument COMMAND: invalid choice: 'rnu'"),
        (["run", "--confg", "x"], "skulk: unrecognized arguments: --confg x"),
        (["demo", "--seconds", "-1"], 'argument --seconds: "-1" is not a number above 0'),
        (["replay", "x", "--speed", "fast"], 'argument --speed: "fast" is not a number above 0'),
        (["coverage", "--since", "yesterday"], "argument --since: 'yesterday' is no span of time"),
        (["gaps"], "the following arguments are required: COMMAND"),
        (["config", "shwo"], "argument what: invalid choice: 'shwo'"),
    ],
)
def test_a_slip_is_one_line_that_points_to_help(arguments, said, capsys):
    with pytest.raises(SystemExit) as left:
        skulk(*arguments)
    error = capsys.readouterr().err
    assert left.value.code == 1
    assert error.count("\n") == 1
    assert said in error
    assert "--help" in error


# check, config


def test_check_says_what_is_good(good, capsys):
    assert skulk("check", "--config", good, "--no-network") == 0
    assert capsys.readouterr().out.startswith(f"{good}: good; feeds: sunflower (1 symbols); sinks: stdout; hash ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("symbols", "symbls"), 'feeds[0].symbls: unknown key; did you mean "symbols"?'),
        ("", "feeds: there is none; add a [[feeds]] table"),
        (GOOD.partition("[[sinks]]")[0], "sinks: there is none"),
        ("a = ", "not TOML"),
    ],
)
@pytest.mark.parametrize("verb", [("check", "--no-network"), ("run",)])
def test_a_bad_configuration_is_one_line_and_78(verb, text, said, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    assert skulk(*verb, "--config", path) == 78
    error = capsys.readouterr().err
    assert error.startswith(f"skulk: {path}: ")
    assert said in error
    assert error.count("\n") == 1


def test_the_file_is_the_one_named_then_the_environments_then_the_systems(good, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other.toml"
    other.write_text(GOOD.replace("ETH-BTC", "LTC-BTC"))
    assert skulk("config", "show", SKULK_CONFIG=str(other)) == 0
    assert "LTC-BTC" in capsys.readouterr().out
    assert skulk("config", "show", "--config", good, SKULK_CONFIG=str(other)) == 0
    assert "ETH-BTC" in capsys.readouterr().out
    monkeypatch.setattr("daemon.config.DEFAULT_PATH", tmp_path / "none.toml")
    assert skulk("config", "show") == 78
    assert f"skulk: {tmp_path}/none.toml: cannot read it: no such file" in capsys.readouterr().err


def test_show_is_the_effective_configuration_without_secrets(tmp_path, capsys):
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("hush-hush")
    path = tmp_path / "skulk.toml"
    path.write_text(f'[[feeds]]\nvenue = "sfox"\nsymbols = ["*"]\napi_key_file = "{key}"\n{STDOUT}[ops]\n')
    assert skulk("config", "show", "--config", path, STATE_DIRECTORY="/var/lib/skulk") == 0
    text = capsys.readouterr().out
    shown = tomllib.loads(text)
    assert shown["daemon"]["state_directory"] == "/var/lib/skulk"
    assert shown["feeds"][0]["channels"] == ["book", "trade", "ticker"]
    assert shown["feeds"][0]["book_levels"] == "price"
    assert shown["ops"]["listen"] == "127.0.0.1:7411"
    assert "hush" not in text
    assert parse_text(text, "").hash == text.split("hash ")[1].split("\n")[0], "what is shown is a configuration"


STDOUT = '[[sinks]]\ntype = "stdout"\n'


def test_the_default_is_good(tmp_path, capsys):
    assert skulk("config", "default") == 0
    path = tmp_path / "skulk.toml"
    path.write_text(capsys.readouterr().out)
    assert skulk("check", "--config", path, "--no-network") == 0


def test_the_schema_accepts_the_default_and_refuses_what_check_refuses(capsys):
    assert skulk("config", "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert skulk("config", "default") == 0
    assert list(validator.iter_errors(tomllib.loads(capsys.readouterr().out))) == []
    mistakes: list[dict[str, object]] = [
        {"deamon": {}},
        {"feeds": [{"venue": "sunflower", "symbls": []}]},
        {"feeds": [{"venue": "nowhere", "symbols": ["*"]}]},
        {"sinks": [{"type": "stdout", "buffer_bytes_max": "big"}]},
        {"daemon": {"log_level": "loud"}},
    ]
    for bad in mistakes:
        assert list(validator.iter_errors(bad)), bad


# What needs a venue


@pytest.fixture
async def simulator():
    async with SimulatorServer(seed=5) as server:
        yield server


def config_of(simulator, path, *symbols, sinks=STDOUT, extra=""):
    table = feed_of(simulator, "sunflower", *symbols)
    path.write_text(
        f'[[feeds]]\nvenue = "sunflower"\nsymbols = {json.dumps(table["symbols"])}\nws_url = "{table["ws_url"]}"\n'
        f'rest_url = "{table["rest_url"]}"\n{sinks}{extra}'
    )
    return path


@pytest.fixture
def command(capsys):
    """Run the command in a thread, so that the venue can answer; return (status, out, err)."""

    async def run(*arguments):
        status = await asyncio.to_thread(skulk, *arguments)
        return status, *capsys.readouterr()

    return run


async def start(*arguments, **environment):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *map(str, arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
    )


async def test_check_looks_symbols_up_at_the_venue(simulator, command, tmp_path):
    path = config_of(simulator, tmp_path / "a.toml", "ETH-BTC", "*-USD")
    status, out, error = await command("check", "--config", path)
    assert (status, error) == (0, "")
    assert "good" in out
    path = config_of(simulator, tmp_path / "b.toml", "ETH-BTC", "ETH-BTX")
    status, _, error = await command("check", "--config", path)
    assert status == 78
    assert error == f'skulk: {path}: feeds[0].symbols[1]: sunflower has no "ETH-BTX"; did you mean "ETH-BTC"?\n'
    status, _, error = await command("check", "--config", config_of(simulator, path, "ETH-BTC", "*-NOPE"))
    assert status == 78
    assert 'sunflower has no "*-NOPE"; `skulk symbols sunflower` lists them' in error


async def test_check_without_an_answer_warns_and_passes(simulator, command, tmp_path):
    path = config_of(simulator, tmp_path / "a.toml", "ETH-BTC")
    await simulator.stop()
    status, out, error = await command("check", "--config", path)
    assert status == 0
    assert "good" in out
    assert "feeds[0].symbols: not looked up: " in error


async def test_symbols_prints_the_venues_table(simulator, command):
    url = simulator.urls["sunflower"].rest_url
    status, out, _ = await command("symbols", "sunflower", "*-BTC", "--rest-url", url)
    assert status == 0
    head, *rows = out.splitlines()
    assert head.split()[0] == "SYMBOL"
    assert rows
    assert all(row.split()[0].endswith("-BTC") for row in rows)
    status, out, _ = await command("symbols", "sunflower", "ETH-BTC", "--json", "--rest-url", url)
    assert json.loads(out)["wire_symbol"] == "ETHBTC"
    status, _, error = await command("symbols", "sunflower", "NO-*", "--rest-url", url)
    assert (status, error) == (1, "skulk: no symbol matches NO-*\n")


async def test_run_prints_events_and_stops_in_order_on_a_signal(simulator, tmp_path):
    path = config_of(simulator, tmp_path / "a.toml", "ETH-BTC")
    process = await start("run", "--config", path, STATE_DIRECTORY=str(tmp_path))
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), 10)) for _ in range(20)]
    assert "book_snapshot" in {line["type"] for line in lines}
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    log = [json.loads(line) for line in err.splitlines()]
    assert log[0]["event"] == "daemon.started"
    assert log[-1] | {"ts": ""} == {"ts": "", "level": "info", "event": "daemon.stopped", "reason": "SIGTERM"}
    assert json.loads(out.splitlines()[-1])["state"] == "disconnected"


async def test_status_and_top_show_a_running_daemon(simulator, command, tmp_path):
    extra = f'[ops]\nlisten = "unix:{tmp_path}/ops.sock"\n'
    sinks = '[[sinks]]\ntype = "websocket"\nlisten = "127.0.0.1:0"\n'
    path = config_of(simulator, tmp_path / "a.toml", "ETH-BTC", sinks=sinks, extra=extra)
    url = f"unix:{tmp_path}/ops.sock"
    process = await start("run", "--config", path, STATE_DIRECTORY=str(tmp_path))
    try:
        await until((tmp_path / "ops.sock").exists)
        async with asyncio.timeout(10):
            while "is ready: 1/1 books live" not in (shown := (await command("status", "--url", url))[1]):
                await asyncio.sleep(0.05)
        assert "sunflower:ETH-BTC:book" in shown
        status, out, _ = await command("status", "--url", url, "--json")
        assert (status, json.loads(out)["ready"]) == (0, True)
        status, out, _ = await command("top", "--url", url, "--once", "--seconds", "0.1")
        assert status == 0
        assert "1/1 books live" in out
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0


@pytest.mark.parametrize("script", [(), ("--script", "gaps"), ("--script", "network"), ("--script", "storm")])
async def test_sim_prints_feeds_that_a_configuration_can_hold(script):
    process = await start("sim", "--listen", "127.0.0.1:0", "--venues", "sunflower,sfox", *script)
    lines: list[str] = []
    while sum(line.startswith("synthetic") for line in lines) < 2:
        lines.append((await asyncio.wait_for(process.stdout.readline(), 10)).decode())
    assert [feed.venue for feed in parse_text("".join(lines), "").feeds] == ["sunflower", "sfox"]
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0


# Failures that are not the configuration's


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["status", "--url", "http://127.0.0.1:1"], 1, "is the daemon running, with [ops] in its configuration?"),
        (["status", "--url", "ftp://x"], 1, "is not an ops address"),
        (["status", "--url", "unix:/nowhere"], 1, "is the daemon running"),
        (["top", "--url", "http://127.0.0.1:1"], 1, "is the daemon running"),
        (["sim", "--venues", "sunflwr"], 78, '--venues: no simulator is called "sunflwr"; did you mean "sunflower"?'),
        (["sim", "--listen", "nowhere"], 78, '"nowhere" is not an address'),
        (["sim", "--script", "/nowhere.toml"], 1, "/nowhere.toml: no such file or directory"),
        (["symbols", "sunflwr"], 78, 'no venue is called "sunflwr"; did you mean "sunflower"?'),
        (["symbols", "sunflower", "--rest-url", "http://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["tail", "--token-file", "/nowhere"], 78, "--token-file: cannot read /nowhere: no such file"),
        (["replay", "/nowhere"], 1, "/nowhere"),
    ],
)
def test_a_failure_is_one_line_and_a_status(arguments, status, said, capsys):
    assert skulk(*arguments) == status
    error = capsys.readouterr().err
    assert error.startswith("skulk: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    reader = subprocess.Popen(["head", "-n1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin is not None
    with contextlib.closing(reader.stdin):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import daemon.cli, sys; sys.exit([daemon.cli.main(['config', 'default'], {}) for _ in range(20)][-1])",
            ],
            stdout=reader.stdin,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
        )
    reader.wait(5)
    assert (done.returncode, done.stderr) == (0, b"")


def test_venues_lists_the_registry(capsys):
    assert skulk("venues") == 0
    text = capsys.readouterr().out
    assert all(f"{name:<12}" in text for name in VENUES)
    assert skulk("venues", "--json") == 0
    assert {row["venue"] for row in json.loads(capsys.readouterr().out)} == VENUES.keys()


def test_version_is_the_projects(capsys):
    assert skulk("version") == 0
    assert capsys.readouterr().out.startswith(
        f"skulk {tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']} (Python 3."
    )
