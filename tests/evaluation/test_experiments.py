"""Calibration, consensus, failures, robustness, cost and other data: each number against one by hand."""

import json
import math
import shutil
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, cohen_kappa_score, log_loss
from synthetic import SPLITS, write_features

from cmc.corpus import consistency
from cmc.evaluation import calibration, consensus, cost, cross, evaluate, robustness, tables
from cmc.features import store
from cmc.labels import Scheme
from cmc.models.cmc import Dimensions, MultimodalModel, UnimodalModel
from cmc.training import baseline, dataset, finetune, pretrain
from cmc.training.pretrain import kappa

HAS0 = "nonpositive_positive"
SIMS = Scheme(has0=HAS0)
MODEL = {"dim": 8, "layers": 1, "heads": 2}


def trained(folder, features, seed):
    """Checkpoints of a run on a feature file."""
    torch.set_num_threads(1)  # more of them add in another order
    first, second = folder / f"p{seed}.safetensors", folder / f"f{seed}.safetensors"
    pretrain.run(features, first, model=MODEL, settings={"epochs": 3}, has0=HAS0, seed=seed)
    finetune.run(features, first, second, model={}, settings={"epochs": 3, "train_text_encoder": False})
    return first, second


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Features, checkpoints of two seeds, and what evaluation wrote of them."""
    folder = tmp_path_factory.mktemp("experiments")
    features = write_features(folder / "features.h5", splits=SPLITS | {"test": 30}, missing_frames=True)
    with store.Reader(features) as reader:
        clips = reader.table("clips")
    parts = consistency.split(clips[clips["split"] == "test"], "three_class")
    consistency.write(parts, folder / "subsets.csv")
    pretrained, finetuned = zip(*(trained(folder, features, seed) for seed in (1, 2)), strict=True)
    for seed, *paths in zip((1, 2), pretrained, finetuned, strict=True):
        outputs = [folder / f"{name}{seed}" for name in ("test.csv", "valid.csv", "metrics.json")]
        evaluate.run(
            features, *([path] for path in paths), folder / "subsets.csv", *outputs, name="x", variant="cmc"
        )
    read = [
        [pd.read_csv(folder / f"{name}{seed}", dtype={"clip_id": str}) for seed in (1, 2)]
        for name in ("test.csv", "valid.csv")
    ]
    return folder, features, pretrained, finetuned, *read


def test_predictions_of_both_splits_are_kept_with_probabilities(run):
    *_, test, valid = run
    assert [len(own) for own in (*test, *valid)] == [30, 30, 9, 9]
    chances = test[0][[f"probability_{name}" for name in SIMS.classes]].to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert (chances.argmax(axis=1) == test[0]["prediction"]).all() and not set(test[0]["clip_id"]) & set(
        valid[0]["clip_id"]
    )


# calibration


def test_measures_by_hand_and_by_scikit_learn():
    chances = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]])
    classes = np.array([0, 1, 1, 1])
    found = calibration.measure(chances, classes)
    # four bins of a clip each: |1 - 0.7|, |0 - 0.6|, |1 - 0.8|, |1 - 0.9|
    assert found["ece"] == pytest.approx((0.3 + 0.6 + 0.2 + 0.1) / 4)
    assert found["brier"] == pytest.approx(2 * brier_score_loss(classes, chances[:, 1], scale_by_half=True))
    assert found["nll"] == pytest.approx(log_loss(classes, chances))


def test_bins_hold_equally_many_clips_from_the_least_sure_on():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1, 1, 1], 105)
    table = calibration.bins(chances, rng.integers(0, 3, 105))
    assert table["n"].tolist() == [11] * 5 + [10] * 5 and table["confidence"].is_monotonic_increasing


@given(st.floats(0.2, 5), st.integers(0, 2**32 - 1))
def test_the_temperature_of_a_model_that_is_too_sure_is_found(heat, seed):
    """Labels drawn by a model's own probabilities, whose logits are then multiplied."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(4000, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (rng.random(4000)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    assert calibration.temperature(heat * logits, classes) == pytest.approx(heat, rel=0.15)


def test_a_table_of_calibration(run):
    folder, *_, test, valid = run
    table, bins = calibration.evaluate(test, valid, consistency.read(folder / "subsets.csv"), SIMS, "cmc")
    experts = [f"expert_{modality}" for modality in ("text", "audio", "vision")]
    assert table["model"].unique().tolist() == ["cmc", "text", "audio", "vision", *experts]
    row = table[(table["model"] == "cmc") & (table["subset"] == "test")].iloc[0]
    assert row["n"] == 30 and row["seeds"] == 2
    by_seed = []
    for tested, seen in zip(test, valid, strict=True):
        logits, known = (own[[f"logits_{c}" for c in SIMS.classes]].to_numpy() for own in (tested, seen))
        warmth = calibration.temperature(known, seen["class"].to_numpy())
        scaled = np.exp(logits / warmth)
        by_seed.append(log_loss(tested["class"], scaled / scaled.sum(axis=1, keepdims=True)))
    assert row["nll_after"] == pytest.approx(np.mean(by_seed), abs=1e-6)
    assert row["nll_after_std"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-6)
    assert bins.loc[(bins["model"] == "cmc") & (bins["scaled"] == "after"), "n"].sum() == 60


def test_folds_have_temperatures_of_their_own(run):
    """One fold's models are three times too sure: only its clips are cooled."""
    *_, test, valid = run
    first = [own.assign(fold=1) for own in (test[0], valid[0])]
    columns = [column for column in test[0] if column.startswith(("logits_", "pretrain_"))]
    second = [own.assign(fold=2, **{name: 3 * own[name] for name in columns}) for own in (test[0], valid[0])]
    tested, seen = (pd.concat(both, ignore_index=True) for both in zip(first, second, strict=True))
    logits = calibration.logits_of(seen, "cmc", SIMS)["cmc"]
    found = calibration.temperatures(tested, seen, logits, "cmc")
    assert found[30:] == pytest.approx(3 * found[:30], rel=0.01) and len(set(found)) == 2


def test_an_expert_that_no_test_clip_was_given_has_no_row(run):
    *_, test, valid = run
    tested = test[0].assign(router_audio=0.0)
    table, bins = calibration.evaluate([tested], valid[:1], {}, SIMS, "cmc")
    assert {"expert_text", "expert_vision"} <= set(table["model"])
    assert not {"expert_audio"} & {*table["model"], *bins["model"]}


# consensus


def test_experts_count_on_the_clips_that_the_router_gave_them(run):
    *_, test, _ = run
    own = test[0].assign(router_audio=np.where(np.arange(30) < 6, 0.5, 0.0))
    table = consensus.weights([own], {}, SIMS).set_index(["group", "measure", "modality"])
    wrong = own[[f"audio_{name}" for name in SIMS.classes]].to_numpy().argmax(axis=1) != own["class"]
    saved = wrong & (own["prediction"] == own["class"])
    row = table.loc[("test", "expert_wrong_consensus_right", "audio")]
    assert row["n"] == 6 and row["mean"] == pytest.approx(saved[:6].mean())
    assert table.loc[("test", "weight", "audio"), "n"] == 30


def test_who_dissents():
    clips = pd.DataFrame(
        {
            "class": [0, 0, 2, 1, 1],
            "label_T": [-1, 1, 0.2, 1, np.nan],
            "label_A": [-0.2, -1, 0.4, -1, 0],
            "label_V": [-1, -1, 0.6, 0, 0],
        }
    )
    found = consensus.dissenting(clips, ("text", "audio", "vision"), SIMS)
    assert found.tolist() == ["none", "text", "none", "several", ""]
    assert consensus.dissenting(clips.drop(columns="label_T"), ("text", "audio", "vision"), SIMS) is None


def test_weights_and_who_is_right_where_another_is_wrong():
    frame = pd.DataFrame({"clip_id": list("abcd"), "class": [0, 0, 1, 1], "prediction": [0, 1, 1, 1]})
    said = {"text": [1, 0, 1, 1], "audio": [0, 1, 0, 1]}
    for modality, own in said.items():
        frame[[f"{modality}_{name}" for name in ("x", "y")]] = np.eye(2)[own]
    frame["router_text"], frame["router_audio"] = [0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0]
    table = consensus.weights([frame, frame], {}, Scheme(("x", "y"))).set_index(["measure", "modality"])[
        "mean"
    ]
    assert table["weight", "text"] == 0.75 and table["entropy", ""] == pytest.approx(0.5)
    assert table["expert_wrong_consensus_right", "text"] == 0.25  # a
    assert table["expert_right_consensus_wrong", "text"] == 0.25  # b
    assert table["expert_wrong_consensus_right", "audio"] == 0  # the router did not ask it of c
    assert table["expert_right_consensus_wrong", "audio"] == 0


@given(st.integers(0, 2**32 - 1))
def test_kappa_is_scikit_learns(seed):
    first, second = np.random.default_rng(seed).integers(0, 3, (2, 25))
    assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_of_one_class_alone():
    assert kappa(np.zeros(5, int), np.zeros(5, int)) == 1


def test_pseudo_labels_by_epoch(run):
    _, _, pretrained, *_ = run
    histories = [json.loads(path.with_suffix(".json").read_text())["history"] for path in pretrained]
    table = consensus.pseudo_labels(histories)
    assert table["modality"].unique().tolist() == ["text", "audio", "vision"]
    assert table["epoch"].tolist() == [1, 2, 3] * 3 and (table["runs"] == 2).all()
    # the unimodal labels of these clips are the multimodal one
    np.testing.assert_allclose(table["agreement"], 1 - table["changed"])
    assert consensus.pseudo_labels([[]]).empty


def test_failures_by_what_clips_have_in_common(run):
    folder, *_, test, _ = run
    test = [own.assign(cluster=own["clip_id"]) for own in test]
    quality = pd.DataFrame(
        {"clip_id": test[0]["clip_id"], "seconds": np.arange(30.0), "faces": 1.0, "voiced": np.nan}
    )
    subsets = consistency.read(folder / "subsets.csv")
    table = consensus.failures(test, subsets, quality, SIMS, "cmc", 200, 0).set_index(["kind", "group"])
    right = [
        (own[["logits_negative", "logits_positive"]].to_numpy().argmax(axis=1) == (own["class"] == 2))
        for own in test
    ]
    assert table.loc[("subset", "test"), "mean"] == pytest.approx(100 * np.mean(right))
    assert table.loc[("seconds", "0 to 9.667"), "mean"] == pytest.approx(
        100 * np.mean([one[:10] for one in right])
    )
    assert table.loc["seconds", "n"].tolist() == [10, 10, 10]
    assert table.loc["strength", "n"].to_dict() == {"neutral": 10, "weak": 0, "medium": 0, "strong": 20}
    assert not {"faces", "voiced"} & set(
        table.index.get_level_values("kind")
    )  # which don't differ, or aren't known
    assert (table["low"] <= table["mean"])[table["low"].notna()].all()


# robustness


def ends(split):
    """First and last token of each transcript."""
    tokens = split.tokens
    return [tokens.values[[start, stop - 1]].tolist() for start, stop in pairwise(tokens.offsets)]


def test_damage_is_what_it_says(run):
    _, features, *_ = run
    clips = dataset.load(features, "test")
    assert robustness.damaged(clips, ("", "clean", 0.0), None, 1) is clips
    assert set(robustness.damaged(clips, ("audio", "missing", 1.0), None, 1).features) == {"text", "vision"}
    dropped = robustness.damaged(clips, ("vision", "dropped", 0.5), None, 1)
    before, after = (np.diff(own.features["vision"].offsets) for own in (clips, dropped))
    assert (after == np.maximum(np.round(before / 2), 1)).all()
    kept = set(map(tuple, dropped.features["vision"].values.tolist()))
    assert kept <= set(map(tuple, clips.features["vision"].values.tolist()))
    text = robustness.damaged(clips, ("text", "dropped", 0.75), None, 1)
    assert (np.diff(text.tokens.offsets) == np.diff(text.features["text"].offsets)).all()
    assert ends(text) == ends(clips)
    spread = clips.features["audio"].values.std(dim=0)
    noisy = robustness.damaged(clips, ("audio", "noise", 2.0), spread, 1)
    noise = (noisy.features["audio"].values - clips.features["audio"].values) / spread
    assert float(noise.std()) == pytest.approx(2, rel=0.1)
    again = robustness.damaged(clips, ("audio", "noise", 2.0), spread, 1)
    assert (again.features["audio"].values == noisy.features["audio"].values).all()


def test_robustness_starts_from_what_evaluation_found(run):
    _, features, pretrained, finetuned, test, _ = run
    table = robustness.run(features, pretrained, finetuned)
    assert table["damage"].value_counts().to_dict() == {"dropped": 9, "noise": 6, "missing": 3, "clean": 1}
    scores = [tables.score(own, {}, SIMS)["models"]["cmc"]["test"]["acc2"] for own in test]
    assert table.loc[0, "mean"] == pytest.approx(100 * np.mean(scores))
    assert table.loc[0, "weight_text"] == pytest.approx(
        np.mean([own["router_text"].mean() for own in test]), abs=1e-6
    )
    missing = table[(table["modality"] == "audio") & (table["damage"] == "missing")].iloc[0]
    assert math.isnan(missing["weight_audio"]) and missing["weight_text"] + missing[
        "weight_vision"
    ] == pytest.approx(1)


def test_folds_of_a_seed_are_scored_together(run, monkeypatch):
    """One checkpoint as three folds of one seed: the same clips thrice, one score; few clips have none."""
    _, features, pretrained, finetuned, *_ = run
    once, thrice = (robustness.run(features, pretrained[:1] * k, finetuned[:1] * k) for k in (1, 3))
    assert once["mean"].tolist() == thrice["mean"].tolist() and thrice["std"].isna().all()
    monkeypatch.setattr(robustness, "FEWEST_CLIPS", 91)
    assert robustness.run(features, pretrained[:1] * 3, finetuned[:1] * 3)["mean"].isna().all()


def test_words_are_dropped_of_clips_that_are_filled_up(run):
    """mask_padding: false fills features up, not token ids."""
    _, features, *_ = run
    clips = dataset.load(features, "test", mask_padding=False)
    text = robustness.damaged(clips, ("text", "dropped", 0.5), None, 1)
    before, after = (np.diff(own.tokens.offsets) for own in (clips, text))
    lost = np.diff(clips.features["text"].offsets) - np.diff(text.features["text"].offsets)
    assert (before - after == lost).all() and lost.sum() and ends(text) == ends(clips)
    assert (before < np.diff(clips.features["text"].offsets)).any()


# cost


def test_cost_counts_what_there_is(run, tmp_path):
    _, features, pretrained, finetuned, *_ = run
    (tmp_path / "b.tsv").write_text("s\tmax_rss\n1.0\t123.4\n")
    benchmarks = [tmp_path / "b.tsv", tmp_path / "nosuch.tsv"]
    found, *unimodal = cost.of_variant("cmc", features, pretrained, finetuned, benchmarks, unimodal=True)
    dims = Dimensions(features={"text": 6, "audio": 5, "vision": 4}, **MODEL)
    model = MultimodalModel(dims)
    parameters = sum(own.numel() for own in model.parameters())
    assert found["parameters"] == parameters
    assert found["parameters_language_model"] == 0 and found["peak_memory_mb"] == 123 and found["epochs"] == 6
    assert found["gflops_a_clip"] > 0 and found["inference_ms_a_clip"] > 0
    assert [row["model"] for row in unimodal] == ["text", "audio", "vision"]
    for row in unimodal:
        own = UnimodalModel(dims, row["model"])
        assert row["parameters"] == sum(p.numel() for p in own.parameters())
        assert 0 < row["gflops_a_clip"] < found["gflops_a_clip"]
    table = cost.table([found, *unimodal])
    assert table["runs"].tolist()[0] == len(pretrained) and table["runs"].isna().tolist()[1:] == [True] * 3


def test_a_baseline_costs_what_its_layers_multiply(tmp_path):
    features = write_features(tmp_path / "f.h5")
    hidden, out, fusion = {"text": 40, "audio": 30, "vision": 20}, 50, 60
    model = {"hidden": hidden, "text_out": out, "post_fusion": fusion}
    path = tmp_path / "b.safetensors"
    settings = {"epochs": 2}
    baseline.run(features, path, architecture="lf_dnn", model=model, settings=settings, has0=HAS0, seed=1)
    (found,) = cost.of_baseline("lf_dnn", features, [path], [])
    tokens = np.diff(dataset.load(features, "test").features["text"].offsets).mean()
    recurrent = tokens * 4 * 40 * (6 + 40) + 40 * out
    dense = 5 * 30 + 2 * 30 * 30 + 4 * 20 + 2 * 20 * 20
    head = (30 + 20 + out) * fusion + fusion * fusion + fusion * 3
    assert found["gflops_a_clip"] == pytest.approx(2e-9 * (recurrent + dense + head), abs=1e-6)
    assert (found["epochs"], found["runs"], found["peak_memory_mb"]) == (2, 1, None)


# other data


def test_features_that_were_made_otherwise_are_refused_with_the_difference(run, tmp_path):
    _, features, *_ = run
    other = write_features(tmp_path / "other.h5", seed=5)
    cross.check(features, other)
    table = cross.distances(features, other)
    assert table["modality"].tolist() == ["text", "audio", "vision"] and (table["shift"] < 1).all()
    narrow = write_features(tmp_path / "narrow.h5", widths={"text": 6, "audio": 3, "vision": 4})
    with pytest.raises(
        cross.CrossError, match=r"audio features of .* were made otherwise: their columns differ"
    ):
        cross.check(features, narrow)
    two = write_features(tmp_path / "two.h5", widths={"text": 6, "audio": 5})
    with pytest.raises(cross.CrossError, match=r"has text, audio, vision; .* has text, audio"):
        cross.check(features, two)


def test_clips_that_were_trained_on_are_not_tested(run, tmp_path):
    _, features, *_ = run
    other = write_features(tmp_path / "other.h5", splits={"test": 9, "train": 30, "valid": 9})
    with pytest.raises(cross.CrossError, match=r"9 test clips of .* are trained on .*, v\$_\$0000 for one"):
        cross.check(features, other)


def test_features_of_another_scale_are_refused(run, tmp_path):
    _, features, *_ = run
    shifted = write_features(tmp_path / "shifted.h5", seed=5)
    with h5py.File(shifted, "a") as file:
        file["audio/values"][:] += 40
    with pytest.raises(cross.CrossError, match=r"audio features of .* lie \d+\.\d standard deviations"):
        cross.distances(features, shifted)


def test_test_labels_choose_nothing(run, tmp_path):
    """Permuted test labels change no weight, no epoch and no pseudo label."""
    _, features, pretrained, finetuned, *_ = run
    permuted = tmp_path / "permuted.h5"
    shutil.copy(features, permuted)
    with h5py.File(permuted, "a") as file:
        is_test = file["clips/split"].asstr()[:] == "test"
        for column in ("label", "label_T", "label_A", "label_V"):
            values = file[f"clips/{column}"][:]
            values[is_test] = np.roll(values[is_test], 1)
            file[f"clips/{column}"][:] = values
    first, second = trained(tmp_path, permuted, 1)
    assert (
        first.read_bytes() == pretrained[0].read_bytes() and second.read_bytes() == finetuned[0].read_bytes()
    )
    for one, other in ((first, pretrained[0]), (second, finetuned[0])):
        facts = [json.loads(path.with_suffix(".json").read_text()) for path in (one, other)]
        assert facts[0]["best_epoch"] == facts[1]["best_epoch"] and facts[0]["history"] == facts[1]["history"]


def test_a_row_for_each_way_of_training():
    scores = [
        {"dataset": "b", "variant": variant, "seed": 1, **SIMS.facts, "models": {variant: {"test": one}}}
        for variant, one in (("from_a", {"n": 10} | dict.fromkeys(tables.names(SIMS), 0.5)),
                             ("cmc", {"n": 10} | dict.fromkeys(tables.names(SIMS), 0.7)))
    ]  # fmt: skip
    table = tables.table(scores, tables.published_values())
    distances = pd.DataFrame({"modality": ["text"], "shift": [0.3]})
    shown = cross.shown(table, {"train": "a", "test": "b"}, distances, ["cmc", "from_a"])
    assert shown[["trained_on", "tested_on"]].values.tolist() == [["a", "b"], ["b", "b"]]
    assert all(heading in tables.show(shown) for heading in ("Trained on", "Tested on"))
    assert shown["acc2_mean"].tolist() == [50, 70] and shown["shift_text"][0] == 0.3
