"""The label file that `cmc init` writes."""

import csv
from collections import Counter

import pytest

from cmc import cli
from cmc.corpus import manifest, skeleton


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_a_speaker(tmp_path, capsys):
    names = [
        f"speaker{s}/{c:04d}.{suffix}" for s in range(10) for c, suffix in enumerate(("mp4", "MOV", "flv"))
    ]
    touch(tmp_path, *names, "speaker0/notes.doc", ".hidden.mp4")
    (tmp_path / "speaker3/0001.txt").write_text("What I said.\n")
    assert cli.main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "30 clips of 10 source videos" in said and "transcripts found: 1" in said and "cmc check" in said
    with open(tmp_path / "label.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == sorted(names)
    assert [row["text"] for row in rows if row["path"] == "speaker3/0001.MOV"] == ["What I said."]
    splits = {row["video_id"]: row["mode"] for row in rows}
    assert all(row["mode"] == splits[row["video_id"]] for row in rows)
    assert Counter(splits.values()) == {"train": 6, "valid": 2, "test": 2}
    assert cli.main(["init", str(tmp_path)]) == 2
    assert (
        "may hold your labels; it was left as it is. To begin anew, move it away" in capsys.readouterr().err
    )
    with pytest.raises(skeleton.SkeletonError, match="is no folder"):
        skeleton.write(skeleton.Skeleton(rows), tmp_path / "label.csv/label.csv")

    # once it is filled in, it is a label file
    for row in rows:
        row |= {"text": "Some words.", "label": "0.5"}
    (tmp_path / "label.csv").unlink()
    skeleton.write(skeleton.Skeleton(rows), tmp_path / "label.csv")
    found = manifest.read(tmp_path / "label.csv", manifest.Rules((-1, 1)))
    assert len(found.clips) == 30 and not found.refused
    assert manifest.recording(tmp_path, found.clips[0]) == str(tmp_path / "speaker0/0000.mp4")


def test_files_that_nothing_joins_promise_no_split_by_speaker(tmp_path, capsys):
    touch(tmp_path, *(f"{name}.mp4" for name in ("talk", "walk", "balk", "0001")))
    assert cli.main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4 videos are taken for a source video each" in said and "add a column speaker" in said
    assert "no source video is in two" not in said
    assert "unimodal_labels: false # take this line out once" in said


def test_transcripts_that_are_no_utf8_are_named_and_nothing_is_written(tmp_path, capsys):
    touch(tmp_path, "a/1.mp4", "a/2.mp4", "b/1.mp4")
    for name in ("a/2.txt", "b/1.txt"):
        (tmp_path / name).write_bytes("très bien, ça va".encode("latin-1"))
    assert cli.main(["init", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "a/2.txt, b/1.txt. Save them as UTF-8" in said and "CSV" not in said
    assert not (tmp_path / "label.csv").exists()


def test_a_flat_folder_and_that_of_a_data_set(tmp_path):
    touch(
        tmp_path / "flat",
        *(f"{who}-{n:03d}.mp4" for who in ("anna", "ben", "cem") for n in range(4)),
        "talk.mp4",
    )
    found = skeleton.find(tmp_path / "flat")
    assert set(found.splits) == {"anna", "ben", "cem", "talk"} and set(found.splits.values()) == {
        "train",
        "valid",
        "test",
    }
    touch(tmp_path / "sims/Raw/video_1", "0001.mp4", "0002.mp4")
    rows = skeleton.find(tmp_path / "sims").rows
    assert [(row["video_id"], row["clip_id"], row["path"]) for row in rows] == [
        ("video_1", "0001", "Raw/video_1/0001.mp4"),
        ("video_1", "0002", "Raw/video_1/0002.mp4"),
    ]
    assert {row["mode"] for row in rows} == {""}  # one speaker can't be in three splits


def test_names_that_label_files_can_not_hold_and_names_that_are_alike(tmp_path):
    touch(tmp_path, "a{1}/x$_$y.mp4", "b/1.mp4", "b/1.mov", "c/ü.mp4")
    rows = skeleton.find(tmp_path).rows
    ids = [(row["video_id"], row["clip_id"]) for row in rows]
    assert ids == [("a_1_", "x_y"), ("b", "1"), ("b", "1-2"), ("c", "ü")]


@pytest.mark.parametrize("names", [[], ["notes.txt"]])
def test_nothing_to_begin_with(tmp_path, names, capsys):
    touch(tmp_path, *names)
    assert cli.main(["init", str(tmp_path)]) == 2 and "holds no video" in capsys.readouterr().err
    assert cli.main(["init", str(tmp_path / "nosuch")]) == 2
    assert not (tmp_path / "label.csv").exists()


@pytest.mark.parametrize(
    ("names", "name", "rows", "labels"),
    [
        (
            ["Video_Speech_Actor_01/Actor_01/01-01-05-02-01-02-01.mp4", "Actor_24/01-01-01-01-02-01-24.mp4",
             "Actor_24/02-01-01-01-02-01-24.mp4", "Actor_24/01-02-01-01-02-01-24.mp4"],
            "RAVDESS",
            {("01", "Kids are talking by the door.", "angry"), ("24", "Dogs are sitting by the door.", "neutral")},
            "angry, calm, disgust, fearful, happy, neutral, sad, surprised",
        ),
        (
            ["VideoFlash/1001_DFA_ANG_XX.flv", "VideoFlash/1091_IEO_SAD_HI.flv", "VideoFlash/readme.flv"],
            "CREMA-D", {("1001", "Don't forget a jacket.", "ANG"), ("1091", "It's eleven o'clock.", "SAD")},
            "ANG: anger",
        ),
    ],
)  # fmt: skip
def test_corpora_whose_files_names_tell_the_emotion(tmp_path, capsys, names, name, rows, labels):
    touch(tmp_path, *names)
    assert cli.main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"2 clips of {name}" in said and labels in said
    with open(tmp_path / "label.csv", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert {(row["speaker"], row["text"], row["label"]) for row in found} == rows
    assert all((tmp_path / row["path"]).is_file() for row in found) and "mode" not in found[0]


def test_a_table_that_is_not_melds_is_told(tmp_path, capsys):
    (tmp_path / "train_sent_emo.csv").write_text("Utterance,Speaker\nHi,Joey\n")
    assert cli.main(["init", str(tmp_path)]) == 2
    assert "lacks the column Emotion that MELD's tables have" in capsys.readouterr().err


def test_few_names_like_a_corpus_make_none_and_what_is_left_out_is_told(tmp_path, capsys):
    """CREMA-D's names: one such among eleven videos is a chance; of two, one is told to be none."""
    clip = "1040_ITH_SAD_X.mp4"  # one file of it has a level of one letter
    touch(tmp_path / "mine", clip, *(f"a/{n}.mp4" for n in range(10)))
    assert skeleton.find(tmp_path / "mine").layout is None
    touch(tmp_path / "crema", clip, "holiday.mp4")
    assert cli.main(["init", str(tmp_path / "crema")]) == 0
    said = capsys.readouterr().out
    assert "1 clips of CREMA-D" in said
    assert "1 videos are none of its clips and left out: holiday.mp4" in said
