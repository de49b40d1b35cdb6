"""Tuning chooses by the validation split, and what it chose is what is evaluated."""

import json
import math
import re

import pandas as pd
import pytest
from configs import plan
from small_run import ONE_EPOCH, merged, planned, snakemake

from cmc.evaluation import tuning
from cmc.labels import Scheme
from cmc.training import checkpoint

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
    assert ranked["point"].tolist() == ["layers2", "layers3", "layers1"]


def test_equal_sums_are_equal_however_the_seeds_share_them():
    """Added in another order they differ in the last digit."""
    one, other = [300 / 456, 303 / 456, 303 / 456], [300 / 456, 301 / 456, 305 / 456]
    worse, better = [scores(a, loss=5) for a in one], [scores(a, loss=0.1) for a in other]
    for layers1, layers2, best in ((worse, better, "layers2"), (better, worse, "layers1")):
        names = {name: POINTS[name] for name in ("layers1", "layers2")}
        ranked = tuning.rank(names, runs(layers1=layers1, layers2=layers2), "acc2")
        assert ranked["point"].iloc[0] == best


def test_equal_points_stand_by_their_loss():
    ranked = tuning.rank(
        POINTS, runs(layers1=[scores(0.5)], layers2=[scores(0.5, loss=0.9)], layers3=[scores(0.6, 9)]), "acc2"
    )
    assert ranked["point"].tolist() == ["layers3", "layers2", "layers1"]


@pytest.mark.parametrize(
    ("by_point", "message"),
    [
        (runs(layers1=[scores(0.5)], layers2=[scores(0.5)]), r"layers3 has the seeds \[\], layers1 \[0\]"),
        (
            {
                (point, seed): scores(0.5)
                for point in POINTS
                for seed in ((0, 2) if point == "layers2" else (0, 1))
            },
            r"layers2 has the seeds \[0, 2\], layers1 \[0, 1\]",
        ),
        (
            runs(layers1=[scores(0.5)], layers2=[scores(0.5)], layers3=[scores(math.nan)]),
            "layers3 has a seed whose acc2 is not finite",
        ),
        (
            runs(layers1=[scores(0.5)], layers2=[scores(0.5, loss=math.inf)], layers3=[scores(0.5)]),
            "layers2 has a seed whose loss is not finite",
        ),
    ],
)
def test_grids_that_cannot_be_ranked(by_point, message):
    with pytest.raises(ValueError, match=message):
        tuning.rank(POINTS, by_point, "acc2")


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
    recipe = Scheme(has0="nonpositive_positive").facts
    path.write_text(json.dumps({"best_epoch": 1, "history": history, "recipe": recipe}))
    assert tuning.on_validation(path) == {"acc2": 0.7, "f1": 0.6, "loss": 0.9}
    path.write_text(json.dumps({"best_epoch": 0, "history": []}))
    with pytest.raises(checkpoint.CheckpointError, match=r"finetune.json.*finetune\.epochs"):
        tuning.on_validation(path)


ONE_AXIS = {"model.layers": None, "model.heads": None, "model.classifier_dropout": None}
SMALL = merged(
    ONE_EPOCH,
    {
        "tuning": {"grid": ONE_AXIS | {"finetune.lr": [1.0e-3, 5.0e-2]}},
        "tables": {"tuned": ["cmc", "tuned_on_validation", "tuned_on_test"]},
    },
)
TARGET = "results/demo/tuned.csv"
NAMES = ["lr0.001", "lr0.05"]


@pytest.fixture(scope="module")
def tuned(demo):
    folder, _ = demo
    return folder, snakemake(folder, TARGET, config=SMALL)


def replanned(folder, **tuning):
    return planned(folder, TARGET, config=merged(SMALL, {"tuning": tuning}))


def test_what_is_evaluated_is_the_point_that_was_chosen(tuned):
    folder, said = tuned
    demo = folder / "results/demo"
    table = pd.read_csv(demo / "tuned.csv")
    assert table["model"].unique()[:3].tolist() == SMALL["tables"]["tuned"]
    for split in ("validation", "test"):
        ranked = pd.read_csv(demo / f"tuning_on_{split}.csv")
        assert sorted(ranked["point"]) == NAMES and ranked["seeds"].tolist() == [2, 2]
        assert ranked["acc2_mean"].is_monotonic_decreasing
        for seed in SMALL["seeds"]:
            chosen, best, worst = (
                (demo / f"{name}/seed{seed}/predictions.csv").read_bytes()
                for name in (f"tuned_on_{split}", *ranked["point"])
            )
            assert chosen == best != worst
        best, name = ranked.iloc[0], f"tuned_on_{split}"
        paths = [demo / f"{name}/seed{seed}/metrics.json" for seed in SMALL["seeds"]]
        scores = [json.loads(path.read_text())["models"][name]["test"]["acc2"] for path in paths]
        if split == "test":
            assert 100 * sum(scores) / len(scores) == pytest.approx(best["acc2_mean"], abs=0.01)
        assert re.search(rf"  1  {best['point']} +acc2 {best['acc2_mean']:.2f} over 2 seeds\n", said)


def test_points_share_the_stage_1_of_the_variant_that_they_change(tuned):
    folder, _ = tuned
    assert not list((folder / "results/demo").glob("lr*/seed*/pretrain.safetensors"))


@pytest.mark.parametrize("rates", [[1.0e-3, 5.0e-2, 1.0e-4], [1.0e-4, 1.0e-3, 5.0e-2]])
def test_a_point_more_trains_that_point_alone(tuned, rates):
    folder, _ = tuned
    assert planned(folder, TARGET, config=SMALL) == {}
    jobs = replanned(folder, grid={"finetune.lr": rates})
    assert jobs["finetune"] == jobs["evaluate"] == 2
    assert set(jobs) == {"finetune", "evaluate", "tuning", "evaluate_tuned", "table"}


def test_order_and_another_measure_train_nothing(tuned):
    folder, _ = tuned
    assert replanned(folder, grid={"finetune.lr": [5.0e-2, 1.0e-3]}) == {}
    assert planned(folder, TARGET, config=SMALL | {"seeds": SMALL["seeds"][::-1]}) == {}
    for change in ({"by": "f1"}, {"without": NAMES[:1]}):
        assert set(replanned(folder, **change)) == {"tuning", "evaluate_tuned", "table"}
    backwards = SMALL["tables"]["tuned"][::-1]  # the first one's unimodal models are the table's
    jobs = planned(folder, TARGET, config=merged(SMALL, {"tables": {"tuned": backwards}}))
    assert set(jobs) == {"table"}


def test_points_share_stage_1_where_it_is_the_same():
    """Whatever else is in the grid, and whichever variants there are."""

    def pretrainings(**change):
        variants, _ = plan(**merged(merged(SMALL, {"tuning": {"grid": grid}}), change))
        paths = {variants.pretrained("demo", point, "seed1") for point in ["cmc", *variants.grid.points]}
        return {path.split("/")[2] for path in paths}

    grid = ONE_AXIS | {"model.layers": [2, 1], "finetune.lr": [1.0e-3, 5.0e-2]}
    assert pretrainings() == {"cmc", "layers1", "layers2"}
    assert pretrainings(variants={"alike": {"model": {"layers": 2}}}) == {"cmc", "layers1", "layers2"}
    fewer = {"grid": {"model.layers": [1, 2]}, "without": ["lr0.05-layers2", "lr0.001-layers2"]}
    assert pretrainings(tuning=fewer) == {"cmc", "layers1"}


def test_a_grid_that_needs_unimodal_labels_is_left_out_where_there_are_none(tmp_path):
    grid = ONE_AXIS | {"finetune.labels": ["pseudo", "annotated"]}
    change = {"tuning": {"grid": grid}, "datasets": {"demo": {"unimodal_labels": False}}}
    assert planned(tmp_path, TARGET, config=merged(SMALL, change))["finetune"] == len(SMALL["seeds"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tuning": {"grid": {"model.layer": [1, 2]}}},
            "tuning.grid.model: .*'layer' was unexpected.*; there are .*layers",
        ),
        ({"tuning": {"grid": {"model.layers": [0.5]}}}, "tuning.grid.model.layers: 0.5 is not of type"),
        ({"tuning": {"grid": ONE_AXIS}}, "tuning.grid: all settings are null"),
        ({"tuning": {"grid": {"finetune.lr": [1.0e20]}}}, r"tuning.grid: lr1e\+20\S* is no file name"),
        ({"tuning": {"without": ["layers9"]}}, "tuning.without: the grid has no layers9"),
        ({"tuning": {"variant": "mine"}}, "tuning.variant names unknown variants: mine; there are cmc"),
        ({"tables": {"table": ["tuned_on_test"]}}, "first variant can't be tuned_on_test"),
        (
            {"variants": {"classifier_dropout0.0-heads1-layers1": {}}},
            "classifier_dropout0.0-heads1-layers1 is the name of a point",
        ),
        ({"variants": {"tuned_on_test": {}}}, "variants: .*tuned_on_test"),
        (
            {"tuning": {"grid": {"model.heads": [3]}}},
            r"heads3\S+ of demo can't be trained: its dim \(32\) must be a multiple of heads \(3\)",
        ),
    ],
)
def test_mistakes_in_the_config(tmp_path, change, message):
    said = snakemake(tmp_path, "-n", TARGET, config=change, check=False)
    assert re.search(message, said), said
