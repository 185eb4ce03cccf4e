"""What is deployed: the unit, the scripts, the rules and the dashboard hold together, and hold to the program."""

import asyncio
import configparser
import json
import re
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.config import load
from daemon.metric import METRICS, PROCESS
from daemon.rules import check_runnable
from feeds.simulator import SimulatorServer
from tests.daemon.running import feed_of, running

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "skulk.service"
PAGES = ROOT / "docs" / "runbook"
SERVED = {metric.served_name for metric in METRICS.values()} | set(PROCESS)
EXPOSURE_MAX = 1.5


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"no {tool} here")


def run(*command, **more):
    """Run a tool; its output when it fails is what the test says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# Configuration


def test_the_first_configuration_runs():
    config = load(DEPLOY / "skulk.toml")
    check_runnable(config)
    assert config.ops is not None


# The unit


@pytest.fixture
def unit():
    """The unit's sections, each as lists of values by key."""
    parser = configparser.RawConfigParser(strict=False, dict_type=Multiple, comment_prefixes="#", delimiters="=")
    parser.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]
    parser.read_string(UNIT.read_text())
    return {name: dict(parser.items(name)) for name in parser.sections()}


class Multiple(dict[str, Any]):
    """Keeps every value of a key that is there several times."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def test_the_unit_tells_systemd_what_the_daemon_does(unit):
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == "78"
    assert service["Restart"] == "on-failure"
    assert int(service["WatchdogSec"]) >= 10
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    reload = service["ExecReload"].split("\n")
    assert [line.split()[0] for line in reload] == ["/opt/skulk/current/bin/skulk", "/bin/kill"]
    assert "ExecStartPre" not in service, "there systemd would retry a bad configuration for ever"
    assert "ProcSubset" not in service, "it hides every process_* metric"


def test_the_start_has_more_time_than_readiness_takes_and_the_stop_than_stopping(unit):
    daemon = load(DEPLOY / "skulk.toml").daemon
    assert int(unit["Service"]["TimeoutStartSec"]) > daemon.ready_after_seconds + 30
    assert int(unit["Service"]["TimeoutStopSec"]) > daemon.stop_timeout_seconds + 5


@pytest.fixture
def runnable_unit(tmp_path):
    """The unit with a program that is there."""
    path = tmp_path / "skulk.service"
    path.write_text(UNIT.read_text().replace("/opt/skulk/current/bin/skulk", "/bin/true"))
    return path


@needs("systemd-analyze")
def test_systemd_finds_nothing_to_say_about_the_unit(runnable_unit):
    assert run("systemd-analyze", "verify", "--man=no", str(runnable_unit)) == ""


@needs("systemd-analyze")
def test_the_unit_exposes_little(runnable_unit):
    text = run("systemd-analyze", "security", "--offline=yes", "--no-pager", str(runnable_unit))
    (score,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", text)
    assert float(score) <= EXPOSURE_MAX


# The scripts


@pytest.mark.parametrize("name", ["install.sh", "uninstall.sh"])
def test_scripts_are_sound(name):
    script = DEPLOY / name
    assert script.stat().st_mode & 0o111
    run("sh", "-n", str(script))
    if shutil.which("shellcheck"):
        run("shellcheck", str(script))


def test_the_installer_places_what_the_unit_and_the_uninstaller_expect():
    install, uninstall = (DEPLOY / "install.sh").read_text(), (DEPLOY / "uninstall.sh").read_text()
    (prefix,) = re.findall(r"^PREFIX=(\S+)$", install, re.MULTILINE)
    (etc,) = re.findall(r"^ETC=(\S+)$", install, re.MULTILINE)
    assert f"ExecStart={prefix}/current/bin/skulk run" in UNIT.read_text()
    assert f"SKULK_CONFIG={etc}/skulk.toml" in UNIT.read_text()
    assert f"rm -rf {prefix}\n" in uninstall
    for part in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]:
        assert f" {part}" in install


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--nonsense"], "usage: install.sh"), (["--wheelhouse"], "--wheelhouse needs a folder")]
)
def test_the_installer_says_what_is_wrong_and_touches_nothing(arguments, said):
    done = subprocess.run([DEPLOY / "install.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr


# Alerts


ALERTS = re.findall(r"- alert: (\w+)", (DEPLOY / "alerts.yml").read_text())
EXPRESSIONS = re.findall(r"expr: (?:\|\n((?:          .*\n)+)|(.*)\n)", (DEPLOY / "alerts.yml").read_text())


@needs("promtool")
def test_alerts_fire_when_they_should_and_not_otherwise():
    run("promtool", "check", "rules", str(DEPLOY / "alerts.yml"))
    run("promtool", "test", "rules", str(DEPLOY / "alerts.test.yml"))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_and_has_its_page(alert):
    assert f'alertname="{alert}"' in (DEPLOY / "alerts.test.yml").read_text()
    assert f"runbook: docs/runbook/{alert}.md" in (DEPLOY / "alerts.yml").read_text()
    page = (PAGES / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert "## Look" in page
    assert f"({alert}.md)" in (PAGES / "README.md").read_text()


def test_every_page_has_its_alert():
    assert {path.stem for path in PAGES.glob("*.md")} == {*ALERTS, "README"}


def metric_names(expression):
    """Return what an expression asks for, without functions and label names."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}', "", re.sub(r"\b(by|on|without) \([^)]*\)", "", expression))
    return {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in SERVED else name
        for name in re.findall(r"\b(?:skulk|process)_[a-z_]+\b", bare)
    }


def test_alerts_ask_only_for_what_is_served():
    assert EXPRESSIONS
    for expression in EXPRESSIONS:
        assert metric_names("".join(expression)) - SERVED == set()


def test_runbook_pages_ask_only_for_what_is_served():
    for path in PAGES.glob("*.md"):
        for name in re.findall(r"`(skulk_[a-z_]+)`", path.read_text()):
            assert any(served.startswith(name) for served in SERVED), f"{path.name}: {name}"


# The dashboard


DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text())
TARGETS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def plain(expression):
    """Return the expression as Prometheus would get it."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$venue", ".*")


def test_the_dashboard_asks_only_for_what_is_served():
    for title, expression in TARGETS:
        names = metric_names(expression)
        assert names, title
        assert names - SERVED == set(), title


def test_panels_are_distinct_and_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@needs("promtool")
def test_every_expression_of_the_dashboard_is_one(tmp_path):
    rules = [{"record": f"panel:{index}", "expr": plain(expression)} for index, (_, expression) in enumerate(TARGETS)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run("promtool", "check", "rules", str(path))


# A real Prometheus


@needs("prometheus")
@needs("promtool")
async def test_prometheus_scrapes_a_running_daemon_and_answers_the_dashboard(tmp_path):
    async with SimulatorServer(seed=5) as simulator:
        table = {
            "feeds": [feed_of(simulator, "sunflower", "ETH-BTC", "BTC-USD")],
            "sinks": [{"type": "websocket", "listen": "127.0.0.1:0"}],
            "ops": {"listen": "127.0.0.1:0"},
        }
        async with running(table) as daemon:
            await daemon.ready()
            async with aiohttp.ClientSession() as http, http.get(f"{daemon.url}/metrics") as answer:
                exposition = await answer.text()
            assert run("promtool", "check", "metrics", input=exposition) == ""
            async with prometheus(tmp_path, daemon.url.removeprefix("http://")) as ask:
                async with asyncio.timeout(20):
                    while (await ask('up{job="skulk"}')) != ["1"] or (await ask("skulk_books_live")) != ["2"]:
                        await asyncio.sleep(0.1)
                assert await ask("skulk_books_live == skulk_books_configured") == ["2"]
                for title, expression in TARGETS:
                    await ask(plain(expression), title)


class prometheus:  # noqa: N801 (used like a function)
    """A Prometheus that scrapes one target every second."""

    def __init__(self, folder, target):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        scrape = {"job_name": "skulk", "static_configs": [{"targets": [target]}]}
        config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(config))

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address={self.address}",
            "--log.level=error",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.http = aiohttp.ClientSession()
        async with asyncio.timeout(20):
            while True:
                try:
                    async with self.http.get(f"http://{self.address}/-/ready") as answer:
                        if answer.status == 200:
                            return self.ask
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)

    async def ask(self, query, what=""):
        """Return the values that a query has now."""
        async with self.http.get(f"http://{self.address}/api/v1/query", params={"query": query}) as answer:
            result = await answer.json()
        assert result["status"] == "success", f"{what}: {result}"
        return [row["value"][1] for row in result["data"]["result"]]

    async def __aexit__(self, *_):
        await self.http.close()
        self.process.kill()
        await self.process.wait()
