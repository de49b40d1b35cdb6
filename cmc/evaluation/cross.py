"""Trained on one data set, tested on another: whether that can be done, and how far apart the two are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmc.features import store
from cmc.training import dataset

FARTHEST = 3.0  # standard deviations between the medians of two data sets' features


class CrossError(Exception):
    """Two data sets whose features differ; the message says how."""


def check(trained: str | Path, tested: str | Path) -> None:
    """Refuse two feature files that one model can't read, or whose clips are not apart.

    Raises
    ------
    CrossError
        Their modalities, extractors, versions, settings, columns or labels differ; or a clip that is tested was
        trained or chosen on: one of the same id and transcript.
    """
    with store.Reader(trained) as one, store.Reader(tested) as other:
        if one.modalities != other.modalities:
            raise CrossError(
                f"{trained} has {', '.join(one.modalities)}; {tested} has {', '.join(other.modalities)}"
            )
        if one.names != other.names:
            raise CrossError(
                f"the labels of {trained} are {one.names or 'numbers'}, of {tested} {other.names}"
            )
        keys = ["clip_id", "text"]
        known, asked = one.table("clips"), other.table("clips")
        seen = known.loc[known["split"] != "test", keys]
        if len(both := asked.loc[asked["split"] == "test", keys].merge(seen)):
            raise CrossError(
                f"{len(both)} test clips of {tested} are trained on in {trained}, {both['clip_id'].iloc[0]} for"
                " one: a score on them would say nothing"
            )
        for modality in one.modalities:
            first, second = one.recipe(modality), other.recipe(modality)
            if not store.same_recipe(first, second):
                different = [
                    f"{name} {getattr(first, name)!r} and {getattr(second, name)!r}"
                    for name in ("extractor", "version", "settings", "rate", "dtype")
                    if getattr(first, name) != getattr(second, name)
                ]
                raise CrossError(
                    f"the {modality} features of {trained} and {tested} were made otherwise: "
                    + ("; ".join(different) or "their columns differ")
                )


def distances(trained: str | Path, tested: str | Path) -> pd.DataFrame:
    """How far the test clips' features are from those trained on, by modality.

    Returns
    -------
    DataFrame
        modality, shift: median over the columns of the distance between their means, in standard deviations of the
        training frames; spread: median over the columns of the ratio of standard deviations.

    Raises
    ------
    CrossError
        Some modality is shifted by more than `FARTHEST`: the same extractor, but other material or scaling.
    """
    rows = []
    train, test = dataset.load(trained, "train"), dataset.load(tested, "test")
    for modality, own in train.features.items():
        values, others = (one.values.float().numpy() for one in (own, test.features[modality]))
        deviation = values.std(axis=0)
        varies = deviation > 0
        shift = float(
            np.median(np.abs(values.mean(axis=0) - others.mean(axis=0))[varies] / deviation[varies])
        )
        if shift > FARTHEST:
            raise CrossError(
                f"the {modality} features of {tested} lie {shift:.1f} standard deviations from those of {trained}:"
                " were they scaled otherwise?"
            )
        spread = float(np.median(others.std(axis=0)[varies] / deviation[varies]))
        rows.append({"modality": modality, "shift": round(shift, 3), "spread": round(spread, 3)})
    return pd.DataFrame(rows)


def shown(
    table: pd.DataFrame, pair: Mapping[str, str], distances: pd.DataFrame, variants: Sequence[str]
) -> pd.DataFrame:
    """The rows of a pair for the table over data sets: its models trained elsewhere, and trained there.

    Parameters
    ----------
    table : DataFrame
        See `cmc.evaluation.tables.table`; of the test data set, both models.
    pair : mapping
        train, test: data sets.
    distances : DataFrame
        See `distances`.
    variants : sequence of str
        The model trained there, and the one trained elsewhere.
    """
    own = table[table["model"].isin(variants)].reset_index(drop=True)
    there = own["model"] == variants[0]
    own.insert(0, "trained_on", np.where(there, pair["test"], pair["train"]))
    own.insert(1, "tested_on", pair["test"])
    for row in distances.to_dict("records"):
        own[f"shift_{row['modality']}"] = np.where(there, np.nan, row["shift"])
    return own
