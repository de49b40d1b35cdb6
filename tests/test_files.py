import hashlib

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
