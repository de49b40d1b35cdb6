"""A label file and its videos, judged before anything runs: each mistake is named, with the way out."""

import re
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cmc.corpus import checks, manifest

SPLITS = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
VALUES = [-0.6, 0, 0.8] * 4


@pytest.fixture
def root(tmp_path):
    """Twelve clips of four videos, as they should be."""
    write(tmp_path)
    for number in range(12):
        touch(tmp_path / f"Raw/v{number // 3}/{number:04d}.mp4")
    return tmp_path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(root, labels=VALUES, modes=SPLITS, clips=None, videos=None, annotated=True):
    """A label file."""
    clips = clips or [f"{number:04d}" for number in range(12)]
    videos = videos or [f"v{number // 3}" for number in range(12)]
    lines = ["video_id,clip_id,text,label,mode" + ",label_T,label_A,label_V" * annotated]
    for video, clip, label, mode in zip(videos, clips, labels, modes, strict=True):
        lines.append(f"{video},{clip},hello,{label},{mode}" + f",{label},{label},{label}" * annotated)
    (root / "label.csv").write_text("\n".join(lines), encoding="utf-8")


def judged(root, label_range=(-1, 1), has0="nonpositive_positive", max_share=0.05, **changes):
    rules = manifest.Rules(label_range)
    return checks.corpus(
        manifest.read(root / "label.csv", rules),
        root=root,
        rules=rules,
        has0=has0,
        max_share=max_share,
        where=lambda clip: manifest.video_path(root, clip),
        **changes,
    )


def told(findings, level):
    return "\n".join(finding.text for finding in findings if finding.level == level)


def test_a_good_data_set_is_told_in_numbers(root):
    findings = judged(root)
    assert {finding.level for finding in findings} == {"good"}
    assert told(findings, "good").splitlines() == [
        "12 clips: 6 train, 3 valid, 3 test",
        "labels: 4 negative, 4 neutral, 4 positive",
        "unimodal labels: 12 label_T, 12 label_A, 12 label_V",
    ]


def test_names_of_emotions_as_labels(root):
    write(root, ["happy", "sad", "happy", "angry"] * 3, annotated=False)
    error = told(judged(root), "error")
    assert error.startswith("12 of 12 clips can't be used, more than the allowed share of 0.05")
    assert "12  label 'happy' is no number (v0$_$0000, v0$_$0002, v1$_$0004)" in error
    assert "labels are names: happy (6), sad (3), angry (3)" in error and "[-1, 1]" in error
    assert "quarantine.csv" not in error  # there is none yet


def test_reasons_are_grouped_and_the_most_frequent_comes_first(root):
    write(root, [7, 8, *VALUES[2:]], modes=["training", *SPLITS[1:]])
    assert "2 of 12 clips" in told(judged(root), "error")
    lines = told(judged(root, max_share=0.5), "warning").splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1", "1"]


def test_a_clip_in_two_splits_stops_the_run(root):
    twice = [f"{number:04d}" for number in range(11)] + ["0000"]
    write(root, clips=twice, videos=[f"v{number // 3}" for number in range(11)] + ["v0"])
    error = told(judged(root, max_share=1), "error")
    assert error.startswith("1 row has a clip that is in another split, too: say in which")
    assert "duplicate id in two splits; train on line 2, test on line 13 (v0$_$0000)" in error


def test_source_videos_and_speakers_in_two_splits_are_told(root):
    lines = ["video_id,clip_id,text,label,mode,speaker"]
    for n, (label, mode) in enumerate(zip(VALUES, SPLITS, strict=True)):
        lines.append(
            f"v{n // 3},{n:04d},hello,{label},{'test' if n in (0, 3) else mode},{'anna' * (n in (4, 9))}"
        )
    (root / "label.csv").write_text("\n".join(lines))
    warning = told(judged(root), "warning")
    assert "Source videos in more than one split: 2 (v0, v1). What a model learns of a speaker" in warning
    assert "Speakers in more than one split: 1 (anna). " in warning and "split by speaker" in warning


def test_a_row_twice_in_one_split_counts_as_lost(root):
    write(root, [*VALUES, 0], [*SPLITS, "train"], [f"{n:04d}" for n in (*range(12), 0)],
          [f"v{n // 3}" for n in (*range(12), 0)])  # fmt: skip
    assert "1 of 13 clips can't be used, more than the allowed share" in told(judged(root), "error")
    warning = told(judged(root, max_share=0.1), "warning")
    assert "1  duplicate id; line 2 is kept and line 14 refused (v0$_$0000)" in warning


def test_clips_of_a_reason_are_named_with_their_values(root):
    write(root, [2.4, 3, *["x"] * 7, *VALUES[9:]])
    warning = told(judged(root, max_share=1), "warning")
    assert re.search(
        r"7  label 'x' is no number \(v0\$_\$0002, v1\$_\$0003, .*v2\$_\$0006\)\n +and 2 more\n"
        r" +2  label 2.4 is outside \[-1, 1\] \(v0\$_\$0000\)\n +label 3 is outside \[-1, 1\] \(v0\$_\$0001\)",
        warning,
    ), warning


def test_other_names_of_the_validation_split(root):
    write(root, modes=["train"] * 6 + ["Val", "dev", "validation"] + ["test"] * 3)
    assert "6 train, 3 valid, 3 test" in told(judged(root), "good")


def test_a_split_without_clips(root):
    write(root, modes=["train"] * 9 + ["test"] * 3)
    assert "no usable clip in split valid (9 train, 0 valid, 3 test)" in told(judged(root), "error")


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        ("Raw/v0/0001.rm", "0001.rm: its kind is not read; .mp4 .mkv"),
        ("Raw/v0_0001.mp4", "v0_0001.mp4: move it to"),
        ("Raw/0001.mp4", "0001.mp4: move it to"),
        (None, "in .*v0 there is 0000.mp4, 0002.mp4"),
    ],
)
def test_a_missing_video_and_what_lies_there_instead(root, there, hint):
    (root / "Raw/v0/0001.mp4").unlink()
    if there:
        touch(root / there)
    error = told(judged(root), "error")
    assert "1 of 12 clips can't be used" in error
    assert f"1  video is missing: {root}/Raw/v0/0001.mp4" in error
    assert re.search(hint, error), error


def test_no_video_at_all(root):
    (root / "Raw").rename(root / "videos")
    assert "there is no folder" in told(judged(root), "error")
    touch(root / "Raw/other.mp4")
    assert f"in {root}/Raw there is other.mp4" in told(judged(root), "error")


def test_the_folder_of_videos_in_small_letters(root):
    (root / "Raw").rename(root / "raw")
    assert f"there is {root}/raw: call it Raw" in told(judged(root), "error")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (r"Raw\v0\0000.mp4", "write / between folders, and begin in the data set's folder"),
        (r"C:\data\0000.mp4", "write / between folders, and begin in the data set's folder"),
        ("Raw/v0/0000.MOV", "v0/0000.mp4: write path as the file is called"),
        ("Raw/v0/9.mp4", "v0 there is 0000.mp4, 0001.mp4"),
        ("films/0000.mp4", "films: the column path begins in"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_by_its_column(root, path, hint):
    (root / "label.csv").write_text(f"video_id,clip_id,text,label,mode,path\nv0,0000,hello,0,train,{path}\n")
    touch(root / "Raw/v0/9.txt")
    rules = manifest.Rules((-1, 1))
    found = manifest.read(root / "label.csv", rules)
    judge = partial(checks.corpus, found, root=root, rules=rules, has0="nonpositive_positive")
    error = told(judge(max_share=0, where=lambda clip: manifest.recording(root, found.clips[0])), "error")
    assert hint in error and "clip_id" not in error, error


def test_several_missing_videos_are_named(root):
    for number in range(7):
        (root / f"Raw/v{number // 3}/{number:04d}.mp4").unlink()
    error = told(judged(root), "error")
    assert "missing, too: v0$_$0001, v0$_$0002, v1$_$0003, v1$_$0004, v1$_$0005 and 1 more" in error


def test_a_slip_among_numbers_is_no_name(root):
    write(root, ["abc", *VALUES[1:]])
    error = told(judged(root), "error")
    assert "1  label 'abc' is no number (v0$_$0000)" in error and "names" not in error


def test_counts_of_a_split_on_one_side_are_its_own(root):
    write(root, [0.2, 0.4, 1] * 2 + [-0.8, 0, 0.8] * 2)
    error = told(judged(root), "error")
    assert "no non-positive clip in train (0 negative, 0 neutral, 6 positive; labels from 0.2 to 1)" in error


def test_clip_ids_that_have_lost_their_zeros(root):
    write(root, clips=[str(number) for number in range(12)])
    assert "0000.mp4: leading zeros are lost" in told(judged(root), "error")


def test_clip_ids_that_carry_the_extension(root):
    write(root, clips=[f"{number:04d}.mp4" for number in range(12)])
    assert "clip_id is '0000.mp4': leave .mp4 out" in told(judged(root), "error")


@pytest.mark.parametrize("suffix", ".m4v .mpg .mpeg .3gp .mts .m2ts .ts .wmv .FLV .ogv".split())
def test_other_kinds_of_video_are_found(root, suffix):
    path = root / "Raw/v0/0001.mp4"
    path.rename(path.with_suffix(suffix))
    assert told(judged(root), "error") == ""
    assert manifest.video_path(root, "v0$_$0001") == str(path.with_suffix(suffix))


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_look_the_same_are_the_same(root, forms):
    inside, outside = (unicodedata.normalize(form, "é") for form in forms)
    write(
        root,
        videos=[f"{inside}{number // 3}" for number in range(12)],
        clips=[f"{inside}{n}" for n in range(12)],
    )
    for number in range(12):
        touch(root / f"Raw/{outside}{number // 3}/{outside}{number}.mkv")
    assert told(judged(root), "error") == ""
    found = manifest.video_path(root, f"{inside}0$_${inside}0")
    assert Path(found) == root / f"Raw/{outside}0/{outside}0.mkv"


def test_a_file_that_came_later_is_found(root):
    path = root / "Raw/v0/0001.mp4"
    path.unlink()
    assert manifest.video_path(root, "v0$_$0001") == str(path)
    path.with_suffix(".mov").touch()
    assert manifest.video_path(root, "v0$_$0001") == str(path.with_suffix(".mov"))


@pytest.mark.parametrize(
    ("labels", "label_range", "has0", "lacking"),
    [
        ([0, 3, 6] * 4, (0, 6), "negative_nonnegative", "negative"),
        ([1, 3, 5] * 4, (1, 5), "nonpositive_positive", "non-positive"),
        ([-1, 0, -1] * 4, (-1, 1), "nonpositive_positive", "positive"),
    ],
)
def test_labels_on_one_side_are_refused_unless_that_is_meant(root, labels, label_range, has0, lacking):
    write(root, labels)
    error = told(judged(root, label_range, has0), "error")
    assert f"no {lacking} clip in train" in error and "one_sided_labels: true" in error
    least, most = min(labels), max(labels)
    assert f"labels from {least:g} to {most:g}" in error and "Shift other scales" in error
    meant = judged(root, label_range, has0, one_sided_labels=True)
    assert told(meant, "error") == "" and f"no {lacking} clip in train" in told(meant, "warning")


def test_a_class_that_no_clip_has_and_a_side_that_a_split_lacks(root):
    write(root, [-1, 1, 1] * 2 + [-1, 1, -1] + [1, 1, 1])
    warning = told(judged(root), "warning")
    assert "no clip is neutral" in warning
    assert "no non-positive clip in test: its Acc-2 says little" in warning
    assert told(judged(root), "error") == ""


def test_unimodal_labels_that_are_not_there(root):
    write(root, annotated=False)
    assert "not all have unimodal labels (0 label_T, 0 label_A, 0 label_V)" in told(judged(root), "warning")
    assert told(judged(root, unimodal_labels=False), "warning") == ""
    write(root)
    assert "unimodal_labels: false leaves out the variants" in told(
        judged(root, unimodal_labels=False), "warning"
    )


def test_packages_that_extractors_need():
    needs = [("one", {"json": "pip install json"}), ("two", {"no_such_package": "pip install it"})]
    [finding] = checks.extras(needs)
    assert finding.level == "error"
    assert (
        finding.text
        == "the extractor two needs the package no_such_package, which is not installed: pip install it"
    )


# emotions by name


def emotional(root, labels, spellings):
    lines = [f"v{n},{n:04d},hello,{label},{MODES[n % 3]}" for n, label in enumerate(labels)]
    (root / "label.csv").write_text("\n".join(["video_id,clip_id,text,label,mode", *lines]))
    rules = manifest.Rules(spellings=spellings)
    return checks.corpus(
        manifest.read(root / "label.csv", rules), root=root, rules=rules, has0=None, max_share=0.05
    )


MODES = ("train", "valid", "test")
BOTH = {"happy": "happy", "sad": "sad", "xxx": None}


def test_emotions_are_counted_and_those_left_out_told(root):
    found = emotional(root, ["happy", "sad"] * 6 + ["xxx"] * 3, BOTH)
    assert "labels: 6 happy, 6 sad" in told(found, "good")
    assert "left out: 3 clips (label 'xxx' is left out by the config)" in told(found, "good")
    assert not told(found, "error")


def test_labels_with_apostrophes_are_told(root):
    found = emotional(root, ["happy", "sad"] * 6 + ["don't know"] * 2, BOTH | {"don't know": None})
    assert "2 clips" in told(found, "good") and "don't know" in told(found, "good")


@pytest.mark.parametrize("accents", ["NFC", "NFD"])
def test_accents_may_be_coded_either_way(root, accents):
    labels = [unicodedata.normalize(accents, name) for name in ("Überrascht", "fröhlich")]
    found = emotional(root, labels * 6, {"überrascht": "überrascht", "fröhlich": "fröhlich"})
    assert "labels: 6 überrascht, 6 fröhlich" in told(found, "good")


def test_folds_of_polarity_are_counted(root):
    lines = [f"v{n},{n:04d},hello,{1 if n % 2 else -1},s{n % 4}" for n in range(12)]
    (root / "label.csv").write_text("\n".join(["video_id,clip_id,text,label,speaker", *lines]))
    rules = manifest.Rules(label_range=(-1, 1), by="speaker", folds=3)
    read = manifest.read(root / "label.csv", rules)
    judge = partial(checks.corpus, root=root, rules=rules, has0="nonpositive_positive")
    found = judge(read, max_share=0.05)
    assert "labels: 6 negative, 0 neutral, 6 positive" in told(found, "good")
    assert "no clip is neutral" in told(found, "warning") and "Acc-2" not in told(found, "warning")
    onesided = judge(replace(read, clips=[clip for clip in read.clips if clip.label > 0]), max_share=0.05)
    assert "no non-positive clip in train" in told(onesided, "error")
    there = root / "there.mp4"
    there.touch()
    lost = {clip.clip_id for clip in read.clips if clip.split == "fold2"}
    found = judge(read, max_share=1, where=lambda clip: "missing" if clip in lost else str(there))
    assert "no clip of fold2 can be used" in told(found, "error")


def test_unlisted_emotions_are_refused_by_name_with_counts(root):
    error = told(emotional(root, ["happy", "sad"] * 3 + ["fru"] * 4 + ["very bored"] * 2, BOTH), "error")
    assert "6 of 12 clips can't be used" in error
    assert "labels are names: fru (4), very bored (2). The classes are happy, sad" in error
    assert "{fru: happy}, or null to leave their clips out" in error


def test_emotions_where_numbers_should_be_are_told_the_way(root):
    write(root, labels=["angry", "sad"] * 6)
    assert "classes: [angry, sad]" in told(judged(root), "error")


def test_one_emotion_alone_can_not_be_learned(root):
    assert "all clips are of one class" in told(emotional(root, ["happy"] * 6, BOTH), "error")


def test_an_emotion_that_a_split_lacks_is_told(root):
    labels = ["happy", "happy", "sad", "sad", "happy", "happy"]
    assert "no clip in valid is sad" in told(emotional(root, labels, BOTH), "warning")
