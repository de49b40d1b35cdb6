"""Predictions of one seed on the test split, and their metrics."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import files
from cmc.corpus import consistency
from cmc.evaluation import signatures, tables
from cmc.labels import CLASSES
from cmc.training import checkpoint, dataset
from cmc.training.dataset import Split
from cmc.training.trained import TrainedModel


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
    model, first, second = TrainedModel.load(pretrained, finetuned, device)
    recipe = second["recipe"]
    test = dataset.load(features, "test", device, recipe["mask_padding"])
    checkpoint.check_features(model.dims, test.widths, finetuned)
    table = predictions(test, model)
    classes = dataset.load_classes(features, "train")
    scores = tables.score(table, consistency.read(subsets), recipe["has0"], classes, variant)
    scores |= {"dataset": name, "variant": variant, "seed": recipe["seed"], "has0": recipe["has0"]}
    scores["signatures"] = signatures.measure(scores, variant, first["history"], len(classes))
    files.write_text(predictions_out, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    files.write_text(metrics_out, json.dumps(scores, indent=1, sort_keys=True) + "\n")


def predictions(clips: Split, model: TrainedModel) -> pd.DataFrame:
    """One row a clip: label, class, logits of all models, router weights, prediction."""
    found = model.predict(clips)
    columns = {
        "clip_id": clips.clips["clip_id"],
        "label": clips.clips["label"],
        "class": clips.classes("M").numpy(),
        **named("logits", found.logits),
    }
    for modality, logits in found.experts.items():
        columns |= named(modality, logits)
        columns[f"router_{modality}"] = found.router[modality]
    columns["prediction"] = found.logits.argmax(axis=1)
    for modality, logits in found.unimodal.items():
        columns |= named(f"pretrain_{modality}", logits)
    return pd.DataFrame(columns)


def named(prefix: str, logits: np.ndarray) -> dict[str, np.ndarray]:
    """{prefix}_negative, {prefix}_neutral, {prefix}_positive of logits (clips, 3)."""
    return {f"{prefix}_{name}": logits[:, i] for i, name in enumerate(CLASSES)}
