"""Settings by variant and data set, the tuning grid, and whose stage 1 a variant starts from."""

import re

import pytest
from configs import MINE, plan

from cmc.planning.config import PlanError
from cmc.planning.grid import TUNED, of_stage1
from cmc.planning.variants import benchmarks

SMALL_GRID = {"model.layers": [2, 1], "finetune.lr": [0.001, 0.0005], "model.heads": None}
SMALL_GRID |= {"model.classifier_dropout": None}


def test_a_data_set_lies_over_the_sections_and_a_variant_over_both():
    variants, _ = plan()
    assert variants.settings("model", "mosi", "cmc")["layers"] == 2
    assert variants.settings("model", "mosi", "dim_128") == variants.settings("model", "mosi", "cmc") | {
        "dim": 128
    }
    assert variants.settings("model", "chsims", "cmc_gt")["layers"] == 1  # the data set's own of that variant


def test_points_have_names_and_settings():
    variants, _ = plan(tuning={"grid": SMALL_GRID})
    assert list(variants.grid.points) == [
        "lr0.0005-layers1",
        "lr0.0005-layers2",
        "lr0.001-layers1",
        "lr0.001-layers2",
    ]
    point = "lr0.0005-layers1"
    assert variants.settings("finetune", "demo", point)["lr"] == 0.0005
    assert variants.settings("model", "demo", point)["layers"] == 1
    assert variants.settings("pretrain", "demo", point)["lr"] == 0.001


def test_points_that_differ_in_stage_2_alone_share_stage_1():
    variants, _ = plan(tuning={"grid": SMALL_GRID})
    paths = {point: variants.pretrained("demo", point, 1) for point in variants.grid.points}
    assert paths["lr0.0005-layers1"] == paths["lr0.001-layers1"] != paths["lr0.001-layers2"]
    assert of_stage1({"model.layers": 1, "model.top_k": 2, "finetune.lr": 1, "pretrain.lr": 2}) == {
        "model.layers": 1,
        "pretrain.lr": 2,
    }


def test_variants_that_pretrain_alike_share_stage_1():
    variants, _ = plan()
    assert variants.owners("demo")["no_mcr"] == variants.owners("demo")["fusion_sum"] == "cmc"
    assert variants.owners("demo")["no_plgm"] == "no_plgm"
    assert variants.pretrained("demo", "top_1", "seed7") == "results/demo/cmc/seed7/pretrain.safetensors"


def test_a_stage_has_what_it_depends_on_and_no_more():
    variants, _ = plan()
    assert {"fusion", "router", "top_k", "temperature"} == set(variants.stage2("demo", "cmc")["model"])
    assert not {"fusion", "router", "top_k", "temperature"} & set(variants.stage1("demo", "cmc")["model"])
    assert variants.stage1("demo", "cmc") == variants.stage1("demo", "no_mcr")


def test_no_more_experts_than_modalities():
    variants, _ = plan(datasets={"mine": MINE | {"features": {"vision": {"extractor": "none"}}}})
    assert variants.stage2("mine", "cmc")["model"]["top_k"] == 2


def test_variants_that_need_unimodal_labels_are_left_out_where_there_are_none():
    variants, _ = plan()
    assert "cmc_gt" in variants.of_table("demo", "ablation")
    assert variants.needs_annotation("demo", "cmc_gt") and not variants.needs_annotation("demo", "cmc")
    assert variants.of_table("mosi", "ablation") == [
        v for v in variants.of_table("demo", "ablation") if v != "cmc_gt"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"tables": {"table": ["cmc", "nothing"]}},
            "tables.table names unknown variants: nothing; there are cmc",
        ),
        ({"tables": {"table": [TUNED[0]]}}, "first variant can't be tuned_on_validation"),
        ({"tuning": {"variant": "other"}}, "tuning.variant names unknown variants: other"),
        ({"tuning": {"without": ["layers9"]}}, "the grid has no layers9"),
        ({"tuning": {"grid": {"model.heads": [0]}}}, r"tuning\.grid\.model\.heads: 0 is less than"),
        ({"tuning": {"grid": dict.fromkeys(SMALL_GRID)}}, "tuning.grid"),
        ({"datasets": {"mine": MINE | {"variants": {"other": {}}}}}, "datasets.mine.variants"),
    ],
)
def test_mistakes_of_variants_are_told(changes, told):
    with pytest.raises(PlanError, match=told):
        plan(**changes)


def test_heads_must_divide_the_dimension():
    variants, _ = plan(model={"dim": 30}, datasets={"mine": MINE})
    with pytest.raises(PlanError, match=r"cmc of mine can't be trained: its dim \(30\)"):
        variants.stage1("mine", "cmc")


def test_an_unknown_variant_is_named():
    variants, _ = plan()
    with pytest.raises(PlanError, match="There is no variant nothing; there are cmc, cmc_gt"):
        variants.settings("model", "demo", "nothing")


def test_what_tuning_chooses_by_must_suit_the_labels():
    named = {key: value for key, value in MINE.items() if key not in ("label_range", "has0")}
    mine = {"mine": named | {"classes": ["happy", "sad"]}}
    assert plan(datasets=mine)[0].tuned_by("mine") is None
    assert plan(datasets=mine, tuning={"by": "wa"})[0].tuned_by("mine") == "wa"
    with pytest.raises(PlanError, match=r"tuning\.by is f1, which mine does not have: choose uar"):
        plan(datasets=mine, tuning={"by": "f1"})[0].tuned_by("mine")
    with pytest.raises(PlanError, match="divided into folds"):
        plan(datasets={"mine": MINE | {"split": {"by": "speaker"}}})[0].tuned_by("mine")


def test_baselines_are_rows_of_tables_where_all_modalities_are_there():
    variants, _ = plan()
    assert variants.of_table("demo", "baselines")[:3] == ["cmc", "late_average", "logistic"]
    blind, _ = plan(datasets={"demo": {"features": {"vision": {"extractor": "none"}}}})
    assert blind.of_table("demo", "baselines") == ["cmc", "late_average", "logistic"]
    sources = variants.baseline_sources("demo", "late_average", 7)
    assert sources == [f"results/demo/cmc/seed7/{name}.csv" for name in ("predictions", "validation")]
    assert variants.baseline_sources("demo", "tfn", 7) == ["results/demo/tfn/seed7/baseline.safetensors"]
    stage = variants.baselines.stage("mosi", "lmf", True)
    assert (
        stage["model"]["rank"] == 3
        and stage["model"]["hidden"]["audio"] == 16
        and stage["settings"]["batch"] == 64
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"baselines": {"nosuch": {}}},
            "no architecture is called nosuch; there are lf_dnn, lmf, misa, mult, self_mm, tfn",
        ),
        (
            {"baselines": {"tfn": {"model": {"rank": 3}}}},
            r"baselines.tfn.model: unknown rank; there are hidden",
        ),
        ({"baselines": {"logistic": {"lr": 1}}}, r"baselines.logistic: has no settings but class_weights"),
        ({"datasets": {"demo": {"baselines": {"mine": {}}}}}, "there is no baseline mine"),
        (
            {"baselines": {"self_mm": {"objective": "classification"}}},
            "self_mm: it learns scores, not classes",
        ),
        (
            {
                "datasets": {
                    "demo": {"baselines": {"tfn": {"objective": "regression", "class_weights": "balanced"}}}
                }
            },
            "tfn: class_weights are of classes",
        ),
        ({"baselines": {"tfn": {"grid": {"model.rank": [3]}}}}, "tfn.model: unknown rank"),
        ({"baselines": {"tfn": {"grid": {"lr": [-1]}}}}, r"baselines.tfn.grid.lr: -1 is less than"),
        ({"baselines": {"tfn": {"grid": {"lr": None}}}}, r"baselines.tfn.grid: all settings are null"),
        ({"baselines": {"cmc": {"architecture": "tfn"}}}, "baselines: cmc is the name of a variant"),
    ],
)
def test_mistakes_in_baselines_are_told(changes, told):
    with pytest.raises(PlanError, match=told):
        plan(**changes)


def test_the_points_of_a_baselines_grid_are_trained_and_the_best_is_evaluated():
    grid = {"lr": [0.1, 0.2], "model.text_out": [8]}
    variants, _ = plan(datasets={"demo": {"baselines": {"tfn": {"grid": grid}}}})
    own = variants.baselines
    points = ["tfn_lr0.1-text_out8", "tfn_lr0.2-text_out8"]
    assert own.points("demo", "tfn") == points and own.points("chsims", "tfn") == [] and own.tuned == ["tfn"]
    assert set(points) < set(own.folders) and own.owner("demo", points[1]) == "tfn"
    stage, whole = own.stage("demo", points[1], True), own.stage("chsims", "tfn", True)
    assert (
        stage["settings"]["lr"] == 0.2 and stage["model"]["text_out"] == 8 and "grid" not in stage["settings"]
    )
    assert stage["model"] | {"text_out": 256} == whole["model"]
    assert variants.baseline_sources("demo", "tfn", 7) == [
        f"results/demo/{point}/seed7/baseline.safetensors" for point in points
    ]
    assert not re.fullmatch(variants.pattern, points[0] + "/")
    with pytest.raises(PlanError, match="lmf of demo has no grid"):
        variants.baseline_points("demo", "lmf", [1])


def test_jobs_are_timed_under_the_name_of_their_checkpoint():
    variants, _ = plan()
    paths = variants.checkpoints("demo", "top_1", [7], "pretrain") + variants.baseline_checkpoints(
        "demo", "tfn", [7]
    )
    expected = [
        "results/demo/benchmarks/pretrain-cmc-seed7.tsv",
        "results/demo/benchmarks/baseline-tfn-seed7.tsv",
    ]
    assert benchmarks(paths) == expected


def test_emotions_by_name_have_no_regression():
    variants, _ = plan()
    assert "self_mm" in variants.of_table("demo", "baselines")
    named, _ = plan(datasets={"demo": {"classes": {"calm": None, "angry": None}}})
    assert "self_mm" not in named.of_table("demo", "baselines") and "tfn" in named.of_table(
        "demo", "baselines"
    )


def test_the_best_of_a_grid_has_no_cost_row():
    variants, _ = plan(tables={"table": ["cmc", "tuned_on_validation", "logistic"]})
    costed = variants.costed("demo")
    assert costed[0] == "cmc" and "tfn" in costed and not {*TUNED, "logistic", "late_average"} & set(costed)


def test_pairs_are_compared_by_what_labels_become():
    own = {key: value for key, value in MINE.items() if key not in ("label_range", "has0")}
    spelled = {"a": ["happy", "sad"], "b": {"hap": "happy", "sad": "sad"}, "c": ["happy", "angry"]}
    variants, _ = plan(datasets={name: own | {"classes": classes} for name, classes in spelled.items()})
    assert variants.pair("a", "b") == ["a", "b"]
    with pytest.raises(PlanError, match="classes is"):
        variants.pair("a", "c")
