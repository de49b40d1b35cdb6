"""Predictions of one seed on the test split, and their metrics."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cmc import files
from cmc.corpus import consistency
from cmc.evaluation import signatures, tables
from cmc.labels import CLASSES
from cmc.models.cmc import Dimensions, MultimodalModel, Output, UnimodalModel
from cmc.training import checkpoint, dataset, encoder
from cmc.training.dataset import Split
from cmc.training.finetune import inputs

BATCH = 64


def run(
    features: str | Path,
    pretrained: str | Path,
    finetuned: str | Path,
    subsets: str | Path,
    predictions_out: str | Path,
    metrics_out: str | Path,
    *,
    name: str,
    variant: str,
    device: str = "cpu",
) -> None:
    """Predict the test split with the models of both stages; write predictions (CSV) and metrics (JSON).

    Parameters
    ----------
    features, pretrained, finetuned, subsets : path
        Feature file, checkpoints of stage 1 and 2, consistency subsets.
    predictions_out, metrics_out : path
    name, variant : str
        Data set and variant, as the table calls them.
    device : str
    """
    first, dims, first_meta = checkpoint.load(pretrained)
    second, _, second_meta = checkpoint.load(finetuned)
    recipe = second_meta["recipe"]
    test = dataset.load(features, "test", device, recipe["mask_padding"])
    checkpoint.check_features(dims, test.widths, finetuned)
    table = predict(test, first, first_meta, second, second_meta)
    classes = dataset.load_classes(features, "train")
    scores = tables.score(table, consistency.read(subsets), recipe["has0"], classes, variant)
    scores |= {"dataset": name, "variant": variant, "seed": recipe["seed"], "has0": recipe["has0"]}
    scores["signatures"] = signatures.measure(scores, variant, first_meta["history"], len(classes))
    files.write_text(predictions_out, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    files.write_text(metrics_out, json.dumps(scores, indent=1, sort_keys=True) + "\n")


def predict(
    test: Split, first: dict[str, Tensor], first_meta: dict, second: dict[str, Tensor], second_meta: dict
) -> pd.DataFrame:
    """One row a clip: label, class, logits of all models, router weights, prediction."""
    output = multimodal_outputs(test, second, second_meta)
    columns = {
        "clip_id": test.clips["clip_id"],
        "label": test.clips["label"],
        "class": test.classes("M").numpy(),
        **named("logits", output.logits),
    }
    for i, modality in enumerate(Dimensions(**second_meta["dimensions"]).modalities):
        columns |= named(modality, output.expert_logits[:, i])
        columns[f"router_{modality}"] = output.router_weights[:, i].cpu().numpy()
    columns["prediction"] = output.logits.argmax(dim=1).cpu().numpy()
    for modality in test.features:
        own = checkpoint.part(first, f"{modality}.")
        columns |= named(f"pretrain_{modality}", unimodal_logits(modality, test, own, first_meta))
    return pd.DataFrame(columns)


def named(prefix: str, logits: Tensor) -> dict[str, np.ndarray]:
    """{prefix}_negative, {prefix}_neutral, {prefix}_positive of logits (clips, 3)."""
    values = logits.cpu().numpy()
    return {f"{prefix}_{name}": values[:, i] for i, name in enumerate(CLASSES)}


@torch.no_grad()
def multimodal_outputs(test: Split, tensors: dict[str, Tensor], meta: dict) -> Output:
    """Output of a finetuned model for a whole split, in evaluation mode."""
    model = MultimodalModel(Dimensions(**meta["dimensions"]))
    model.load_state_dict(checkpoint.part(tensors, "model."))
    split, bert = with_text(test, checkpoint.part(tensors, "bert."), meta)
    model.to(device_of(test)).eval()
    outputs = [model(inputs(bert, split, clips)) for clips in batches(split)]
    return Output(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))


@torch.no_grad()
def unimodal_logits(modality: str, test: Split, tensors: dict[str, Tensor], meta: dict) -> Tensor:
    """Logits (clips, 3) of a pretrained unimodal model."""
    model = UnimodalModel(Dimensions(**meta["dimensions"]), modality)
    model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith("bert.")})
    split, bert = with_text(test, checkpoint.part(tensors, "bert."), meta)
    model.to(device_of(test)).eval()
    return torch.cat([model(inputs(bert, split, clips)[modality])[0] for clips in batches(split)])


def with_text(test: Split, weights: dict[str, Tensor], meta: dict) -> tuple[Split, nn.Module | None]:
    """The split as a checkpoint's model takes it, and the language model that was finetuned with it."""
    split = replace(test, features=dict(test.features))
    bert = encoder.prepare([split], meta["recipe"]["text_encoder"], bool(weights), weights)
    return split, bert if bert is None else bert.eval()


def device_of(split: Split) -> torch.device:
    return next(iter(split.features.values())).values.device


def batches(split: Split) -> list[np.ndarray]:
    return dataset.in_order(np.arange(len(split)), BATCH)
