"""Each thing that should make one wary is told, with its number, and nothing else is."""

import math

import numpy as np
import pandas as pd
import pytest

from cmc import SPLITS
from cmc.evaluation import warnings
from cmc.evaluation.warnings import Warned
from cmc.labels import Scheme

CLASSES = ("negative", "neutral", "positive")
POLARITY = Scheme(has0="nonpositive_positive")


def summary(rows=(), test=40):
    """A summary of a data set of which nothing is to be said but `rows`."""
    table = [("clips", "test", "clips", test), ("clips", "all", "quarantined", 3)]
    table += [("label_classes", "all", f"M {c}", 27) for c in CLASSES]
    table += [("label_classes", s, f"M {c}", 9) for s in SPLITS for c in CLASSES]
    table += [("label_classes", s, "M absent", 0) for s in (*SPLITS, "all")]
    overwritten = {row[:3]: row for row in [*table, *rows]}
    return pd.DataFrame(list(overwritten.values()), columns=["section", "split", "name", "value"]).astype(str)


def extraction(**changes):
    """Figures of a hundred good clips, with some changed."""
    good = {
        "clip_id": [f"v$_${i:04d}" for i in range(100)],
        "faces": 1.0,
        "face_pixels": 150.0,
        "silence": 0.2,
    }
    return pd.DataFrame(good | {"voiced": 0.5, "unknown": 0.0} | changes)


def first(count, bad, good):
    return [bad] * count + [good] * (100 - count)


def test_a_good_data_set_gets_none():
    assert warnings.of_data(summary(), extraction()) == []
    assert warnings.of_data(summary()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"silence": first(24, 1.0, 0.2)}, "24 of 100 clips have no or nearly no sound: v$_$0000, v$_$0001"),
        ({"cancelled": first(2, 1.0, np.nan)}, "2 of 100 clips have channels that cancel each other"),
        ({"voiced": first(2, 0.0, 0.5)}, "2 of 100 clips have no or nearly no sound"),
        ({"faces": first(6, 0.3, 1.0)}, "6 of 100 clips show a face in less than 50% of their frames"),
        ({"face_pixels": first(6, 40.0, 150.0)}, "6 of 100 clips show faces of less than 64 pixels"),
        (
            {"unknown": first(60, 0.38, 0.0)},
            "22.8% of the tokens are unknown to the text encoder",
        ),
    ],
)
def test_bad_material(changes, told):
    [found] = warnings.of_data(summary(), extraction(**changes))
    assert found.what.startswith(told) and found.value > found.threshold and found.advice


@pytest.mark.parametrize(
    "changes",
    [{"silence": first(1, 1.0, 0)}, {"faces": first(5, 0.3, 1)}, {"unknown": 0.01}, {"cancelled": 0.01}],
)
def test_a_few_bad_clips_among_many_are_none(changes):
    assert warnings.of_data(summary(), extraction(**changes)) == []


def test_figures_that_are_not_known_are_none():
    unknown = extraction(silence=np.nan, voiced=np.nan, faces=np.nan, face_pixels=np.nan, unknown=np.nan)
    assert warnings.of_data(summary(), unknown) == []
    assert warnings.of_data(summary(), unknown[["clip_id"]]) == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("label_classes", "train", "M neutral", 0)], "No clip in train is neutral. No model can learn it"),
        ([("label_classes", "test", "M negative", 0)], "No clip in test is negative. Accuracies on test"),
        (
            [("shared_videos", "all", "b", 2), ("shared_videos", "all", "a", 4)],
            "Source videos in more than one split: 2 (a, b)",
        ),
        (
            [("shared_speakers", "all", "anna", 4)],
            "Speakers in more than one split: 1 (anna). What a model learns of a speaker or a scene",
        ),
        (
            [("features", "all", "text doubt", "Were the ids made with x?")],
            "Were the ids made with x? Set text_encoder",
        ),
        (
            [
                ("clips", "valid", "clips", 7),
                ("clips", "valid", "published", 8),
                ("clips", "valid", "difference", -1),
            ],
            "Clips in valid: 7; published are 8 (difference -1). The quarantine holds 3",
        ),
    ],
)
def test_labels_and_splits(rows, told):
    [found] = warnings.of_data(summary(rows))
    assert str(found).startswith(told)


def test_a_class_that_is_nowhere_is_told_once():
    nowhere = [("label_classes", split, "M neutral", 0) for split in ("train", "valid", "test")]
    [found] = warnings.of_data(summary(nowhere))
    assert found.what == "No clip at all is neutral"


def test_counts_are_kept_whole(tmp_path):
    counts = {"clips": 16265, "published": 16326, "difference": -61}
    [found] = warnings.of_data(summary([("clips", "train", *count) for count in counts.items()]))
    warnings.write([found], tmp_path / "warnings.csv")
    assert ",16265,16326," in (tmp_path / "warnings.csv").read_text()
    assert warnings.read(tmp_path / "warnings.csv") == [found]


def test_few_test_clips():
    [found] = warnings.of_data(summary(test=29))
    assert (found.what, found.value, found.threshold) == ("Only 29 test clips", 29, 30)


def run(acc2=0.8, n=40, msi=20, worrying=False):
    scores = {
        "test": {"n": n, "acc2": acc2},
        "msc": {"n": n - msi, "acc2": acc2},
        "msi": {"n": msi, "acc2": acc2},
    }
    sign = {"meaning": "Text dominates: weight", "value": 0.8, "threshold": 0.7, "worrying": worrying}
    majority = {"test": {"n": n, "acc2": 0.5}}
    models = {"cmc": scores, "majority": majority}
    return {"variant": "cmc", "models": models, "signatures": [sign], **POLARITY.facts}


def predictions(said=(0, 1, 2), classes=(0, 1, 2), times=5):
    """Of three clips, as many times."""
    table = pd.DataFrame({"clip_id": list("abc"), "class": classes})
    for number, name in enumerate(CLASSES):
        table[f"logits_{name}"] = [float(one == number) for one in said]
    return pd.concat([table] * times, ignore_index=True).assign(cluster=lambda own: own.index + 100)


def test_a_good_model_gets_none():
    assert warnings.of_models([run(), run()], [predictions()] * 2) == []


@pytest.mark.parametrize(
    ("metrics", "said", "told"),
    [
        ([run(msi=9)], (0, 1, 2), "Only 9 clips in MSI"),
        ([run(0.6), run(0.4)], (0, 1, 2), "cmc is at chance: Acc-2 50.0%, the most frequent class 50.0%"),
        ([run()], (0, 2, 2), "cmc never says neutral, in 1 of 1 seeds"),
        ([run(), run(worrying=True)], (0, 1, 2), "Text dominates: weight 0.80, in 1 of 2 seeds"),
    ],
)
def test_models(metrics, said, told):
    [found] = warnings.of_models(metrics, [predictions(said)] * len(metrics))
    assert found.what == told and found.advice


def test_few_speakers_make_intervals_too_narrow():
    [found] = warnings.of_models([run()], [predictions().assign(cluster=list("abcde") * 3)])
    assert found.what == "Test clips are of only 5 speakers or source videos" and "too narrow" in found.advice


def test_a_class_that_the_test_lacks_need_not_be_said():
    assert warnings.of_models([run()], [predictions((0, 0, 2), classes=(0, 0, 2))]) == []


def test_of_few_clips_no_class_is_missed():
    few = run(n=9)
    del few["models"]["cmc"]["msc"], few["models"]["cmc"]["msi"]  # as without unimodal labels
    assert warnings.of_models([few], [predictions((0, 2, 2), times=5)]) == []
    assert warnings.of_models([run()], [predictions((0, 2, 2), times=5)])


def test_ids_that_would_command_a_terminal_are_escaped():
    [found] = warnings.of_data(summary([("shared_videos", "all", "a\x1b[2J", 2)]))
    assert "\x1b" not in found.what and "a\\x1b[2J" in found.what


def test_the_list_is_read_as_it_was_written_and_shown(tmp_path):
    found = [
        Warned("test", 'only 5, "ids" too', 5.0, 30.0, "Take care"),
        Warned("text", "NA", math.nan, math.nan, "b"),
    ]
    warnings.write(found, tmp_path / "w.csv")
    assert repr(warnings.read(tmp_path / "w.csv")) == repr(found)
    assert (tmp_path / "w.csv").read_text().startswith("where,what,value,threshold,advice\n")
    assert warnings.show(found) == '2 warnings:\n  - only 5, "ids" too. Take care.\n  - NA. b.\n'
    warnings.write([], tmp_path / "w.csv")
    assert warnings.read(tmp_path / "w.csv") == [] and warnings.show([]) == ""
