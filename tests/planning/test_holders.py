"""Runs that are at work in a folder know of each other."""

import json
import os
import platform
import subprocess
import sys

import pytest

from cmc.planning import holders
from cmc.planning.config import PlanError

OTHER = """
import sys
from cmc.planning import holders
holders.begin("snakemake other", sys.argv[1].split(), sys.argv[2].split())
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    holders.end()


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / ".snakemake/locks/0.input.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def start(read, written):
    """Another run that lives until its input ends."""
    line = [sys.executable, "-c", OTHER, read, written]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def stop(process, how="close"):
    process.kill() if how == "kill" else process.stdin.close()
    process.wait()


@pytest.mark.parametrize("ended", ["kill", "close"])
@pytest.mark.parametrize(
    ("read", "written", "file"), [("a", "b", "b"), ("x", "a", "a"), ("c", "y", "c"), ("x", "y", None)]
)
def test_two_runs_never_work_on_the_same_files(read, written, file, ended):
    """Both may read the same ones. Of a run that was killed nothing is left to clear away."""
    other = start(read="a x", written="b c")
    try:
        if file:
            with pytest.raises(PlanError) as refused:
                holders.begin("snakemake mine", read.split(), written.split())
            told = str(refused.value)
            assert f"process {other.pid} on {platform.node()}" in told and "(snakemake other)" in told
            assert f"at work on {file}, which" in told and "Wait for it to end" in told
        else:
            holders.begin("snakemake mine", read.split(), written.split())
            holders.end()
    finally:
        stop(other, ended)
    holders.begin("snakemake mine", read.split(), written.split())
    assert [run["command"] for _, run in holders._runs()] == ["snakemake mine"]


def test_many_files_are_counted(folder):
    other = start("", "a b c")
    try:
        with pytest.raises(PlanError, match="a and 2 more files"):
            holders.begin("snakemake", [], ["a", "b", "c", "d"])
    finally:
        stop(other)


def test_the_end_of_a_run_leaves_the_others(folder):
    other = start("", "a")
    try:
        holders.begin("snakemake", [], ["b"])
        holders.end()
        with pytest.raises(PlanError):
            holders.begin("snakemake", [], ["a"])
    finally:
        stop(other)


def test_whose_a_lock_is(lock):
    assert "is planning its jobs, or was killed" in holders.told([lock])
    other = start("", "a")
    assert f"process {other.pid} on {platform.node()}" in holders.told([lock])
    assert "Wait for it to end" in holders.told([lock])
    holders.begin("snakemake mine", [], ["b"])
    assert f"process {os.getpid()} on" in holders.told([lock]) and str(other.pid) in holders.told([lock])
    holders.end()
    stop(other, "kill")
    assert str(other.pid) in holders.told([lock]) and "snakemake --unlock" in holders.told([lock])
    os.utime(lock, (2**40, 2**40))  # the lock of a later run
    assert "is planning its jobs, or was killed" in holders.told([lock])


def test_where_files_can_not_be_locked(folder, monkeypatch):
    """A run counts as at work as long as its process is there; nothing is known of other machines."""

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(holders.fcntl, "flock", refuse)
    gone = {
        "process": 2**30,
        "machine": platform.node(),
        "since": "",
        "command": "",
        "read": [],
        "written": ["a"],
    }
    holders.RUNS.mkdir(parents=True)
    theirs = holders.RUNS / "gone.json"
    for run in (gone | {"process": os.getpid()}, gone | {"machine": "elsewhere"}):
        theirs.write_text(json.dumps(run))
        with pytest.raises(PlanError, match=r"If it is long gone, delete .*gone\.json"):
            holders.begin("snakemake", [], ["a"])
    theirs.write_text(json.dumps(gone))
    holders.begin("snakemake", [], ["a"])
    assert not theirs.exists()
