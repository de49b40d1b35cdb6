"""Predictions of one seed on the test split, and their metrics."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from cmc import files, metrics
from cmc.corpus import consistency
from cmc.corpus.consistency import UNIMODAL
from cmc.evaluation import signatures, tables
from cmc.labels import Scheme, given
from cmc.training import checkpoint, dataset
from cmc.training.dataset import Split
from cmc.training.trained import TrainedModel


def run(
    features: str | Path,
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    subsets: str | Path,
    predictions_out: str | Path,
    validation_out: str | Path,
    metrics_out: str | Path,
    *,
    name: str,
    variant: str,
    device: str = "cpu",
) -> None:
    """Predict test and validation split with the models of both stages; write predictions (CSV), metrics (JSON).

    Parameters
    ----------
    features, subsets : path
        Feature file, consistency subsets.
    pretrained, finetuned : sequence of path
        Checkpoints of stage 1 and 2 of the seed; of a data set in folds one for each fold, in the same order.
    predictions_out, validation_out, metrics_out : path
        Predictions of the test and of the validation split; metrics of the test split.
    name, variant : str
        Data set and variant, as the table calls them.
    device : str
    """
    parts: dict[str, list[pd.DataFrame]] = {"test": [], "valid": []}
    histories, trained = [], []
    for before, after in zip(pretrained, finetuned, strict=True):
        model, first, second = TrainedModel.load(before, after, device)
        recipe = second["recipe"]
        scheme, fold = Scheme.of(recipe), recipe["fold"]
        classes = dataset.load_classes(features, "train", fold)
        for split, found in parts.items():
            clips = dataset.load(features, split, device, recipe["mask_padding"], fold)
            checkpoint.check_features(model.dims, clips.widths, after)
            own = predictions(clips, model)
            own[list(tables.MAJORITY)] = tables.constant(classes, scheme)
            found.append(own if fold is None else own.assign(fold=fold))
        histories.append(first["history"])
        trained.append(len(classes))
    table, validation = (pd.concat(found, ignore_index=True) for found in parts.values())
    scores = tables.score(table, consistency.read(subsets), scheme, variant)
    scores |= {"dataset": name, "variant": variant, "seed": recipe["seed"], **scheme.facts}
    scores["signatures"] = signatures.measure(scores, variant, histories, min(trained))
    write(table, validation, scores, predictions_out, validation_out, metrics_out)


def write(
    table: pd.DataFrame,
    validation: pd.DataFrame,
    scores: Mapping[str, Any],
    predictions_out: str | Path,
    validation_out: str | Path,
    metrics_out: str | Path,
) -> None:
    """Predictions of both splits as CSV, metrics as JSON."""
    for path, own in ((predictions_out, table), (validation_out, validation)):
        files.write_text(path, own.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    files.write_text(metrics_out, json.dumps(scores, indent=1, sort_keys=True) + "\n")


def predictions(clips: Split, model: TrainedModel) -> pd.DataFrame:
    """One row a clip: labels, class, logits of all models, probabilities, router weights, prediction.

    `cluster` is the clip's speaker, or its source video if that is not known: clips of one are not independent.
    """
    found, names = model.predict(clips), Scheme(clips.names).classes
    columns = described(clips) | answered(found.logits, names)
    for modality, logits in found.experts.items():
        columns |= named(modality, logits, names)
        columns[f"router_{modality}"] = found.router[modality]
    for modality, logits in found.unimodal.items():
        columns |= named(f"pretrain_{modality}", logits, names)
    return pd.DataFrame(columns)


def described(clips: Split) -> dict[str, Any]:
    """Columns of what clips are: id, cluster, labels, class."""
    return {
        "clip_id": clips.clips["clip_id"],
        "cluster": clusters(clips.clips),
        "label": clips.clips["label"],
        **{
            name: clips.clips[name] for name in UNIMODAL.values() if given(clips.clips[name].to_numpy()).any()
        },
        "class": clips.classes("M").numpy(),
    }


def answered(logits: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Columns of what a model says: logits, probabilities, the class."""
    return {
        **named("logits", logits, names),
        **named("probability", softmax(logits.astype(np.float64), axis=1), names),
        "prediction": logits.argmax(axis=1),
    }


def regressed(scores: np.ndarray, scheme: Scheme, neutral: float) -> dict[str, Any]:
    """Columns of what a regression says: its score, the side of polarity, the class."""
    side, chosen = metrics.answers_of_scores(scores, scheme, neutral).T
    return {tables.SCORE: scores, "side": side, "prediction": chosen}


def clusters(clips: pd.DataFrame) -> pd.Series:
    """Speaker of each clip, or its source video where that is not known."""
    if "speaker" not in clips:
        return clips["video_id"]
    return clips["speaker"].where(clips["speaker"] != "", clips["video_id"])


def named(prefix: str, logits: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """{prefix}_{class} of logits (clips, classes)."""
    return {f"{prefix}_{name}": logits[:, i] for i, name in enumerate(names)}
