"""A clip that kills its process, or never ends, costs itself alone; no other is blamed."""

import faulthandler
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from test_media import click, film, write_clip

from cmc.features import extract, guard, store
from cmc.features.contract import Features

CLIPS = ["a", "b", "c", "d"]


class Fake:
    """Gives a row for every clip but those with which it does something else."""

    name, version, settings, columns, rate, dtype = "fake", "1", {}, ["x"], 1.0, "float32"

    def __init__(self, instead):
        self.instead = instead

    def extract(self, path):
        if action := self.instead.get(path.stem):
            action()
        return Features(np.full((1, 1), ord(path.stem[0]), np.float32), times=np.zeros(1))


def forever():
    while True:
        time.sleep(0.01)


def deaf():
    """As native code that never comes back to Python is."""
    for one in guard.TO_END:
        signal.signal(one, signal.SIG_IGN)
    forever()


def kill(number):
    return lambda: os.kill(os.getpid(), number)


def files_of(folder, clips=CLIPS, size=10):
    for clip in clips:
        (folder / f"{clip}.mp4").write_bytes(bytes(size))
    return {clip: str(folder / f"{clip}.mp4") for clip in clips}


def guarded(folder, instead, clips=CLIPS, limit=60.0):
    """The table of clips of a shard, and the reasons of those refused."""
    sources = files_of(folder, clips)
    out = folder / "shard.h5"

    def work(turn):
        paths = [folder / f"{clip}.mp4" for clip in clips]
        extract.shard("audio", Fake(instead), clips, paths, out, folder / "costs.csv", turn)

    guard.run(work, sources, limit)
    with store.Reader(out) as reader:
        refused = reader.table("quarantine")
        assert list(reader.rows("audio", 0, 9).values[:, 0]) == [
            ord(c) for c in reader.table("clips")["clip_id"]
        ]
        return list(reader.table("clips")["clip_id"]), dict(
            zip(refused["clip_id"], refused["reason"], strict=True)
        )


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    faulthandler.disable()  # it would fill the screen
    monkeypatch.setattr(guard, "ROUND", 0.05)
    monkeypatch.setattr(guard, "GRACE", 1.0)
    yield
    faulthandler.enable()


def test_nothing_dies(tmp_path):
    assert guarded(tmp_path, {}) == (CLIPS, {})
    assert list(pd.read_csv(tmp_path / "costs.csv")["clip_id"]) == CLIPS


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (os.abort, "(SIGABRT): re-encode the file"),
        (kill(signal.SIGILL), "(SIGILL): re-encode the file"),
        (kill(signal.SIGKILL), "(SIGKILL): re-encode the file, or give the job more memory"),
    ],
)
def test_a_clip_that_kills_its_process(tmp_path, action, reason):
    clips, refused = guarded(tmp_path, {"b": action, "d": action})
    assert clips == ["a", "c"]
    assert refused == dict.fromkeys("bd", f"the extractor died on it {reason}")
    assert list(pd.read_csv(tmp_path / "costs.csv")["clip_id"]) == CLIPS
    assert not list(tmp_path.glob(".*"))


def test_a_clip_is_not_blamed_for_one_death(tmp_path):
    """Whoever kills the process that needs the most memory knows nothing of clips."""

    def once():
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert guarded(tmp_path, {"c": once}) == (CLIPS, {})
    assert (tmp_path / "killed").exists()


@pytest.mark.parametrize("endless", [forever, deaf])
def test_a_clip_without_end(tmp_path, endless):
    clips, refused = guarded(tmp_path, {"a": endless}, limit=0.3)
    assert clips == ["b", "c", "d"]
    assert "longer than 0.3 s" in refused["a"] and "quarantine.time_limit" in refused["a"]


def test_a_long_clip_may_take_longer(tmp_path):
    """By its header, as far as its bytes bear that out; a part of a recording by its own length."""
    real = str(write_clip(tmp_path / "real.mp4", film(), click(0.5)))
    assert guard._seconds(real) == pytest.approx(2, abs=0.1)
    (tmp_path / "no video.mp4").write_bytes(bytes(3000))
    assert guard._seconds(str(tmp_path / "no video.mp4")) == 3.0
    assert guard._seconds((real, 0.5, 1.5)) == 1.0
    assert guard._seconds((real, 0.0, 1e9)) == os.path.getsize(real) / 1000
    assert guard._seconds((real, 0.0, float("inf"))) == pytest.approx(2, abs=0.1)


def test_what_is_long_has_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_seconds", {"a": 2.0, "b": 1.0}.__getitem__)

    def work(turn):
        for clip in "ab":
            if clip not in turn.refused:
                turn.begin(clip)
                time.sleep(1.2)
        (tmp_path / "refused").write_text("".join(turn.refused))

    guard.run(work, {"a": "a", "b": "b"}, limit=0.8)
    assert (tmp_path / "refused").read_text() == "b"
    guard.run(work, {"a": "a", "b": "b"}, limit=0.8, shortest=2.0)
    assert (tmp_path / "refused").read_text() == ""


def test_a_header_that_kills_what_reads_it(tmp_path, monkeypatch):
    from cmc.features import media

    path = files_of(tmp_path, ["a"], size=5000)["a"]
    monkeypatch.setattr(media, "duration", lambda path: os.abort())
    assert guard._seconds(path) == 5.0
    monkeypatch.setattr(media, "duration", lambda path: forever())
    monkeypatch.setattr(guard, "PROBE", 0.2)
    assert guard._seconds(path) == 5.0


def test_an_extractor_that_dies_on_all_is_to_blame_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST", 2)
    with pytest.raises(guard.GuardError, match=r"(?s)more than 2 clips.*installation.*\na: .*SIGABRT"):
        guarded(tmp_path, dict.fromkeys(CLIPS, os.abort))


def test_a_death_before_the_first_clip(tmp_path):
    with pytest.raises(guard.GuardError, match="ended by SIGABRT"):
        guard.run(lambda turn: os.abort(), {}, 60.0)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGXCPU, signal.SIGHUP])
def test_a_signal_from_outside_blames_no_clip(tmp_path, number):
    before = signal.signal(number, signal.SIG_DFL)  # tests that run under nohup ignore SIGHUP
    try:
        with pytest.raises(guard.GuardError, match=signal.Signals(number).name):
            guarded(tmp_path, {"b": kill(number)})
    finally:
        signal.signal(number, before)


def test_failures_are_told_by_the_child_and_blame_no_clip(tmp_path, monkeypatch, capfd):
    def work(turn):
        turn.begin("a")
        raise OSError("disk full")

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(SystemExit) as ended:
        guard.run(work, files_of(tmp_path, ["a"]), 60.0)
    assert ended.value.code == 1 and capfd.readouterr().err.count("OSError: disk full") == 1


RUN = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_guard
from cmc.features import guard
folder = Path(sys.argv[1])


def read():
    (folder / "b is read").touch()
    while not (folder / "go on").exists():
        time.sleep(0.01)


test_guard.guarded(folder, {"b": read})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("to_all", [True, False])
def test_being_ended_blames_no_clip(tmp_path, number, to_all):
    line = [sys.executable, "-c", RUN, str(tmp_path), *sys.path]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "b is read").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(timeout=20) != 0
    orphan = number == signal.SIGKILL and not to_all  # ends when it wants to tell its next clip
    if orphan:
        (tmp_path / "go on").touch()
    said = process.communicate(timeout=20)[1]  # which ends with the last process that writes
    assert "died" not in said and "race condition" not in said
    assert not (tmp_path / "shard.h5").exists()
    assert (number == signal.SIGKILL and to_all) or not list(tmp_path.glob(".shard.*"))
    assert guarded(tmp_path, {}) == (CLIPS, {})
