"""Baselines learn, resume to the same bytes, and are evaluated like everything else."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import write_features

from cmc.corpus import consistency
from cmc.evaluation import baseline as evaluation
from cmc.evaluation import simple, statistics, tables
from cmc.features import store
from cmc.labels import Scheme
from cmc.models import baselines
from cmc.training import baseline, dataset, loop

HAS0 = "nonpositive_positive"
SIMS = Scheme(has0=HAS0)
SMALL = {
    "lf_dnn": {
        "hidden": {"text": 8, "audio": 6, "vision": 6},
        "text_out": 8,
        "post_fusion": 8,
        "fusion_dropout": 0.0,
    },
    "tfn": {
        "hidden": {"text": 6, "audio": 4, "vision": 4},
        "text_out": 5,
        "post_fusion": 8,
        "fusion_dropout": 0.0,
    },
    "lmf": {"hidden": {"text": 8, "audio": 4, "vision": 4}},
    "mult": {"dim": 8, "heads": 2, "layers": 1, "text_dropout": 0.0},
    "misa": {"hidden": 8},
    "self_mm": {},
}
REGRESSION = {"objective": "regression"}
SETTINGS = {"epochs": 25, "patience": 25, "batch": 8, "lr": 5e-3, "clip": 1.0}


def train(features, out, name, seed=1, **changes):
    settings = SETTINGS | (REGRESSION if name == "self_mm" else {}) | changes.pop("settings", {})
    baseline.run(
        features,
        out,
        architecture=name,
        model=SMALL[name],
        settings=settings,
        has0=HAS0,
        seed=seed,
        **changes,
    )
    return out


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(
        tmp_path_factory.mktemp("baselines") / "f.h5", splits={"train": 48, "valid": 15, "test": 15}
    )


@pytest.mark.parametrize("name", SMALL)
def test_it_learns(features, tmp_path, name):
    trained = baseline.TrainedBaseline(train(features, tmp_path / "b.safetensors", name))
    history = trained.facts["history"]
    assert history[-1]["train_loss_task"] < 0.8 * history[0]["train_loss_task"]
    test = dataset.load(features, "test")
    said = baseline.answers(trained.outputs(test), SIMS, trained.neutral)
    assert (said[:, 1] == test.classes("M").numpy()).mean() > 0.5
    assert trained.facts["best_epoch"] == min(history, key=lambda one: one["validation_loss"])["epoch"]


@pytest.mark.parametrize("name", ["lmf", "misa", "self_mm"])
def test_a_run_that_was_cut_off_ends_with_the_same_bytes(features, tmp_path, monkeypatch, name):
    settings = {"epochs": 6, "plateau": 0, "accumulate": 2}
    whole = train(features, tmp_path / "whole.safetensors", name, settings=settings)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    step, epochs = baseline.BaselineTraining.train_epoch, []

    def dies(stage, epoch):
        epochs.append(epoch)
        if len(epochs) == 4:
            raise RuntimeError("killed")
        return step(stage, epoch)

    monkeypatch.setattr(baseline.BaselineTraining, "train_epoch", dies)
    with pytest.raises(RuntimeError, match="killed"):
        train(features, tmp_path / "cut.safetensors", name, settings=settings)
    train(features, tmp_path / "cut.safetensors", name, settings=settings)
    assert epochs == [1, 2, 3, 4, 4, 5, 6]
    assert (tmp_path / "cut.safetensors").read_bytes() == whole.read_bytes()


def test_gradients_of_several_batches_are_added(features, tmp_path):
    """Without dropout and BatchNorm of its own, two batches at once are one of their size."""
    train_split = dataset.load(features, "train")
    places = np.arange(16)
    grads = []
    for batches, accumulate in (([places], 1), ([places[:8], places[8:]], 2)):
        torch.manual_seed(0)
        model = baselines.build("mult", train_split.widths, 3, SMALL["mult"] | {k: 0.0 for k in (
            "relu_dropout", "embed_dropout", "residual_dropout", "text_dropout", "output_dropout")}
            | {"attention_dropouts": dict.fromkeys(("text", "audio", "vision"), 0.0)})  # fmt: skip
        settings = baseline.BaselineSettings(accumulate=accumulate)
        stage = baseline.BaselineTraining(
            model, settings, train_split, train_split, SIMS, lambda _, b=batches: b
        )
        kept = []
        stage.step = lambda m=model, k=kept: k.append([p.grad.clone() for p in m.parameters()])
        stage.train_epoch(1)
        assert len(kept) == 1
        grads.append(kept[0])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(2 * one, two, rtol=1e-4, atol=1e-6)


def test_the_learning_rate_falls_on_a_plateau(features, tmp_path):
    trained = baseline.TrainedBaseline(
        train(
            features, tmp_path / "b.safetensors", "lf_dnn", settings={"epochs": 12, "lr": 0.5, "plateau": 1}
        )
    )
    rates = [one["lr"] for one in trained.facts["history"]]
    assert rates[0] == 0.5 and rates[-1] < 0.5


# evaluation


def evaluated(features, folder, kind, sources, **changes):
    with store.Reader(features) as reader:
        clips = reader.table("clips")
    parts = consistency.split(clips[clips["split"] == "test"], "three_class")
    consistency.write(parts, folder / "subsets.csv")
    outputs = [folder / name for name in ("predictions.csv", "validation.csv", "metrics.json")]
    arguments = {"name": "x", "variant": kind, "seed": 1, "has0": HAS0, "mask_padding": True} | changes
    evaluation.run(features, kind, sources, folder / "subsets.csv", *outputs, **arguments)
    return pd.read_csv(outputs[0]), pd.read_csv(outputs[1]), json.loads(outputs[2].read_text())


def test_what_evaluation_writes_fits_into_a_table(features, tmp_path):
    path = train(features, tmp_path / "b.safetensors", "lf_dnn")
    test, valid, scores = evaluated(features, tmp_path, "trained", [path])
    assert len(test) == 15 and len(valid) == 15 and set(scores["models"]) == {"trained", "majority"}
    logits = baseline.TrainedBaseline(path).outputs(dataset.load(features, "test"))
    np.testing.assert_allclose(test[[f"logits_{name}" for name in SIMS.classes]], logits, rtol=1e-6)
    table = tables.table([scores], tables.published_values())
    assert table["model"].tolist()[::3] == ["trained", "majority"] and "mae_mean" not in table


def test_a_regression_is_scored_by_its_sign_and_its_distance(features, tmp_path):
    path = train(features, tmp_path / "b.safetensors", "tfn", settings=REGRESSION)
    test, valid, scores = evaluated(features, tmp_path, "trained", [path])
    assert "probability_neutral" not in test and "score" in valid and scores["objective"] == "regression"
    labels, told = test["label"], test["score"]
    whole = scores["models"]["trained"]["test"]
    assert whole["acc2"] == pytest.approx(((told > 0) == (labels > 0)).mean())
    assert whole["mae"] == pytest.approx((told - labels).abs().mean())
    assert whole["corr"] == pytest.approx(np.corrcoef(told, labels)[0, 1])
    trained = baseline.TrainedBaseline(path)
    assert trained.neutral == dataset.load(features, "train").clips["label"].abs().replace(0, 9).min() / 2
    np.testing.assert_array_equal(test["prediction"] == 1, told.abs() <= trained.neutral)
    # beside a classification, whose cells stay empty
    other, *_, classified = evaluated(features, tmp_path, "logistic", [])
    runs = [classified, scores]
    for table in (other, test):
        table["cluster"] = [f"speaker{i // 2}" for i in range(len(table))]
    predictions = {"logistic": [other], "trained": [test]}
    tested = statistics.of_table(predictions, runs, tmp_path / "subsets.csv", 200, 0)
    table = tables.table(runs, tables.published_values(), *tested).set_index(["model", "subset"])
    row = table.loc["trained", "test"]
    assert row["mae_mean"] == pytest.approx(whole["mae"], abs=1e-4) and np.isnan(
        table.loc["logistic", "test"]["mae_mean"]
    )
    assert (
        row["mae_low"] < row["mae_mean"] < row["mae_high"] and -1 <= row["corr_low"] < row["corr_high"] <= 1
    )
    tables.write(table.reset_index(), tmp_path / "t.csv")
    assert str(round(row["mae_mean"], 4)) in (tmp_path / "t.csv").read_text()
    assert "MAE" in tables.show(table.reset_index()).splitlines()[0]


def test_classes_by_name_cannot_be_regressed(tmp_path):
    features = write_features(tmp_path / "f.h5", splits={"train": 12, "valid": 6})
    with h5py.File(features, "a") as file:
        file.attrs["classes"] = json.dumps(["calm", "angry"])
        del file["clips/label"]
        file["clips/label"] = np.array([b"calm", b"angry"] * 9, dtype=h5py.string_dtype())
    with pytest.raises(ValueError, match="only labels that are numbers can be regressed"):
        train(features, tmp_path / "b.safetensors", "tfn", settings=REGRESSION)


def test_logistic_regression_finds_what_is_there(features, tmp_path):
    test, _, scores = evaluated(features, tmp_path, "logistic", [])
    assert scores["models"]["logistic"]["test"]["acc3"] > 0.6
    chances = test[[f"probability_{name}" for name in SIMS.classes]]
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)


def test_logistic_regression_weighs_classes(tmp_path):
    """Labels that features say nothing of, nine of ten in one class: only balanced does it call others."""
    splits = {}
    for number, name in enumerate(("train", "valid", "test")):
        path = write_features(tmp_path / f"{name}.h5", seed=number, splits={name: 90})
        with h5py.File(path, "a") as file:
            file["clips/label"][:] = np.where(np.arange(90) % 10 == 5, -1.0, 1.0)
            for modality in ("text", "audio", "vision"):
                values = file[f"{modality}/values"]
                values[:] = np.random.default_rng(number).normal(size=values.shape)
        splits[name] = dataset.load(path, name)
    share = {
        weights: simple.logistic(splits, SIMS, weights)[0]["test"].argmax(axis=1).mean()
        for weights in ("none", "balanced")
    }
    assert share["none"] > 1.8 > share["balanced"]


def test_pooled_features_by_hand(features):
    split = dataset.load(features, "test")
    found = simple.pooled(split)
    text = split.features["text"]
    rows = text.values[text.offsets[1] : text.offsets[2]].numpy().astype(float)
    np.testing.assert_allclose(found[1, :6], rows.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found[1, 6:12], rows.std(axis=0), atol=1e-6)
    assert found.shape == (15, 2 * (6 + 5 + 4))


def test_the_late_average_by_hand():
    logits = {"text": [0.0, 0.0, 0.0], "audio": [np.log(4), 0.0, np.log(5)]}
    columns = {f"logits_{name}": [9.0] for name in SIMS.classes}
    for modality, own in logits.items():
        columns |= {f"pretrain_{modality}_{name}": [v] for name, v in zip(SIMS.classes, own, strict=True)}
    frame = pd.DataFrame(columns)
    chances = np.exp(simple.late_average(frame, SIMS))
    np.testing.assert_allclose(chances, [[(1 / 3 + 0.4) / 2, (1 / 3 + 0.1) / 2, (1 / 3 + 0.5) / 2]])


def test_a_class_without_training_clips_gets_a_number(tmp_path):
    features = write_features(tmp_path / "f.h5", splits={"train": 48, "valid": 15, "test": 15})
    with h5py.File(features, "a") as file:
        labels, is_train = file["clips/label"][:], file["clips/split"].asstr()[:] == "train"
        labels[is_train & (labels == 0)] = 1
        file["clips/label"][:] = labels
    splits = {name: dataset.load(features, name) for name in ("train", "valid", "test")}
    found, _ = simple.logistic(splits, SIMS)
    assert np.isfinite(found["test"]).all() and (found["test"].argmax(axis=1) != 1).all()
