"""
skulk on a real service manager: a small Debian, booted in a container, installed on, broken and upgraded.

    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,python3-venv,procps,curl bookworm ROOT
    sudo python -m tests.machine ROOT [--wheelhouse DIR]

Needs root and systemd-nspawn. Every step says what it saw; the first that is not as it should be ends the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SHIPPED = ("book", "daemon", "deploy", "feeds", "sinks", "pyproject.toml", "README.md", "LICENSE")
LOCK = "requirements-runtime.lock"
CONFIG = """
[daemon]
ready_after_seconds = 20.0
[ops]
listen = "127.0.0.1:7411"
[[sinks]]
type = "websocket"
listen = "127.0.0.1:7410"
{token}
[[sinks]]
type = "file"
directory = "/var/lib/skulk/data"
[[feeds]]
venue = "sunflower"
symbols = {symbols}
ws_url = "ws://127.0.0.1:7420/api/2/ws/public"
rest_url = "http://127.0.0.1:7420/api/2"
"""


class Machine:
    """A booted container."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self.leader = leader

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside; return what it printed."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", "env", "-i"]
        environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        done = subprocess.run([*inside, *environment, *command], capture_output=True, text=True, check=False)
        text = done.stdout + done.stderr
        if check and done.returncode:
            raise SystemExit(f"FAILED ({done.returncode}): {' '.join(command)}\n{text}")
        return text

    def show(self, *properties: str) -> dict[str, str]:
        """Return properties of the service."""
        text = self.run("systemctl", "show", "skulk", *(f"-p{name}" for name in properties))
        return dict(line.split("=", 1) for line in text.splitlines())

    def pid(self) -> str:
        """Return the main process."""
        return self.show("MainPID")["MainPID"]

    def configure(self, symbols: list[str], *, credentials: bool = False) -> None:
        """Write the configuration."""
        token = 'auth_token_file = "/run/credentials/skulk.service/token"' if credentials else ""
        text = CONFIG.format(symbols=json.dumps(symbols), token=token)
        text += 'api_key_credential = "key"\napi_secret_credential = "secret"\n' if credentials else ""
        (self.root / "etc/skulk/skulk.toml").write_text(text)

    def log(self, event: str) -> list[dict[str, object]]:
        """Return the lines of one event in the journal."""
        text = self.run("journalctl", "-u", "skulk", "-o", "cat", "--no-pager")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def get(self, path: str) -> str:
        """Ask the ops address."""
        return self.run("curl", "-s", f"http://127.0.0.1:7411{path}", check=False)


def until(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def see(what: str, truth: object, detail: object = "") -> None:
    """Say what was seen, or end."""
    if not truth:
        raise SystemExit(f"FAILED: {what} {detail}")
    print(f"ok    {what} {detail}".rstrip(), flush=True)


@contextlib.contextmanager
def booted(root: Path, *, alone: bool) -> Iterator[Machine]:
    """Boot the container, `alone` without a network but its own; power it off in the end."""
    command = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "-b"]
    command += ["--private-network"] if alone else []
    with (root.parent / f"{root.name}.console").open("wb") as console:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
        leader = 0
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until("the container", lambda: bool(children.read_text().strip()))
            leader = int(children.read_text().split()[0])
            machine = Machine(root, leader)
            up = {"running", "degraded"}  # degraded: what an earlier run left enabled
            until("the boot", lambda: machine.run("systemctl", "is-system-running", check=False).strip() in up, 60)
            yield machine
            machine.run("systemctl", "poweroff", check=False)
            process.wait(60)
        finally:
            if process.poll() is None and leader:
                os.kill(leader, signal.SIGKILL)  # and with it everything inside
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def ship(root: Path, version: str | None = None) -> None:
    """Copy the source tree into the container, perhaps as another version."""
    target = root / "src"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    shutil.copy(PROJECT / LOCK, target)
    for name in SHIPPED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    if version is not None:
        project = target / "pyproject.toml"
        project.write_text(project.read_text().replace('version = "0.1.0"', f'version = "{version}"'))


def install(machine: Machine, *more: str) -> str:
    """Run the installer."""
    return machine.run("/src/deploy/install.sh", *more)


def start_venues(machine: Machine) -> None:
    """Simulated venues as a service of their own."""
    program = "/opt/skulk/current/bin/skulk"
    machine.run(
        "systemd-run", "-q", "--unit=venues", program, "sim", "--venues", "sunflower", "--listen", "127.0.0.1:7420"
    )
    until(
        "the venues", lambda: "ETHBTC" in machine.run("curl", "-s", "127.0.0.1:7420/api/2/public/symbol", check=False)
    )


def check(machine: Machine, wheelhouse: list[str]) -> None:  # noqa: PLR0915 (one story, told in order)
    """Everything an operator would do."""
    root = machine.root
    machine.run("/src/deploy/uninstall.sh", "--purge")
    said = install(machine, "--no-start", *wheelhouse)
    see("installed without starting", "as release 1" in said and machine.pid() == "0")
    start_venues(machine)
    machine.configure(["ETH-BTC", "BTC-USD"])
    began = time.monotonic()
    machine.run("systemctl", "enable", "--now", "--quiet", "skulk")
    state = machine.show("ActiveState", "StatusText", "User", "DynamicUser")
    see(
        "start returns when every book is live",
        "2/2 books live" in state["StatusText"],
        f"{time.monotonic() - began:.1f} s",
    )
    see("it runs as nobody in particular", machine.run("ps", "-o", "user=", "-p", machine.pid()).strip() != "root")
    see("ready over HTTP", machine.get("/readyz") == "ok\n")
    see("the live page is there", "<title>skulk</title>" in machine.get("/"))
    metrics = machine.get("/metrics")
    see("process metrics are there under the hardening", "process_resident_memory_bytes" in metrics)
    see("data is written to the state directory", bool(list((root / "var/lib/private/skulk/data").glob("*"))))
    score = machine.run("systemd-analyze", "security", "skulk", "--no-pager").strip().splitlines()[-1]
    see("exposure", float(score.split(": ")[1].split()[0]) <= 1.5, score.split(": ")[1][:6])

    # Reload
    pid = machine.pid()
    epoch = json.loads(machine.get("/status"))["epoch"]
    machine.configure(["ETH-BTC", "LTC-USD"])
    machine.run("systemctl", "reload", "skulk")
    until("the new symbol", lambda: '"sunflower:LTC-USD:book"' in machine.get("/status"))
    status = json.loads(machine.get("/status"))
    streams = {book["stream"] for book in status["books"]}
    see("reload changes the symbols", streams == {"sunflower:ETH-BTC:book", "sunflower:LTC-USD:book"})
    see("in the same process and epoch", machine.pid() == pid and status["epoch"] == epoch)
    (root / "etc/skulk/skulk.toml").write_text("[[feeds]]\nvenue = 'sunflwr'\n")
    said = machine.run("systemctl", "reload", "skulk", check=False)
    see("a bad file fails the reload", "failed" in said.lower(), said.strip().splitlines()[0])
    machine.run("kill", "-HUP", pid)
    until("the rejection", lambda: bool(machine.log("config.rejected")))
    see("and the daemon rejects it too and goes on", machine.pid() == pid and machine.get("/readyz") == "ok\n")

    # A bad file at start: 78, and not again
    machine.run("systemctl", "stop", "skulk")
    until("the last line", lambda: [line["reason"] for line in machine.log("daemon.stopped")][-1:] == ["SIGTERM"])
    see("stopped in order, and the log says so", machine.pid() == "0")
    machine.run("systemctl", "start", "skulk", check=False)
    until("the failure", lambda: machine.show("ActiveState")["ActiveState"] == "failed")
    time.sleep(3)
    state = machine.show("ExecMainStatus", "NRestarts", "ActiveState")
    see("a bad configuration ends with 78", state["ExecMainStatus"] == "78")
    see("and stays down", state["NRestarts"] == "0" and state["ActiveState"] == "failed")

    # Credentials
    names = ("key", "secret", "token")
    for name in names:
        (root / "etc/skulk/credentials" / name).write_text(f"not-so-secret-{name}\n")
        (root / "etc/skulk/credentials" / name).chmod(0o600)
    drop_in = root / "etc/systemd/system/skulk.service.d"
    drop_in.mkdir()
    lines = [f"LoadCredential={name}:/etc/skulk/credentials/{name}" for name in names]
    (drop_in / "test.conf").write_text("[Service]\nWatchdogSec=3\n" + "\n".join(lines) + "\n")
    machine.run("systemctl", "daemon-reload")
    machine.configure(["ETH-BTC"], credentials=True)
    machine.run("systemctl", "start", "skulk")
    see("credentials of the service manager are read", machine.show("ActiveState")["ActiveState"] == "active")
    see(
        "and not shown",
        "not-so-secret" not in machine.run("journalctl", "-u", "skulk", "--no-pager") + machine.get("/status"),
    )
    machine.configure(["ETH-BTC"])

    # Death
    pid = machine.pid()
    machine.run("kill", "-KILL", pid)
    until("another process", lambda: machine.pid() not in {pid, "0"})
    until("readiness", lambda: machine.get("/readyz") == "ok\n")
    see("killed: restarted and ready again", machine.show("NRestarts")["NRestarts"] == "1")
    pid = machine.pid()
    machine.run("kill", "-STOP", pid)
    until("the watchdog", lambda: machine.pid() not in {pid, "0"}, 30)
    until("readiness", lambda: machine.get("/readyz") == "ok\n")
    see(
        "stalled: the watchdog restarts it",
        "watchdog" in machine.run("journalctl", "-u", "skulk", "--no-pager").lower(),
    )

    # Upgrade, rollback, uninstall
    state_before = sorted(path.name for path in (root / "var/lib/private/skulk").iterdir())
    config_before = (root / "etc/skulk/skulk.toml").read_text()
    ship(root, "0.1.1")
    said = install(machine, *wheelhouse)
    see("upgraded", "skulk 0.1.1" in said and "as release 2" in said)
    see("the running one is the new one", json.loads(machine.get("/status"))["version"] == "0.1.1")
    see("configuration untouched", (root / "etc/skulk/skulk.toml").read_text() == config_before)
    kept = {path.name for path in (root / "var/lib/private/skulk").iterdir()}
    see("state kept", set(state_before) - {"positions.json"} <= kept, sorted(kept))
    (root / "src/daemon/cli.py").write_text("raise SystemExit(1)\n")
    said = machine.run("/src/deploy/install.sh", *wheelhouse, check=False)
    see("a release that does not run changes nothing", "nothing was changed" in said)
    see("and the one in use stays", "skulk 0.1.1" in machine.run("/opt/skulk/current/bin/skulk", "version"))
    said = install(machine, "--rollback")
    see("rolled back", "skulk 0.1.0" in said and json.loads(machine.get("/status"))["version"] == "0.1.0")
    said = machine.run("/src/deploy/uninstall.sh")
    see("uninstalled", not (root / "opt/skulk").exists() and (root / "etc/skulk/skulk.toml").exists())
    machine.run("/src/deploy/uninstall.sh", "--purge")
    left = [name for name in ("etc/skulk", "var/lib/skulk", "var/lib/private/skulk") if (root / name).exists()]
    see("purged", not left, left)


def main() -> None:
    """Boot, check, power off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of a Debian made by debootstrap")
    parser.add_argument("--wheelhouse", type=Path, help="folder of wheels, for a machine without a network")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        sys.exit("needs root and systemd-nspawn (Debian, Ubuntu: apt install systemd-container)")
    root = arguments.root.resolve()
    ship(root)
    wheelhouse: list[str] = []
    if arguments.wheelhouse is not None:
        shutil.rmtree(root / "wheelhouse", ignore_errors=True)
        shutil.copytree(arguments.wheelhouse, root / "wheelhouse")
        wheelhouse = ["--wheelhouse", "/wheelhouse"]
    with booted(root, alone=bool(wheelhouse)) as machine:
        check(machine, wheelhouse)
    print("all of it was seen")


if __name__ == "__main__":
    main()
