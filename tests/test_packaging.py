"""Without these tests a release could ship the wrong files, or an install could differ from what was tested."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"book", "daemon", "feeds", "sinks"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ["requirements.lock", "requirements-runtime.lock"]


def lock_entries(name: str) -> dict[str, str]:
    """Return the requirement lines of a lock file, each with all its continuation lines, by distribution."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    entries = text.replace("\\\n", " ").splitlines()
    return {re.split(r"==", entry, maxsplit=1)[0]: entry for entry in entries}


def test_no_other_distribution_owns_our_names():
    """`python-daemon`, for one, also ships a package called `daemon`."""
    owners = importlib.metadata.packages_distributions()
    assert {name: owners.get(name, ["skulk"]) for name in PACKAGES} == {name: ["skulk"] for name in PACKAGES}


def test_installed_version_is_the_projects():
    assert importlib.metadata.version("skulk") == PROJECT["version"]


def test_wheel_contains_just_the_four_packages(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name) for name in archive.namelist()]
    dist_info = f"skulk-{PROJECT['version']}.dist-info"
    assert {name.parts[0] for name in names} == PACKAGES | {dist_info}
    assert {"METADATA", "WHEEL", "RECORD", "entry_points.txt"} <= {n.name for n in names if n.parts[0] == dist_info}
    shipped = {name for name in names if name.parts[0] in PACKAGES and name.suffix == ".py"}
    assert shipped == {path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_and_hashes_everything_and_names_no_place(lock):
    for name, entry in lock_entries(lock).items():
        assert re.match(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [^-]+)? +--hash=sha256:[0-9a-f]{64}", entry), name
    assert "://" not in (ROOT / lock).read_text()
    assert "index-url" not in (ROOT / lock).read_text()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_every_direct_dependency(lock):
    direct = {re.split(r"[^a-z0-9-]", dependency, maxsplit=1)[0] for dependency in PROJECT["dependencies"]}
    assert direct | {"editables", "hatchling"} <= lock_entries(lock).keys()


def test_both_locks_agree():
    """The runtime lock is the part of the full one that a deployment needs."""
    versions = [{n: e.split("==")[1].split()[0] for n, e in lock_entries(lock).items()} for lock in LOCKS]
    assert versions[1].items() <= versions[0].items()


def test_every_direct_dependency_is_imported():
    """Nothing is installed on a user's machine that the program does not use."""
    names = [re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0].replace("-", "_") for line in PROJECT["dependencies"]]
    code = "\n".join(path.read_text("utf-8") for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))
    unused = [name for name in names if not re.search(rf"^\s*(import|from) {name}\b", code, re.MULTILINE)]
    assert unused == []
