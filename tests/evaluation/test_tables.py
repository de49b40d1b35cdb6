import json

import numpy as np
import pandas as pd
import pytest

from cmc import MODALITIES
from cmc.evaluation import tables
from cmc.labels import CLASSES, Scheme
from cmc.metrics import METRICS, evaluate, score

HAS0 = "nonpositive_positive"
SCHEME = Scheme(has0=HAS0)
NO_PUBLISHED = pd.DataFrame(columns=["dataset", "model", "objective", "subset", "metric", "value", "source"])


def predictions(classes, said, pretrained=None, train=(0, 0)):
    """Fused logits that say `said`, unimodal ones (one list a modality) that say `pretrained`."""
    frame = pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(classes))], "class": classes})
    frame[list(tables.MAJORITY)] = tables.constant(train, SCHEME)
    frame[[f"logits_{name}" for name in CLASSES]] = np.eye(3)[said]
    for modality, answers in zip(MODALITIES, pretrained or [], strict=False):
        frame[[f"pretrain_{modality}_{name}" for name in CLASSES]] = np.eye(3)[answers]
    for modality, weight in zip(MODALITIES, (0.5, 0.3, 0.2), strict=True):
        frame[f"router_{modality}"] = weight
    return frame


def run(seed, *, variant="cmc", dataset="chsims", has0=HAS0, models=None, **metrics):
    """One seed's metrics: 0.5 but for `metrics`, of the variant on the test split, or `models` as given."""
    values = {"n": 10} | dict.fromkeys(METRICS, 0.5) | metrics
    models = models or {variant: {"test": values}}
    return {
        "dataset": dataset,
        "variant": variant,
        "seed": seed,
        "has0": has0,
        "classes": list(CLASSES),
        "models": models,
    }


def subsets(*names, n=10):
    return {name: {"n": n} | dict.fromkeys(METRICS, 0.5) for name in names}


# score


def test_each_model_is_scored_by_its_own_logits_on_each_subset():
    classes = [0, 1, 2, 2]
    answers = [[0, 0, 0, 0], [2, 2, 2, 2], [0, 1, 2, 0]]
    result = tables.score(
        predictions(classes, [0, 1, 2, 2], answers, train=[0, 0, 2]),
        {"msc": ["c0", "c2"], "msi": ["c1", "c3"]},
        SCHEME,
    )
    accuracy = {
        model: [by_subset[subset]["acc3"] for subset in ("test", "msc", "msi")]
        for model, by_subset in result["models"].items()
    }
    assert accuracy == {
        "cmc": [1, 1, 1],
        "text": [0.25, 0.5, 0],
        "audio": [0.5, 0.5, 0.5],
        "vision": [0.75, 1, 0.5],
        "majority": [0.25, 0.5, 0],
    }
    assert result["models"]["cmc"]["msc"] == evaluate(np.eye(3)[[0, 2]], [0, 2], SCHEME)
    assert result["router_weights"] == pytest.approx({"text": 0.5, "audio": 0.3, "vision": 0.2})


def test_without_unimodal_labels_there_is_the_test_split_alone():
    for absent in ({}, {"msc": [], "msi": []}):
        models = tables.score(predictions([0, 2], [0, 2]), absent, SCHEME)["models"]
        assert {tuple(by_subset) for by_subset in models.values()} == {("test",)}


def test_a_subset_that_happens_to_be_empty_stays_as_nan():
    scores = tables.score(predictions([0, 2], [0, 2]), {"msc": ["c0", "c1"], "msi": []}, SCHEME)
    assert scores["models"]["cmc"]["msi"]["n"] == 0
    assert np.isnan(scores["models"]["cmc"]["msi"]["acc2"])


def test_a_variant_without_pretraining_has_no_unimodal_rows():
    scores = tables.score(predictions([0, 2], [0, 2]), {}, SCHEME, variant="no_pretraining")
    assert list(scores["models"]) == ["no_pretraining", "majority"]


def test_scores_survive_json():
    answers = [[0, 2], [2, 0], [1, 1]]
    scores = tables.score(predictions([0, 2], [0, 2], answers), {"msc": ["c0"], "msi": ["c1"]}, SCHEME)
    assert json.loads(json.dumps(scores)) == scores


def test_score_refuses_what_it_cannot_place():
    frame = predictions([0, 2], [0, 2])
    with pytest.raises(ValueError, match=r"'c9' of subset msi.*1 such"):
        tables.score(frame, {"msc": ["c0"], "msi": ["c9"]}, SCHEME)
    with pytest.raises(ValueError, match="'c0' has more than one"):
        tables.score(pd.concat([frame, frame]), {}, SCHEME)
    with pytest.raises(ValueError, match="'text'"):
        tables.score(frame, {}, SCHEME, variant="text")
    with pytest.raises(ValueError, match="training split is empty"):
        tables.constant([], SCHEME)


# majority


def constantly(labels, scheme, train):
    """Metrics of what the training classes make one always say."""
    return score(np.tile(tables.constant(train, scheme), (len(labels), 1)), labels, scheme)


def test_the_majority_side_and_the_majority_class_may_contradict():
    train = [0] * 3 + [1] * 3 + [2] * 4
    result = constantly(np.array([0, 1, 2, 2]), SCHEME, train)
    assert result["acc2"] == 0.5  # says non-positive: right on 0 and 1
    assert result["acc2_non0"] == pytest.approx(1 / 3)  # and so on the clip that is 0
    assert result["acc3"] == 0.5  # says positive: right on both 2


def test_the_majority_follows_the_training_labels_and_the_rule():
    train, test = [0, 0, 1, 1, 2], np.array([0, 1, 2, 2])
    assert constantly(test, SCHEME, train)["acc2"] == 0.5
    assert constantly(test, Scheme(has0="negative_nonnegative"), train)["acc2"] == 0.75
    assert constantly(test, SCHEME, [2, 2, 2, 0])["acc3"] == 0.5
    assert constantly(test, SCHEME, [0, 2])["acc3"] == 0.25  # a tie: the lower class


# table


def test_two_seeds_give_their_mean_and_sample_deviation_in_percent():
    seeds = [run(1, acc2=0.80, f1=0.70), run(2, acc2=0.84, f1=0.70)]
    row = tables.table(seeds, NO_PUBLISHED).iloc[0]
    assert (row["model"], row["subset"], row["n"], row["seeds"]) == ("cmc", "test", 10, 2)
    assert (row["acc2_mean"], row["acc2_std"]) == (82.0, 2.83)  # 4 / sqrt(2)
    assert (row["f1_mean"], row["f1_std"]) == (70.0, 0.0)
    assert (row["acc3_mean"], row["acc3_std"]) == (50.0, 0.0)


def test_columns_are_those_of_the_contract():
    expected = ["model", "subset", "n", "seeds"]
    expected += [f"{name}_{part}" for name in METRICS for part in ("mean", "std")]
    expected += ["published_acc2", "published_f1"]
    assert list(tables.table([run(1)], NO_PUBLISHED)) == expected


def test_one_seed_has_no_spread():
    row = tables.table([run(1, acc2=0.123456)], NO_PUBLISHED).iloc[0]
    assert row["acc2_mean"] == 12.35
    assert np.isnan(row["acc2_std"])


def test_rows_come_in_one_order_whatever_the_order_within():
    models = {
        model: subsets("msi", "test", "msc") for model in ("majority", "vision", "text", "audio", "cmc")
    }
    table = tables.table([run(1, variant="ablated"), run(1, models=models)], NO_PUBLISHED)
    # baselines are the first variant's, and it has none here
    assert list(zip(table["model"], table["subset"], strict=True)) == [
        ("ablated", "test"),
        ("cmc", "test"),
        ("cmc", "msc"),
        ("cmc", "msi"),
    ]
    table = tables.table([run(1, models=models), run(1, variant="ablated")], NO_PUBLISHED)
    assert list(table["model"]) == [
        *["cmc"] * 3,
        "ablated",
        *["text"] * 3,
        *["audio"] * 3,
        *["vision"] * 3,
        *["majority"] * 3,
    ]
    assert list(table["subset"][-3:]) == ["test", "msc", "msi"]


def test_baselines_of_a_second_variant_are_not_mixed_into_the_first():
    first = {"cmc": subsets("test"), "text": subsets("test")}
    second = {"cmc_gt": subsets("test"), "text": {"test": {"n": 10} | dict.fromkeys(METRICS, 0.9)}}
    table = tables.table([run(1, models=first), run(1, variant="cmc_gt", models=second)], NO_PUBLISHED)
    text = table[table["model"] == "text"].iloc[0]
    assert (text["acc2_mean"], text["seeds"]) == (50.0, 1)


def test_a_regression_stands_beside_published_regressions():
    found = {}
    for objective in ("classification", "regression"):
        runs = [run(1, dataset="chsims", variant="tfn") | {"objective": objective}]
        found[objective] = tables.table(runs, tables.published_values())["published_acc2"].iloc[0]
    assert found == {"classification": 75.32, "regression": 78.38}


@pytest.mark.parametrize(
    ("dataset", "published"),
    [
        ("chsims", {("test", "acc2"): 84.90, ("msi", "acc2"): 74.77}),
        ("chsimsv2", {("test", "acc2"): 87.86}),
        ("mosi", {("test", "f1"): 76.23}),
        ("mosei", {("test", "f1"): 77.87}),
        ("demo", {}),
    ],
)
def test_published_values_stand_where_the_paper_has_them(dataset, published):
    models = {model: subsets("test", "msc", "msi") for model in ("cmc", "text")}
    table = tables.table([run(1, dataset=dataset, models=models)], tables.published_values())
    found = {
        (row["model"], row["subset"], metric): row[f"published_{metric}"]
        for _, row in table.iterrows()
        for metric in ("acc2", "f1")
        if np.isfinite(row[f"published_{metric}"])
    }
    assert found == {("cmc", *key): value for key, value in published.items()}


def test_an_empty_subset_stays_empty_even_as_null():
    for absent in (float("nan"), None):
        row = tables.table(
            [run(s, n=0, **dict.fromkeys(METRICS, absent)) for s in (1, 2)], NO_PUBLISHED
        ).iloc[0]
        assert row["n"] == 0 and row["seeds"] == 2
        assert np.isnan(row["acc2_mean"]) and np.isnan(row["acc2_std"])


def test_table_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match="at least one seed"):
        tables.table([], NO_PUBLISHED)
    with pytest.raises(ValueError, match=r"one data set.*chsims.*mosi"):
        tables.table([run(1), run(2, dataset="mosi")], NO_PUBLISHED)
    with pytest.raises(ValueError, match="one label scheme"):
        tables.table([run(1), run(2, has0="negative_nonnegative")], NO_PUBLISHED)
    with pytest.raises(ValueError, match="seed 7 more than once"):
        tables.table([run(7), run(7)], NO_PUBLISHED)
    with pytest.raises(ValueError, match=r"cmc on test.*\[10, 11\]"):
        tables.table([run(1), run(2, n=11)], NO_PUBLISHED)


# write and show


def test_written_bytes_are_exact(tmp_path):
    table = tables.table([run(1, acc2=0.8)], tables.published_values())
    tables.write(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes().splitlines()[1] == (
        b"cmc,test,10,1,80.00,,50.00,,50.00,,50.00,,50.00,,50.00,,84.90,"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    target.write_text("old")

    def full(self, path, **_):
        path.write_text("half a ta")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="disk full"):
        tables.write(pd.DataFrame({"a": [1]}), target)
    assert target.read_text() == "old"


def test_shown_table_is_aligned():
    seeds = [run(1, acc2=0.80), run(2, acc2=0.84)]
    lines = tables.show(tables.table(seeds, tables.published_values())).splitlines()
    assert lines[0].split("  ")[0] == "Model"
    assert "82.00 ± 2.83" in lines[1] and "84.90" in lines[1]
    end = lines[0].index("Acc-2") + len("Acc-2")
    assert lines[1][:end].endswith("82.00 ± 2.83")


def test_shown_table_leaves_out_published_columns_without_values():
    assert "published" not in tables.show(tables.table([run(1)], NO_PUBLISHED))
    shown = tables.show(tables.table([run(1)], tables.published_values()))
    assert "Acc-2 published" in shown and "F1 published" not in shown


def test_same_input_same_bytes(tmp_path):
    models = {model: subsets("test", "msc") for model in ("cmc", "text")}
    for name in ("a", "b"):
        metrics = json.loads(json.dumps([run(1, models=models), run(2, models=models)]))
        tables.write(tables.table(metrics, tables.published_values()), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# emotions by name, folds

EMOTIONS = Scheme(("angry", "happy", "sad"))


def folded(seed, variant="cmc"):
    """Metrics of a seed over three folds of ten clips each, of which the model gets 9, 6 and 3 right."""
    classes, fold = np.tile([0, 0, 0, 0, 0, 1, 1, 1, 2, 2], 3), np.repeat([1, 2, 3], 10)
    said = classes.copy()
    for number, wrong in ((0, 1), (1, 4), (2, 7)):
        said[10 * number : 10 * number + wrong] = (said[10 * number : 10 * number + wrong] + 1) % 3
    frame = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(30)], "class": classes, "fold": fold, "router_text": 1.0}
    )
    frame[[f"logits_{name}" for name in EMOTIONS.classes]] = np.eye(3)[said]
    frame[list(tables.MAJORITY)] = tables.constant(classes, EMOTIONS)
    scores = tables.score(frame, {}, EMOTIONS, variant)
    return {"dataset": "x", "variant": variant, "seed": seed, **EMOTIONS.facts, **scores}


def test_emotions_have_their_own_measures_and_folds_stand_together():
    table = tables.table([folded(1), folded(2)], tables.published_values())
    assert table["model"].tolist() == ["cmc", "majority"] and (table["n"] == 30).all()
    assert table["wa_mean"].tolist() == [60, 50] and table["uar_mean"][1] == pytest.approx(33.33)
    assert {"f1_angry_mean", "macro_f1_std"} < set(table) and not {"acc2_mean", "published_acc2"} & set(table)
    shown = tables.show(table)
    assert "UAR" in shown and "WA" in shown and "angry" not in shown


def test_each_fold_and_their_mean():
    table = tables.by_fold([folded(1), folded(2)])
    own = table[table["model"] == "cmc"]
    assert own["subset"].tolist() == ["fold1", "fold2", "fold3", "folds"] and own["n"].tolist() == [
        10,
        10,
        10,
        30,
    ]
    assert own["wa_mean"].tolist() == [90, 60, 30, 60] and own["wa_std"].tolist() == [0, 0, 0, 30]


def test_the_most_frequent_emotion_is_learned_from_each_folds_training_clips():
    frame = predictions([1, 1, 0, 2], [0, 0, 0, 0]).assign(fold=[1, 1, 2, 2])
    frame.columns = [
        name.replace("negative", "angry").replace("neutral", "happy").replace("positive", "sad")
        for name in frame
    ]
    frame[list(tables.MAJORITY)] = np.repeat([[1, 1], [0, 0]], 2, axis=0)
    scores = tables.score(frame, {}, EMOTIONS)
    assert scores["models"]["majority"]["test"]["wa"] == 0.75
    assert [scores["folds"]["majority"][fold]["wa"] for fold in ("1", "2")] == [1, 0.5]
