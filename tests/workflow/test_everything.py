"""What stands behind a table, as targets."""

import json
import shutil

import pandas as pd
import pytest
from small_run import MINE, ONE_EPOCH, merged, planned, snakemake

FEW = {name: ["cmc"] for name in ("ablation", "experts", "dimension", "contrastive")}
OTHERS = ["late_average", "logistic", "lmf", "self_mm"]
GRID = {"lmf": {"epochs": 2, "grid": {"lr": [0.001, 0.01]}}, "self_mm": {"epochs": 1}}
ONE_TABLE = merged(ONE_EPOCH, {"tables": FEW | {"baselines": ["cmc", *OTHERS]}, "baselines": GRID})


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
    results = folder / "results/demo"
    cost = pd.read_csv(results / "cost.csv")  # the best of a grid is another's training
    assert cost["model"].tolist() == ["cmc", "text", "audio", "vision", "self_mm"]
    assert cost["peak_memory_mb"][0] > 100
    table = pd.read_csv(results / "baselines.csv")
    assert table["model"].unique().tolist()[:5] == ["cmc", *OTHERS] and "mae_mean" in table
    points = pd.read_csv(results / "tuning_of_lmf.csv")
    assert set(points["point"]) == {"lmf_lr0.001", "lmf_lr0.01"} and points["seeds"].tolist() == [2, 2]
    scores = json.loads((results / "lmf/seed1/metrics.json").read_text())
    assert scores["variant"] == "lmf" and scores["objective"] == "classification"
    assert not (results / "lmf_lr0.01/seed1/metrics.json").exists()  # no point is tested
    assert pd.read_csv(results / "significance.csv").empty  # of five test clips
    report = (results / "report.html").read_text()
    assert 'id="cost"' in report and "cmc-workflow" in report
    assert {"routing.svg", "routing.pdf", "routing.csv"} <= {
        path.name for path in (results / "figures").iterdir()
    }
    assert "\\toprule" in (results / "baselines.tex").read_text()
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
