"""Both stages on a GPU: the published numbers, the CPU's numbers, and the same bytes every time."""

import json
import warnings
from contextlib import contextmanager
from functools import partial

import golden_runs
import numpy as np
import pytest
import torch
from synthetic import WIDTHS, write_features
from tiny_models import TEXT, text_encoder

from cmc import MODALITIES
from cmc.models import baselines
from cmc.models.baselines import ARCHITECTURES
from cmc.training import baseline, checkpoint, dataset, encoder, finetune, loop, pretrain
from cmc.training.trained import TrainedModel

pytestmark = pytest.mark.gpu

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "classifier_dropout": 0.0}
MODEL = {"dim": 16, "layers": 2, "heads": 2}
SETTINGS = {"epochs": 3, "batch": 8}
ONE_EPOCH = SETTINGS | {"epochs": 1}
HAS0 = "nonpositive_positive"
TEXT_WIDTH = 16  # of the language models of tiny_models
# softmax does not see the keys' bias: its gradient is rounding error, which Adam makes as large as a step
OF_ROUNDING = "attention.qkv.bias"

GOLDEN = {
    **{f"forward {k}": (golden_runs.unimodal_forward, (k,)) for k in MODALITIES},
    **{f"forward of {k} experts": (golden_runs.multimodal_forward, (k,)) for k in (1, 2, 3)},
    "pretrain": (golden_runs.pretraining_steps, ()),
    "finetune": (golden_runs.finetuning_steps, ()),
}


@pytest.mark.parametrize("what", GOLDEN)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_published_numbers(what, dtype, tolerance, device):
    run, arguments = GOLDEN[what]
    compared = 0
    for name, ours, theirs in run(*arguments, device, dtype):
        if not (dtype == torch.float32 and name.startswith(("ema", "final")) and name.endswith(OF_ROUNDING)):
            torch.testing.assert_close(
                ours.detach().cpu().double(), theirs.double(), rtol=tolerance, atol=tolerance, msg=name
            )
            compared += 1
    assert compared


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "f.h5"
    return write_features(path, missing_frames=True, widths=WIDTHS | {"text": TEXT_WIDTH})


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(text_encoder("bert", tmp_path_factory.mktemp("bert") / "bert"))


@pytest.fixture(scope="module")
def bert_without_dropout(tmp_path_factory):
    folder = text_encoder("bert", tmp_path_factory.mktemp("quiet") / "bert")
    config = folder / "config.json"
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | none))
    return str(folder)


def both_stages(features, folder, device, model=MODEL, first=SETTINGS, second=SETTINGS, text_encoder=None):
    """Train both stages on a device; the two checkpoints."""
    folder.mkdir(exist_ok=True)
    paths = folder / "p.safetensors", folder / "f.safetensors"
    pretrain.run(features, paths[0], model=model, settings=first, has0=HAS0, seed=1, device=device,
                 text_encoder=text_encoder)  # fmt: skip
    second = {"train_text_encoder": text_encoder is not None} | second
    finetune.run(features, *paths, model={}, settings=second, device=device)
    return paths


def contents(paths):
    return [file.read_bytes() for path in paths for file in (path, path.with_suffix(".json"))]


def history(path):
    return checkpoint.load(path)[2]["history"]


def test_an_epoch_equals_the_cpus(tmp_path, features, bert_without_dropout, device):
    """Without dropout, whose random numbers are each device's own; losses within 1e-4, labels and weights 1e-3."""
    runs = [
        both_stages(
            features, tmp_path / name, where, MODEL | NO_DROPOUT, ONE_EPOCH, ONE_EPOCH, bert_without_dropout
        )
        for name, where in (("here", device), ("cpu", "cpu"))
    ]
    for here, cpu in zip(*runs, strict=True):
        assert len(history(here)) == len(history(cpu)) == 1
        for name, expected in history(cpu)[0].items():
            assert history(here)[0][name] == pytest.approx(expected, rel=1e-4, abs=1e-4), name
        ours, theirs = (checkpoint.load(path)[0] for path in (here, cpu))
        assert set(ours) == set(theirs)
        for name, expected in theirs.items():
            if not name.endswith((OF_ROUNDING, "key.bias")):
                torch.testing.assert_close(ours[name], expected, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_same_bytes_twice(tmp_path, features, bert, device, bf16):
    """With dropout and a language model that is finetuned."""
    runs = [
        both_stages(
            features, tmp_path / name, device, second=SETTINGS | {"text_bf16": bf16}, text_encoder=bert
        )
        for name in "ab"
    ]
    assert contents(runs[0]) == contents(runs[1])


@pytest.mark.parametrize("dim", [16, 128])  # heads of 8 and of 64, which other kernels compute
def test_the_same_bytes_twice_of_long_clips(tmp_path, device, dim):
    """Clips of different lengths, hundreds of frames: what splits of a fused kernel would add up in any order."""
    rng = np.random.default_rng(0)
    path = write_features(tmp_path / "f.h5", splits={"train": 16, "valid": 8, "test": 3})
    split = dataset.load(path, "train", device)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(200, 400, 16))])
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        values = torch.randn(int(offsets[-1]), WIDTHS["audio"]).to(device)
        split.features["audio"] = dataset.Ragged(values, offsets)
        stage = pretrain.Pretraining(
            pretrain.Dimensions(split.widths, **MODEL | {"dim": dim}),
            pretrain.PretrainSettings(),
            split,
            split,
            pretrain.Scheme(has0=HAS0),
            lambda epoch: dataset.in_order(np.arange(16), 8),
            device,
        )
        for epoch in (1, 2):
            stage.train_epoch(epoch)
        states.append(stage.models.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "finetune with its text encoder", *ARCHITECTURES])
def test_no_batch_waits_for_the_gpu(features, bert, device, stage):
    """The host waits at the end of an epoch; more batches make it wait no more often."""
    if device == "cpu":
        pytest.skip(
            "PyTorch tells of waiting for a GPU alone; tests/training/test_waiting.py is this on the CPU"
        )
    split = dataset.load(features, "train", device)
    dims = pretrain.Dimensions(split.widths, **MODEL)
    waits = []
    for size in (12, 4):
        arguments = split, split, pretrain.Scheme(has0=HAS0), partial(batches_of, size)
        if stage == "pretrain":
            trained = pretrain.Pretraining(dims, pretrain.PretrainSettings(), *arguments, device)
        elif stage in ARCHITECTURES:
            network = baselines.build(stage, split.widths, 1, {}).to(device)
            settings = baseline.BaselineSettings(objective="regression")
            trained = baseline.BaselineTraining(network, settings, *arguments)
        else:
            labels = torch.stack([split.classes("M")] * 3).to(device)
            model = finetune.MultimodalModel(dims).to(device)
            tables = {"train": labels, "valid": labels}
            own = encoder.prepare([split], bert, trained=True) if "text" in stage else None
            trained = finetune.Finetuning(
                model, finetune.FinetuneSettings(), split, split, tables, *arguments[2:], own
            )
        trained.train_epoch(1)  # the first loads libraries
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                trained.train_epoch(2)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sorted(f"{w.filename}:{w.lineno}" for w in told if "synchroniz" in str(w.message)))
    assert waits[0] and waits[1] == waits[0]


def batches_of(size, epoch):
    return dataset.in_order(np.arange(24), size)


class KilledError(Exception):
    """Stands for whatever ends a run."""


@contextmanager
def killed_after_an_epoch(monkeypatch):
    save = loop.save_state

    def save_and_die(*arguments):
        save(*arguments)
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        patch.setattr(loop, "save_state", save_and_die)
        yield


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, features, bert, device, monkeypatch):
    whole = both_stages(features, tmp_path / "whole", device, text_encoder=bert)
    for _stage in whole:
        with killed_after_an_epoch(monkeypatch):
            both_stages(features, tmp_path / "cut", device, text_encoder=bert)
        cut = both_stages(features, tmp_path / "cut", device, text_encoder=bert)
        # the second time the first stage is there already, and the second is cut off
        monkeypatch.setattr(pretrain, "run", lambda *_, **__: None)
    assert contents(cut) == contents(whole)


def test_bfloat16_is_close(tmp_path, features, bert_without_dropout, device):
    split = dataset.load(features, "train", device)
    model = encoder.prepare([split], bert_without_dropout, trained=True)
    with torch.no_grad():
        exact = encoder.text_states(model, split, np.arange(8)).values
        model.bf16 = True
        rough = encoder.text_states(model, split, np.arange(8)).values
    assert rough.dtype == exact.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)
    losses = []
    for name, bf16 in (("exact", False), ("rough", True)):
        paths = both_stages(features, tmp_path / name, device, MODEL | NO_DROPOUT, ONE_EPOCH,
                            ONE_EPOCH | {"text_bf16": bf16}, bert_without_dropout)  # fmt: skip
        losses.append(history(paths[1])[0]["train_loss"])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("kind", TEXT)
def test_every_kind_of_text_encoder_is_finetuned(tmp_path, features, device, kind):
    """No operation of theirs lacks a way that computes the same bytes every time."""
    encoder = str(text_encoder(kind, tmp_path / kind))
    _, second = both_stages(features, tmp_path / "run", device, first=ONE_EPOCH, second=ONE_EPOCH,
                            text_encoder=encoder)  # fmt: skip
    assert np.isfinite(history(second)[0]["validation_loss"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_baseline_is_trained_to_the_same_bytes_twice(
    tmp_path, features, device, architecture, monkeypatch, caplog
):
    """The second time it is cut off after an epoch and resumed."""
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    settings = {"epochs": 3, "batch": 8, "objective": "regression"}
    train = partial(baseline.run, features, architecture=architecture, model={}, settings=settings, has0=HAS0,
                    seed=1, device=device)  # fmt: skip
    train(paths[0])
    with killed_after_an_epoch(monkeypatch):
        train(paths[1])
    with caplog.at_level("INFO"):
        train(paths[1])
    assert "resumed after epoch 1" in caplog.text
    assert contents(paths[:1]) == contents(paths[1:])


def test_predictions_equal_the_cpus(tmp_path, features, bert, device):
    paths = both_stages(features, tmp_path, device, first=ONE_EPOCH, second=ONE_EPOCH, text_encoder=bert)
    here, cpu = (
        TrainedModel.load(*paths, where)[0].predict(dataset.load(features, "test", where))
        for where in (device, "cpu")
    )
    np.testing.assert_allclose(here.logits, cpu.logits, rtol=1e-4, atol=1e-5)
    assert json.dumps(sorted(here.unimodal)) == json.dumps(sorted(cpu.unimodal))


def test_out_of_memory_says_the_way_out(tmp_path, features, device, monkeypatch):
    """A GPU of which no more may be used as soon as training begins."""
    if device == "cpu":
        pytest.skip("of a GPU's memory; tests/training raises the same error on the CPU")

    def starved(*arguments):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1e-6)
        return loop.fit(*arguments)

    monkeypatch.setattr(pretrain, "fit", starved)
    try:
        with pytest.raises(loop.OutOfMemoryError, match=r"set pretrain\.batch to 12"):
            pretrain.run(features, tmp_path / "p.safetensors", model={"dim": 512}, settings={"batch": 24},
                         has0=HAS0, seed=1, device=device)  # fmt: skip
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
