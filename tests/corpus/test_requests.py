"""What a command line, a folder or a table means by clips."""

import math
from pathlib import Path

import pytest

from cmc.corpus.requests import Request, RequestError, files_of, gather


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_and_folders(tmp_path):
    touch(tmp_path, "b/2.mov", "b/1.mp4", "a.MKV", "notes.doc", ".hidden.mp4")
    (tmp_path / "b/1.txt").write_text("What is\nsaid. ")
    found = gather([tmp_path, "nosuch.mp4"])
    assert [one.clip for one in found] == ["a.MKV", str(Path("b/1.mp4")), str(Path("b/2.mov")), "nosuch.mp4"]
    assert [one.text for one in found] == [None, "What is said.", None, None]
    assert gather([tmp_path / "b/1.mp4"], "Other words.")[0].text == "Other words."


def test_tables(tmp_path):
    touch(tmp_path, "Raw/v/1.mp4", "talk.mp4")
    (tmp_path / "own.csv").write_text('path,text,start,end\ntalk.mp4,"One, two.",0,2.5\ntalk.mp4,,2.5,\n')
    assert gather([tmp_path / "own.csv"]) == [
        Request("talk.mp4", str(tmp_path / "talk.mp4"), "One, two.", 0.0, 2.5),
        Request("talk.mp4", str(tmp_path / "talk.mp4"), None, 2.5, math.inf),
    ]
    (tmp_path / "label.csv").write_text("video_id,clip_id,text,label\nv,1,Hello.,0.2\n")
    assert gather([tmp_path]) == [Request("v$_$1", str(tmp_path / "Raw/v/1.mp4"), "Hello.")]


def test_all_that_is_read(tmp_path):
    touch(tmp_path, "Raw/v/1.mp4", "new/a.mp4", "own.csv")
    (tmp_path / "label.csv").write_text("video_id,clip_id\nv,1\n")
    given = [tmp_path, tmp_path / "new"]
    found = {str(path.relative_to(tmp_path)) for path in files_of(given, gather(given))}
    assert found == {"label.csv", "Raw/v/1.mp4", "Raw/v/1.txt", "new/a.mp4", "new/a.txt"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "has no rows"),
        ("text\nhello\n", "line 2: no path, nor video_id and clip_id"),
        ("path;text\na.mp4;Hello.\n", "t.csv has semicolons between its columns; expected commas"),
        ("path,start\na.mp4,soon\n", "line 2: start and end are seconds"),
        ("path,start,end\na.mp4,3,2\n", "line 2: from 3 to 2 s is no piece"),
    ],
)
def test_tables_that_are_none(tmp_path, content, told):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(RequestError, match=told):
        gather([tmp_path / "t.csv"])


def test_what_can_not_be_meant(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    for given, text, told in (
        ([], None, "no clip is given"),
        ([tmp_path], "Hello.", "a text is given for 2 clips"),
        ([tmp_path / "nosuch.csv"], None, "can't be read as a table"),
    ):
        with pytest.raises(RequestError, match=told):
            gather(given, text)
