"""Our numbers against those that the published implementation computed, in float64.

The folder comes from the environment variable CMC_GOLDEN (default: tests/golden); every size from its dims.json.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cmc import MODALITIES, metrics
from cmc.exchange import published
from cmc.exchange.published import convert
from cmc.labels import Scheme
from cmc.models.cmc import Dimensions, MultimodalModel, UnimodalModel
from cmc.models.sequences import Sequences
from cmc.training import pseudo_labels
from cmc.training.dataset import Ragged, Split
from cmc.training.finetune import FinetuneSettings, Finetuning
from cmc.training.losses import supervised_contrastive
from cmc.training.pretrain import Pretraining, PretrainSettings

GOLDEN = Path(os.environ.get("CMC_GOLDEN", Path(__file__).parent / "golden"))
DIMS = json.loads((GOLDEN / "dims.json").read_text())
TOLERANCE = 1e-9
HALVES = [np.arange(0, 8), np.arange(8, 16)]  # the batches of each epoch in *_steps.npz


def load(name):
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def state(arrays, prefix):
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def dimensions(**changes):
    widths = {"text": DIMS["orig_d_l"], "audio": DIMS["orig_d_a"], "vision": DIMS["orig_d_v"]}
    settings = dict(
        features=widths,
        dim=DIMS["embed_dim"],
        layers=DIMS["transformer_layers"],
        heads=DIMS["nhead"],
        classifier_dropout=DIMS["out_dropout"],
        top_k=DIMS["top_k"],
        temperature=DIMS["temperature"],
        dropout=0.0,
        attention_dropout=0.0,
    )
    return Dimensions(**settings | changes)


def close(ours, theirs):
    ours = ours.detach() if isinstance(ours, torch.Tensor) else torch.as_tensor(ours)
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("modality", MODALITIES)
def test_unimodal_forward(modality):
    arrays = load(f"unimodal_{modality}.npz")
    model = UnimodalModel(dimensions(), modality).double().eval()
    model.load_state_dict(convert(state(arrays, "param/"), modality))
    logits, h = model(Sequences.padded(arrays["x"]))
    close(logits, arrays["logits"])
    close(h, arrays["h"])


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_multimodal_forward(top_k):
    arrays = load(f"multimodal_top{top_k}.npz")
    model = MultimodalModel(dimensions(top_k=top_k)).double().eval()
    model.load_state_dict(convert(state(arrays, "param/")))
    output = model({k: Sequences.padded(arrays[f"x_{k}"]) for k in MODALITIES})
    close(output.logits, arrays["logits"])
    for i, modality in enumerate(MODALITIES):
        close(output.expert_logits[:, i], arrays[f"logits_{modality}"])
    close(output.fused, arrays["fused"])
    close(output.router_weights, arrays["router_weights"])
    close(output.h, arrays["h"])


def test_pseudo_labels():
    arrays = load("pseudo_labels.npz")
    for t, momentum in enumerate(arrays["momentum"]):
        close(
            pseudo_labels.update(arrays["labels"][t], arrays["logits"][t], momentum), arrays["labels"][t + 1]
        )


def test_contrastive_loss():
    arrays = load("supcon.npz")
    losses = [key for key in arrays if key.startswith("loss")]
    assert losses
    for key in losses:
        i = key.removeprefix("loss")
        loss = supervised_contrastive(arrays[f"features{i}"], arrays[f"labels{i}"], DIMS["temperature"])
        close(loss, arrays[key])


def test_momentum_schedules():
    schedules = json.loads((GOLDEN / "momentum_schedules.json").read_text())
    assert schedules
    for key, expected in schedules.items():
        start, gamma = map(float, key.split("|"))
        ours = [pseudo_labels.momentum_at(epoch, start, gamma) for epoch in range(1, len(expected) + 1)]
        assert ours == pytest.approx(expected, rel=TOLERANCE, abs=0)


def split_of(arrays, labels):
    """The golden clips as a split, each with its full length."""
    features = {}
    for modality in MODALITIES:
        x = arrays[f"x_{modality}"]
        clips, time, width = x.shape
        features[modality] = Ragged(x.reshape(-1, width), np.arange(clips + 1) * time)
    table = pd.DataFrame({"clip_id": [str(i) for i in range(len(labels))], "label": labels.double() - 1})
    return Split(table, features)


def test_pretraining_steps():
    arrays = load("pretrain_steps.npz")
    split = split_of(arrays, arrays["labels"])
    settings = PretrainSettings(temperature=DIMS["temperature"])
    stage = Pretraining(
        dimensions(), settings, split, split, Scheme(has0="nonpositive_positive"), lambda epoch: HALVES
    )
    for modality in MODALITIES:
        start = convert(state(arrays, f"param/{modality}/"), modality)
        stage.models[modality].double().load_state_dict(start)
        stage.ema[modality].double().load_state_dict(start)
    stage.labels["train"] = stage.labels["train"].double()
    losses = []
    for epoch in (1, 2, 3):
        stage.train_epoch(epoch)
        losses.append(stage.last_losses)
        close(stage.labels["train"], arrays["pseudo_labels"][epoch - 1])
    close(torch.cat(losses), arrays["losses"])
    for modality in MODALITIES:
        ema = stage.ema[modality].state_dict()
        for name, expected in convert(state(arrays, f"ema/{modality}/"), modality).items():
            close(ema[name], expected)
        for name, expected in convert(state(arrays, f"final/{modality}/"), modality).items():
            close(stage.models[modality].state_dict()[name], expected)


def test_finetuning_steps():
    arrays = load("finetune_steps.npz")
    split = split_of(arrays, arrays["labels"])
    labels = torch.stack([arrays[f"labels_{k}"] for k in MODALITIES])
    model = MultimodalModel(dimensions()).double()
    model.load_state_dict(convert(state(arrays, "param/")))
    settings = FinetuneSettings(temperature=DIMS["temperature"], train_text_encoder=False)
    stage = Finetuning(
        model,
        settings,
        split,
        split,
        {"train": labels, "valid": labels},
        Scheme(has0="nonpositive_positive"),
        lambda epoch: HALVES,
    )
    losses = []
    for epoch in (1, 2, 3):
        stage.train_epoch(epoch)
        losses.append(stage.last_losses)
    close(torch.cat(losses), arrays["losses"])
    for name, expected in convert(state(arrays, "final/")).items():
        close(model.state_dict()[name], expected)


@pytest.mark.parametrize(
    ("rule", "has0"), [("sims", "nonpositive_positive"), ("mosi", "negative_nonnegative")]
)
def test_metrics(rule, has0):
    arrays = load("metrics_inputs.npz")
    expected = json.loads((GOLDEN / "metrics.json").read_text())[rule]
    logits, labels = arrays["logits"].numpy(), arrays["labels"].numpy()
    names = {
        "Has0_acc_2": "acc2",
        "Has0_F1_score": "f1",
        "Non0_acc_2": "acc2_non0",
        "Non0_F1_score": "f1_non0",
        "Acc_3": "acc3",
        "F1_score_3": "f1_3",
    }
    theirs = metrics.evaluate_with_published_fault(logits, labels, Scheme(has0=has0))
    assert {name: round(theirs[ours], 4) for name, ours in names.items()} == expected
    ours = metrics.evaluate(logits, labels, Scheme(has0=has0))
    assert {name for name in names.values() if ours[name] != theirs[name]} == {"acc2_non0", "f1_non0"}


@pytest.mark.parametrize("name", ["cmc", "text", "audio", "vision"])
def test_published_checkpoints(name):
    """Whole-model files give their published outputs: float32, padding not masked but inside BERT."""
    expected = load("checkpoints/expected.npz")
    files = {"cmc": "SIMS_CMCModel_Has0_acc_2", "text": "SIMS_Pseudo_TextModel",
             "audio": "SIMS_Pseudo_AudioModel", "vision": "SIMS_Pseudo_VisionModel"}  # fmt: skip
    loaded = published.load(GOLDEN / "checkpoints" / f"{files[name]}.pt")
    inputs = {k: Sequences.padded(expected[k]) for k in ("audio", "vision")}
    if loaded.bert is not None:
        ids, mask, types = expected["text_bert"].long().unbind(dim=1)
        states = loaded.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        inputs["text"] = Sequences.padded(states)
    logits = loaded.model(inputs).logits if name == "cmc" else loaded.model(inputs[name])[0]
    theirs = expected["cmc_logits" if name == "cmc" else files[name].removeprefix("SIMS_")]
    torch.testing.assert_close(logits.detach(), theirs, rtol=1e-5, atol=1e-6)
