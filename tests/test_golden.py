"""Our numbers against those that the published implementation computed, in float64."""

import json

import golden_runs
import pytest
import torch
from golden_runs import DIMS, GOLDEN, load

from cmc import MODALITIES, metrics
from cmc.exchange import published
from cmc.labels import Scheme
from cmc.models.sequences import Sequences
from cmc.training import pseudo_labels
from cmc.training.losses import supervised_contrastive

TOLERANCE = 1e-9


def close(ours, theirs):
    ours = ours.detach() if isinstance(ours, torch.Tensor) else torch.as_tensor(ours)
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=TOLERANCE, atol=TOLERANCE)


def all_close(pairs):
    for _, ours, theirs in pairs:
        close(ours, theirs)


@pytest.mark.parametrize("modality", MODALITIES)
def test_unimodal_forward(modality):
    all_close(golden_runs.unimodal_forward(modality))


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_multimodal_forward(top_k):
    all_close(golden_runs.multimodal_forward(top_k))


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


def test_pretraining_steps():
    all_close(golden_runs.pretraining_steps())


def test_finetuning_steps():
    all_close(golden_runs.finetuning_steps())


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
