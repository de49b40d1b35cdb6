"""What we compute of the inputs of tests/golden, beside what the published implementation computed of them.

The folder comes from the environment variable CMC_GOLDEN (default: tests/golden); every size from its dims.json.
Each function gives triples: a name, our tensor, theirs in float64 on the CPU.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmc import MODALITIES
from cmc.exchange.published import convert
from cmc.labels import Scheme
from cmc.models.cmc import Dimensions, MultimodalModel, UnimodalModel
from cmc.models.sequences import Sequences
from cmc.training.dataset import Ragged, Split
from cmc.training.finetune import FinetuneSettings, Finetuning
from cmc.training.pretrain import Pretraining, PretrainSettings

GOLDEN = Path(os.environ.get("CMC_GOLDEN", Path(__file__).parent / "golden"))
DIMS = json.loads((GOLDEN / "dims.json").read_text())
HALVES = [np.arange(0, 8), np.arange(8, 16)]  # the batches of each epoch in *_steps.npz
SCHEME = Scheme(has0="nonpositive_positive")


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


def split_of(arrays, labels, device, dtype):
    """The golden clips as a split, each with its full length."""
    features = {}
    for modality in MODALITIES:
        x = arrays[f"x_{modality}"]
        clips, time, width = x.shape
        features[modality] = Ragged(x.reshape(-1, width).to(device, dtype), np.arange(clips + 1) * time)
    table = pd.DataFrame({"clip_id": [str(i) for i in range(len(labels))], "label": labels.double() - 1})
    return Split(table, features)


def unimodal_forward(modality, device="cpu", dtype=torch.float64):
    arrays = load(f"unimodal_{modality}.npz")
    model = UnimodalModel(dimensions(), modality).eval()
    model.to(device, dtype).load_state_dict(convert(state(arrays, "param/"), modality))
    logits, h = model(Sequences.padded(arrays["x"].to(device, dtype)))
    yield "logits", logits, arrays["logits"]
    yield "h", h, arrays["h"]


def multimodal_forward(top_k, device="cpu", dtype=torch.float64):
    arrays = load(f"multimodal_top{top_k}.npz")
    model = MultimodalModel(dimensions(top_k=top_k)).eval()
    model.to(device, dtype).load_state_dict(convert(state(arrays, "param/")))
    output = model({k: Sequences.padded(arrays[f"x_{k}"].to(device, dtype)) for k in MODALITIES})
    yield "logits", output.logits, arrays["logits"]
    for i, modality in enumerate(MODALITIES):
        yield f"logits of {modality}", output.expert_logits[:, i], arrays[f"logits_{modality}"]
    yield "fused", output.fused, arrays["fused"]
    yield "router weights", output.router_weights, arrays["router_weights"]
    yield "h", output.h, arrays["h"]


def pretraining_steps(device="cpu", dtype=torch.float64):
    arrays = load("pretrain_steps.npz")
    split = split_of(arrays, arrays["labels"], device, dtype)
    settings = PretrainSettings(temperature=DIMS["temperature"])
    stage = Pretraining(dimensions(), settings, split, split, SCHEME, lambda epoch: HALVES, device)
    for modality in MODALITIES:
        start = convert(state(arrays, f"param/{modality}/"), modality)
        stage.models[modality].to(dtype).load_state_dict(start)
        stage.ema[modality].to(dtype).load_state_dict(start)
    stage.labels["train"] = stage.labels["train"].to(dtype)
    losses = []
    for epoch in (1, 2, 3):
        stage.train_epoch(epoch)
        losses.append(stage.last_losses)
        yield f"labels after epoch {epoch}", stage.labels["train"], arrays["pseudo_labels"][epoch - 1]
    yield "losses", torch.cat(losses), arrays["losses"]
    for modality in MODALITIES:
        for kind, module in (("ema", stage.ema[modality]), ("final", stage.models[modality])):
            own = module.state_dict()
            for name, expected in convert(state(arrays, f"{kind}/{modality}/"), modality).items():
                yield f"{kind} {modality}.{name}", own[name], expected


def finetuning_steps(device="cpu", dtype=torch.float64):
    arrays = load("finetune_steps.npz")
    split = split_of(arrays, arrays["labels"], device, dtype)
    labels = torch.stack([arrays[f"labels_{k}"] for k in MODALITIES]).to(device)
    model = MultimodalModel(dimensions()).to(device, dtype)
    model.load_state_dict(convert(state(arrays, "param/")))
    settings = FinetuneSettings(temperature=DIMS["temperature"], train_text_encoder=False)
    tables = {"train": labels, "valid": labels}
    stage = Finetuning(model, settings, split, split, tables, SCHEME, lambda epoch: HALVES)
    losses = []
    for epoch in (1, 2, 3):
        stage.train_epoch(epoch)
        losses.append(stage.last_losses)
    yield "losses", torch.cat(losses), arrays["losses"]
    for name, expected in convert(state(arrays, "final/")).items():
        yield f"final {name}", model.state_dict()[name], expected
