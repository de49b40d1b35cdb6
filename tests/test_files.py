import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cmc import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    target = tmp_path / "new folder" / "a.csv"
    with files.whole(target) as partial:
        partial.write_text("half")
        assert not target.exists() and partial.suffix == ".csv" and partial.parent == target.parent
        partial.write_text("whole")
    assert target.read_text() == "whole"
    assert names(target.parent) == ["a.csv"]


def test_what_should_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "a.csv").touch()
    (tmp_path / "model/config.json").touch()
    (tmp_path / "link.csv").symlink_to("a.csv")
    read = ["a.csv", tmp_path / "a.csv", tmp_path / "model", "someone/model"]
    assert files.fault(tmp_path / "new/b.csv", read) is None and names(tmp_path) == [
        "a.csv",
        "link.csv",
        "model",
    ]
    for name in ("a.csv", "link.csv", "model/config.json", "model/../a.csv"):
        assert "would be written over what is read" in files.fault(tmp_path / name, read)
    assert files.fault(tmp_path / "a.csv", [tmp_path / "model"]) is None
    assert files.fault(tmp_path) == "is a folder: give the name of a file"
    assert files.fault(tmp_path / "a.csv/b.csv").endswith("a.csv is no folder")
    assert files.fault("/dev/null").startswith("is a device")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert files.fault(tmp_path / "new/b.csv").endswith(f"you may not write to {tmp_path}")


def test_a_failure_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), files.whole(target) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "old" and names(tmp_path) == ["a.csv"]


def test_what_a_killed_process_left_is_removed_and_can_spoil_nothing(tmp_path):
    target, other = tmp_path / "a [1].csv", tmp_path / "a.csv"
    with pytest.raises(FileNotFoundError), files.whole(target) as orphan, files.whole(other) as unrelated:
        orphan.write_text("of a process that lives on")
        unrelated.write_text("x")
        with files.whole(target) as partial:
            assert not orphan.exists() and unrelated.exists()
            partial.write_text("new")
        assert target.read_text() == "new"
    assert target.read_text() == "new" and names(tmp_path) == ["a [1].csv", "a.csv"]


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_block_ends(
    tmp_path, monkeypatch
):
    """As `test_a_power_cut` shows where one may mount a disk of one's own."""
    synced = []
    monkeypatch.setattr(
        files.os, "fsync", lambda opened: synced.append(os.readlink(f"/proc/self/fd/{opened}"))
    )
    target = tmp_path / "new" / "newer" / "a.csv"
    with files.whole(target) as partial:
        partial.write_text("x")
        assert synced == [str(tmp_path / "new"), str(tmp_path)]
        moved = []
        monkeypatch.setattr(Path, "replace", lambda *names: moved.append((*names, list(synced))))
    assert moved == [(partial, target, [str(tmp_path / "new"), str(tmp_path), str(partial)])]
    assert synced[-1] == str(target.parent) and len(synced) == 4


def test_a_disk_that_can_not_be_waited_for(tmp_path, monkeypatch):
    def refuse(opened):
        raise OSError(errno.EINVAL if stat.S_ISDIR(os.fstat(opened).st_mode) else number, "no")

    monkeypatch.setattr(files.os, "fsync", refuse)
    number = errno.EIO
    with pytest.raises(OSError, match="no"):
        files.write_text(tmp_path / "a", "x")
    assert names(tmp_path) == []
    files.to_disk(tmp_path)


WRITES = """
import sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from cmc import files
from cmc.corpus import quarantine
from cmc.features import store
from cmc.features.contract import Features
from cmc.prediction import export
from cmc.training import checkpoint

folder = Path(sys.argv[1]) / "results" / "mine"
for number in range(4):
    files.write_text(folder / f"{number}.json", "{}" * 1000)
    quarantine.write(pd.DataFrame([["a", "audio", "b"]], columns=quarantine.COLUMNS), folder / f"{number}.csv")
recipe = store.Recipe("fake", "1", {}, ["a", "b"], 10.0)
with store.create(folder / "features.h5") as out:
    out.modality("audio", recipe)
    out.append("audio", Features(np.ones((1000, 2), np.float32), times=np.arange(1000.0)))
    out.finish(pd.DataFrame({"clip_id": ["a"]}))
export.save(folder / "model" / "weights.safetensors", {"a": torch.ones(1000)}, {"b": torch.ones(1000)})
"""


def test_a_power_cut(tmp_path):
    """What the disk holds right after a run, of a file system that still keeps all else in memory."""
    disk, there, after = (tmp_path / name for name in ("disk", "there", "after"))
    there.mkdir(), after.mkdir()
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    mount = ["mount", "-o", "loop"]
    if os.getuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("only root may mount a file as a disk; it takes mkfs.ext4, too")
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    if subprocess.run([*mount, disk, there], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file as a disk")
    try:
        subprocess.run([sys.executable, "-c", WRITES, there], check=True)
        shutil.copyfile(disk, tmp_path / "copy")
        written = contents(there)
    finally:
        subprocess.run(["umount", there], check=True)
    subprocess.run([*mount, tmp_path / "copy", after], check=True)
    try:
        assert contents(after) == written and len(written) == 10 and all(written.values())
    finally:
        subprocess.run(["umount", after], check=True)


def contents(disk):
    return {path.name: path.read_bytes() for path in (disk / "results").rglob("*") if path.is_file()}
