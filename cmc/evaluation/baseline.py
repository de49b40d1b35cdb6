"""Predictions of one seed of a baseline on the test and validation split, and their metrics."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cmc.corpus import consistency
from cmc.evaluation import evaluate, simple, tables
from cmc.features import store
from cmc.labels import Has0, Scheme
from cmc.training import dataset
from cmc.training.baseline import TrainedBaseline


def run(
    features: str | Path,
    kind: str,
    sources: Sequence[str | Path],
    subsets: str | Path,
    predictions_out: str | Path,
    validation_out: str | Path,
    metrics_out: str | Path,
    *,
    name: str,
    variant: str,
    seed: int,
    has0: Has0 | None,
    mask_padding: bool,
    folds: Sequence[int | None] = (None,),
    class_weights: str = "none",
    device: str = "cpu",
) -> None:
    """Predict test and validation split with a baseline; write the same files as
    `cmc.evaluation.evaluate.run`.

    Parameters
    ----------
    features, subsets : path
    kind : {'trained', 'logistic', 'late_average'}
    sources : sequence of path
        Of a trained baseline its checkpoints, one a fold; of the late average predictions of the test and of the
        validation split of the variant whose unimodal models it averages; of logistic regression none.
    predictions_out, validation_out, metrics_out : path
    name, variant : str
        Data set and baseline, as the table calls them.
    seed : int
    has0, mask_padding
        See `cmc.training.pretrain.run`.
    folds : sequence of int or None
        Those of the data set, (None,) if it has splits.
    class_weights : {'none', 'balanced'}
        Of logistic regression.
    device : str
    """
    with store.Reader(features) as reader:
        scheme = Scheme(reader.names, has0)
    parts: dict[str, list[pd.DataFrame]] = {"test": [], "valid": []}
    objective = "classification"
    for place, fold in enumerate(folds):
        classes = dataset.load_classes(features, "train", fold)
        splits = {split: dataset.load(features, split, device, mask_padding, fold) for split in parts}
        if kind == "trained":
            model = TrainedBaseline(sources[place], device)
            outputs = {split: model.outputs(clips) for split, clips in splits.items()}
        elif kind == "logistic":
            train = dataset.load(features, "train", device, mask_padding, fold)
            outputs, _ = simple.logistic(splits | {"train": train}, scheme, class_weights)
        else:
            outputs = {
                split: simple.late_average(own_fold(tables.read_predictions(path), fold), scheme)
                for split, path in zip(parts, sources, strict=True)
            }
        for split, clips in splits.items():
            if outputs[split].shape[1] == 1:
                objective, own = "regression", evaluate.regressed(outputs[split][:, 0], scheme, model.neutral)
            else:
                own = evaluate.answered(outputs[split], scheme.classes)
            table = pd.DataFrame(evaluate.described(clips) | own)
            table[list(tables.MAJORITY)] = tables.constant(classes, scheme)
            parts[split].append(table if fold is None else table.assign(fold=fold))
    table, validation = (pd.concat(found, ignore_index=True) for found in parts.values())
    scores = tables.score(table, consistency.read(subsets), scheme, variant)
    scores |= {"dataset": name, "variant": variant, "seed": seed, **scheme.facts, "signatures": []}
    scores["objective"] = objective
    evaluate.write(table, validation, scores, predictions_out, validation_out, metrics_out)


def own_fold(table: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    return table if fold is None else table[table["fold"] == fold]
