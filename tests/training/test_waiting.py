"""No batch waits for a GPU. PyTorch's `meta` device stands for one: its tensors have no values to wait for.

It does not tell of copies that wait; tests/gpu does.
"""

import dataclasses

import numpy as np
import pytest
import torch
from synthetic import WIDTHS, write_features
from tiny_models import text_encoder

from cmc import hub
from cmc.labels import Scheme
from cmc.models import baselines, cmc
from cmc.training import dataset, encoder, loop
from cmc.training.baseline import BaselineSettings, BaselineTraining
from cmc.training.finetune import FinetuneSettings, Finetuning
from cmc.training.pretrain import Pretraining, PretrainSettings

TEXT_WIDTH = 16  # of the language models of tiny_models
SCHEME = Scheme(has0="nonpositive_positive")


class EpochOverError(Exception):
    """The host asks for the losses of all batches."""


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "f.h5"
    return dataset.load(write_features(path, widths=WIDTHS | {"text": TEXT_WIDTH}), "train")


@pytest.fixture
def on_meta(split, monkeypatch):
    def ask(_losses):
        raise EpochOverError

    monkeypatch.setattr(loop.Losses, "matrix", ask)
    # fused Adam refuses the device
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, lr, fused: torch.optim.SGD(groups, lr=lr))
    there = {name: moved(ragged) for name, ragged in split.features.items()}
    return dataclasses.replace(split, features=there, tokens=moved(split.tokens))


def moved(ragged):
    return dataclasses.replace(ragged, values=ragged.values.to("meta"))


def stages(split, bert):
    dims = cmc.Dimensions(split.widths, dim=16, layers=1, heads=2)
    arguments = split, split, SCHEME, lambda epoch: dataset.shuffled(len(split), 12, 1, epoch)
    labels = torch.stack([split.classes("M")] * 3).to("meta")
    tables = {"train": labels, "valid": labels}
    model = cmc.MultimodalModel(dims).to("meta")
    return (
        Pretraining(dims, PretrainSettings(), *arguments, "meta", bert),
        Finetuning(model, FinetuneSettings(), split, split, tables, *arguments[2:], bert),
    )


@pytest.mark.parametrize(
    ("kind", "filled_up"), [(None, False), ("bert", True), *((k, False) for k in encoder.TAKE_PREPARED_MASKS)]
)
def test_no_batch_waits(tmp_path, on_meta, kind, filled_up):
    bert = None
    if kind:
        bert = hub.load(str(text_encoder(kind, tmp_path / kind))).to("meta")
        on_meta = dataclasses.replace(on_meta, text_length=12 if filled_up else None)
    for stage in stages(on_meta, bert):
        with pytest.raises(EpochOverError):
            stage.train_epoch(1)
        if isinstance(stage, Pretraining):
            assert stage.predict(stage.ema, on_meta).shape == (3, len(on_meta), 3)
        else:
            with pytest.raises(EpochOverError):
                stage.validate(1)


@pytest.mark.parametrize("architecture", baselines.ARCHITECTURES)
def test_no_batch_of_a_baseline_waits(on_meta, architecture):
    model = baselines.build(architecture, on_meta.widths, 1, {}).to("meta")
    stage = BaselineTraining(
        model,
        BaselineSettings(objective="regression"),
        on_meta,
        on_meta,
        SCHEME,
        lambda epoch: dataset.shuffled(len(on_meta), 8, 1, epoch),
    )
    with pytest.raises(EpochOverError):
        stage.train_epoch(2)  # from then on Self-MM makes labels


@pytest.mark.parametrize("kind", encoder.TAKE_PREPARED_MASKS)
@pytest.mark.parametrize("bf16", [False, True])
def test_prepared_masks_hide_what_transformers_own_do(tmp_path, kind, bf16):
    bert = hub.load(str(text_encoder(kind, tmp_path / kind)))
    bert.bf16 = bf16
    real = np.arange(12) < np.array([12, 9, 5, 2, 1])[:, None]
    ids = torch.randint(5, 20, real.shape)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        ours = encoder.run(bert, ids, torch.from_numpy(encoder.additive(real)))
        theirs = bert(input_ids=ids, attention_mask=torch.from_numpy(real).long()).last_hidden_state
    assert torch.equal(ours[real], theirs[real])
