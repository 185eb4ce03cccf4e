"""Without these tests a machine without a peer could fail to measure anything, or leave the peer out in silence."""

import subprocess

import pytest

from benchmarks import peer
from benchmarks.bench import Bench
from benchmarks.peer import PEERS, Peer, prepare


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "FOLDER", tmp_path)
    return tmp_path


def test_without_node_its_peers_are_left_out_by_name(folder, monkeypatch):
    monkeypatch.setattr("benchmarks.peer.shutil.which", lambda _name: None)
    (folder / "tardis").mkdir()
    (folder / "tardis" / ".made").write_text(" ".join(PEERS["tardis"].packages))
    assert prepare(["tardis"]) == ({}, ["tardis skipped: node and npm are not installed"])


def test_what_cannot_be_installed_is_left_out_with_the_reason_and_tried_again(folder, monkeypatch):
    tried = []

    def run(step, **_options):
        tried.append(step)
        return subprocess.CompletedProcess(step, int("install" in step), "", "lots\nERROR: no matching distribution\n")

    monkeypatch.setattr("benchmarks.peer.subprocess.run", run)
    monkeypatch.setitem(PEERS, "nobody", Peer("nobody", "python", ("nobody==1",)))
    for _ in range(2):
        assert prepare(["nobody"]) == ({}, ["nobody skipped: ERROR: no matching distribution"])
    assert len(tried) == 4
    assert not (folder / "nobody" / ".made").exists()


@pytest.mark.usefixtures("folder")
def test_an_environment_is_made_once_for_the_same_packages(monkeypatch):
    tried = []

    def run(step, **_options):
        tried.append(step)
        return subprocess.CompletedProcess(step, 0, "", "")

    monkeypatch.setattr("benchmarks.peer.subprocess.run", run)
    for packages in (("a==1",), ("a==1",), ("a==2",)):
        monkeypatch.setitem(PEERS, "somebody", Peer("somebody", "python", packages))
        ready, skipped = prepare(["somebody"])
        assert list(ready) == ["somebody"]
        assert not skipped
    assert len(tried) == 4  # twice an environment and its packages


def test_a_peer_that_is_left_out_is_said_once(folder, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.peer.shutil.which", lambda _name: None)
    bench = Bench(quick=True)
    assert bench.peer("tardis") is None
    assert bench.peer("tardis") is None
    assert bench.skipped == ["tardis skipped: node and npm are not installed"]
    assert capsys.readouterr().out.count("tardis skipped") == 1
    assert not (folder / "tardis").exists()
