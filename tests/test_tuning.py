"""Tuning chooses by the validation split, and what it chose is what is evaluated."""

import json
import math

import pandas as pd
import pytest
from small_run import ONE_EPOCH, merged, planned, snakemake

from cmc import checkpoint, tuning

POINTS = {"layers1": {"model.layers": 1}, "layers2": {"model.layers": 2}, "layers3": {"model.layers": 3}}


def scores(acc2, loss=1.0, f1=0.5):
    return {"acc2": acc2, "f1": f1, "loss": loss}


def runs(**by_point):
    return {(point, seed): own for point, all_ in by_point.items() for seed, own in enumerate(all_)}


def test_the_best_mean_over_the_seeds_comes_first():
    ranked = tuning.rank(
        POINTS,
        runs(
            layers1=[scores(0.9), scores(0.5)],  # best single seed
            layers2=[scores(0.8, f1=0.4), scores(0.7, f1=0.3)],  # best mean
            layers3=[scores(0.6, f1=0.9), scores(0.6, f1=0.9)],  # best F1
        ),
        "acc2",
    )
    assert ranked["point"].tolist() == ["layers2", "layers1", "layers3"]
    assert ranked["rank"].tolist() == [1, 2, 3] and ranked["model.layers"].tolist() == [2, 1, 3]
    best = ranked.iloc[0]
    assert best["seeds"] == 2 and best["acc2_mean"] == pytest.approx(75)
    assert best["acc2_std"] == pytest.approx(100 * math.sqrt(0.005)) and best["f1_mean"] == pytest.approx(35)
    assert best["loss_mean"] == 1 and best["loss_std"] == 0


def test_by_f1():
    ranked = tuning.rank(
        POINTS, runs(layers1=[scores(0.9, f1=0.1)], layers2=[scores(0.1)], layers3=[scores(0.2)]), "f1"
    )
    assert ranked["point"].tolist() == ["layers2", "layers3", "layers1"]  # equal ones as the grid has them


def test_equal_points_stand_by_their_loss():
    ranked = tuning.rank(
        POINTS, runs(layers1=[scores(0.5)], layers2=[scores(0.5, loss=0.9)], layers3=[scores(0.6, 9)]), "acc2"
    )
    assert ranked["point"].tolist() == ["layers3", "layers2", "layers1"]


@pytest.mark.parametrize(
    ("by_point", "message"),
    [
        ({"layers1": [scores(0.5)], "layers2": [scores(0.5)]}, "layers3 of the grid has no run"),
        (
            {"layers1": [scores(0.5)], "layers2": [scores(0.5)] * 2, "layers3": [scores(0.5)]},
            "layers2 has 2 seeds, layers1 1",
        ),
        (
            {"layers1": [scores(0.5)], "layers2": [scores(0.5)], "layers3": [scores(math.nan)]},
            "layers3 has a seed without acc2",
        ),
    ],
)
def test_grids_that_cannot_be_ranked(by_point, message):
    with pytest.raises(ValueError, match=message):
        tuning.rank(POINTS, runs(**by_point), "acc2")


def test_a_choice_is_read_as_it_was_written(tmp_path):
    names = {"007": {"model.layers": 7}, "1e3": {"model.layers": 3}}  # not to be taken for numbers
    ranked = tuning.rank(names, {("007", 1): scores(0.123456), ("1e3", 1): scores(0.123457)}, "acc2")
    tuning.write(ranked, tmp_path / "t.csv")
    assert tuning.chosen(tmp_path / "t.csv") == "1e3"
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["acc2_mean"].tolist() == [12.35, 12.35] and table["acc2_std"].isna().all()
    assert "1e3" in tuning.show(ranked, "acc2").splitlines()[0]


def test_validation_scores_are_those_of_the_kept_epoch(tmp_path):
    record = {"validation_acc2": 0.7, "validation_f1": 0.6, "validation_loss_M": 0.9}
    history = [
        {"epoch": 1, **record},
        {"epoch": 2, **record, "validation_acc2": 0.9},
    ]
    path = tmp_path / "finetune.json"
    path.write_text(json.dumps({"best_epoch": 1, "history": history}))
    assert tuning.on_validation(path) == {"acc2": 0.7, "f1": 0.6, "loss": 0.9}
    path.write_text(json.dumps({"best_epoch": 0, "history": []}))
    with pytest.raises(checkpoint.CheckpointError, match=r"finetune.json.*finetune\.epochs"):
        tuning.on_validation(path)


SMALL = merged(
    ONE_EPOCH,
    {
        "tuning": {
            "grid": {
                "model.layers": [1],
                "model.heads": [4],
                "model.classifier_dropout": [0.1],
                "finetune.lr": [1.0e-3, 5.0e-2],
            }
        },
        "tables": {"tuned": ["cmc", "tuned_on_validation", "tuned_on_test"]},
    },
)
TARGET = "results/demo/tuned.csv"
NAMES = [f"lr{lr}-classifier_dropout0.1-heads4-layers1" for lr in (0.001, 0.05)]


@pytest.fixture(scope="module")
def tuned(demo):
    folder, _ = demo
    return folder, snakemake(folder, TARGET, config=SMALL)


def test_what_is_evaluated_is_the_point_that_was_chosen(tuned):
    folder, said = tuned
    demo = folder / "results/demo"
    table = pd.read_csv(demo / "tuned.csv")
    assert table["model"].unique()[:3].tolist() == SMALL["tables"]["tuned"]
    for split in ("validation", "test"):
        ranked = pd.read_csv(demo / f"tuning_on_{split}.csv")
        assert sorted(ranked["point"]) == sorted(NAMES) and ranked["seeds"].tolist() == [2, 2]
        assert ranked["acc2_mean"].is_monotonic_decreasing
        for seed in SMALL["seeds"]:
            one, other = (
                demo / f"{name}/seed{seed}/predictions.csv"
                for name in (f"tuned_on_{split}", ranked["point"].iloc[0])
            )
            assert one.read_bytes() == other.read_bytes()
        own = table[(table["model"] == f"tuned_on_{split}") & (table["subset"] == "test")].iloc[0]
        if split == "test":
            assert own["acc2_mean"] == pytest.approx(ranked["acc2_mean"].iloc[0])
    assert "acc2" in said and NAMES[0] in said


def test_points_share_stage_1_where_they_can(tuned):
    """Both points pretrain as the main variant does."""
    folder, _ = tuned
    assert not list((folder / "results/demo").glob("lr*/seed*/pretrain.safetensors"))


def test_a_point_more_trains_that_point_alone(tuned):
    folder, _ = tuned
    assert planned(folder, TARGET, config=SMALL) == {}
    grid = {"tuning": {"grid": {"finetune.lr": [1.0e-3, 5.0e-2, 1.0e-4]}}}
    jobs = planned(folder, TARGET, config=merged(SMALL, grid))
    assert jobs["finetune"] == jobs["evaluate"] == 2 and "pretrain" not in jobs
    assert set(jobs) == {"finetune", "evaluate", "tuning", "evaluate_tuned", "table"}


def test_another_measure_trains_nothing(tuned):
    folder, _ = tuned
    jobs = planned(folder, TARGET, config=merged(SMALL, {"tuning": {"by": "f1"}}))
    assert set(jobs) == {"tuning", "evaluate_tuned", "table"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tuning": {"grid": {"model.layer": [1, 2]}}},
            "tuning.grid.model: .*'layer' was unexpected.*; there are .*layers",
        ),
        ({"tuning": {"grid": {"model.layers": [0.5]}}}, "tuning.grid.model.layers: 0.5 is not of type"),
        ({"tuning": {"variant": "mine"}}, "tuning.variant names unknown variants: mine"),
        ({"tables": {"table": ["tuned_on_test"]}}, "first variant can't be tuned_on_test"),
        (
            {"variants": {"classifier_dropout0.0-heads1-layers1": {}}},
            "classifier_dropout0.0-heads1-layers1 is the name of a point",
        ),
        ({"variants": {"tuned_on_test": {}}}, "variants: .*tuned_on_test"),
    ],
)
def test_mistakes_in_the_config(tmp_path, change, message):
    said = snakemake(tmp_path, "-n", config=change, check=False)
    assert pd.Series([said]).str.contains(message).all(), said
