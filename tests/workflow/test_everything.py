"""What stands behind a table, as targets."""

import shutil

import pandas as pd
import pytest
from small_run import MINE, ONE_EPOCH, merged, planned, snakemake

FEW = {name: ["cmc"] for name in ("ablation", "experts", "dimension", "contrastive")}
ONE_TABLE = merged(ONE_EPOCH, {"tables": FEW | {"baselines": ["cmc", "late_average", "logistic", "lmf"]}})


def test_what_the_run_of_the_demo_left(demo):
    results = demo[0] / "results/demo"
    assert pd.read_csv(results / "calibration.csv").empty  # of five test clips
    assert set(pd.read_csv(results / "consensus.csv")["measure"]) >= {"weight", "entropy"}
    damages = pd.read_csv(results / "robustness.csv")["damage"]
    assert damages.value_counts().to_dict() == {"dropped": 9, "noise": 6, "missing": 3, "clean": 1}
    labels = pd.read_csv(results / "pseudo_labels.csv")
    assert labels["epoch"].tolist() == [1, 1, 1] and labels["kappa"].notna().all()
    assert pd.read_csv(results / "failures.csv")["n"].max() == 5


@pytest.mark.slow
def test_all_of_a_data_set_by_one_name(demo, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(demo[0], folder)  # the config is another: provenance changes
    snakemake(folder, "results/demo/all", config=ONE_TABLE)
    cost = pd.read_csv(folder / "results/demo/cost.csv")
    assert cost["model"].tolist() == ["cmc"] and cost["peak_memory_mb"][0] > 100
    table = pd.read_csv(folder / "results/demo/baselines.csv")
    assert table["model"].unique().tolist()[:4] == ["cmc", "late_average", "logistic", "lmf"]
    assert pd.read_csv(folder / "results/demo/significance.csv").empty  # of five test clips
    assert planned(folder, "results/demo/all", config=ONE_TABLE) == {}


@pytest.mark.slow
def test_trained_on_one_data_set_and_tested_on_another(demo, tmp_path):
    shutil.copytree(demo[0] / "results/demo/corpus", tmp_path / "a")
    shutil.copytree(demo[0] / "results/demo/corpus", tmp_path / "b")
    rate = {"features": {"vision": {"mediapipe": {"rate": 5}}}}
    own = {name: MINE | {"root": str(tmp_path / name)} for name in "ab"}
    config = ONE_EPOCH | rate | {"datasets": own, "cross_dataset": [{"train": "a", "test": "b"}]}
    said = snakemake(tmp_path, "results/cross_dataset.csv", config=config)
    table = pd.read_csv(tmp_path / "results/cross_dataset.csv")
    assert table[["trained_on", "tested_on", "model"]].drop_duplicates().values.tolist() == [
        ["b", "b", "cmc"],
        ["a", "b", "from_a"],
    ]
    assert (tmp_path / "results/b/from_a/seed1/predictions.csv").is_file() and "from_a" in said
    other = merged(config, {"datasets": {"b": {"language": "zh"}}})
    said = snakemake(tmp_path, "-n", "results/cross_dataset.csv", config=other, check=False)
    assert "Models of a can't be tested on b: language is en there and zh here" in said
    # another frame rate
    other = merged(config, {"datasets": {"b": {"features": {"vision": {"mediapipe": {"rate": 10}}}}}})
    said = snakemake(tmp_path, "results/cross_dataset.csv", config=other, check=False)
    assert "vision features of" in said and "made otherwise" in said and "rate" in said
