"""Does the consensus do what it is for: who is weighed, who is right where others are wrong, where it fails."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import entropy

from cmc import MODALITIES
from cmc.corpus.consistency import UNIMODAL
from cmc.evaluation import statistics, tables
from cmc.labels import Scheme, given
from cmc.metrics import FEWEST_CLIPS, headline

SEVERAL, NONE = "several", "none"  # dissenting modalities
WEAK, STRONG = 1 / 3, 2 / 3  # of the largest label there is
PARTS = 3  # of equally many clips, for lengths and qualities
QUALITIES = ("seconds", "tokens", "faces", "face_pixels", "voiced", "silence")


def dissenting(clips: pd.DataFrame, modalities: Sequence[str], scheme: Scheme) -> np.ndarray | None:
    """Whose own label is of another class than the clip's, (clips,) str: a modality, several or none.

    "" where a unimodal label is absent; None if no clip has them all.

    Parameters
    ----------
    clips : DataFrame
        class, and label_T, label_A, label_V where there are any.
    """
    columns = [UNIMODAL[modality] for modality in modalities]
    if not set(columns) <= set(clips):
        return None
    there = np.stack([given(clips[column].to_numpy()) for column in columns]).all(axis=0)
    if not there.any():
        return None
    found = np.full(len(clips), "", dtype=object)
    own = np.stack([scheme.numbers(clips.loc[there, column].to_numpy()) for column in columns])
    other = own != clips.loc[there, "class"].to_numpy()
    names = np.array([*modalities, NONE], dtype=object)
    first = np.where(other.any(axis=0), other.argmax(axis=0), len(modalities))
    found[there] = np.where(other.sum(axis=0) > 1, SEVERAL, names[first])
    return found


def groups(
    clips: pd.DataFrame, subsets: Mapping[str, Sequence[str]], scheme: Scheme
) -> dict[tuple[str, str], np.ndarray]:
    """Clips (clips,) bool by what they have in common: (kind, group)."""
    found = {("subset", name): part for name, part in tables.rows(clips["clip_id"], subsets).items()}
    modalities = tables.routed(clips)
    if (dissents := dissenting(clips, modalities, scheme)) is not None:
        for name in (*modalities, SEVERAL, NONE):
            found["dissents", name] = dissents == name
    return found


def weights(
    predictions: Sequence[pd.DataFrame], subsets: Mapping[str, Sequence[str]], scheme: Scheme
) -> pd.DataFrame:
    """What router and experts do, by subset and by whose own label dissents.

    Parameters
    ----------
    predictions : sequence of DataFrame
        Of the test split, one a seed.
    subsets : mapping
        See `cmc.corpus.consistency.read`.
    scheme : Scheme

    Returns
    -------
    DataFrame
        kind, group, n, measure, modality, mean, std (over seeds). Measures: weight, the router's mean weight;
        expert_wrong_consensus_right and expert_right_consensus_wrong, shares of the clips that the router gave
        the expert, which n then counts (mean over seeds); entropy, of the
        router's weights, 1 if they are equal.
    """
    rows: dict[tuple[str, str, str, str], list[float]] = {}
    sizes: dict[tuple[str, str, str, str], list[int]] = {}

    def add(key: tuple[str, str, str, str], values: np.ndarray) -> None:
        if len(values):
            rows.setdefault(key, []).append(float(values.mean()))
            sizes.setdefault(key, []).append(len(values))

    for own in predictions:
        modalities = tables.routed(own)
        router = own[[f"router_{modality}" for modality in modalities]].to_numpy()
        right = own["prediction"].to_numpy() == own["class"].to_numpy()
        said = {
            modality: own[[f"{modality}_{name}" for name in scheme.classes]].to_numpy().argmax(axis=1)
            for modality in modalities
        }
        for key, chosen in groups(own, subsets, scheme).items():
            if not chosen.any():
                continue
            spread = entropy(router[chosen], axis=1) / np.log(max(len(modalities), 2))
            add((*key, "entropy", ""), spread)
            for place, modality in enumerate(modalities):
                asked = chosen & (router[:, place] > 0)
                expert = said[modality] == own["class"].to_numpy()
                add((*key, "weight", modality), router[chosen, place])
                add((*key, "expert_wrong_consensus_right", modality), (~expert & right)[asked])
                add((*key, "expert_right_consensus_wrong", modality), (expert & ~right)[asked])
    return pd.DataFrame(
        {
            "kind": kind,
            "group": group,
            "n": round(np.mean(sizes[kind, group, measure, modality])),
            "measure": measure,
            "modality": modality,
            "mean": np.mean(values),
            "std": np.std(values, ddof=1) if len(values) > 1 else np.nan,
        }
        for (kind, group, measure, modality), values in rows.items()
    )


def pseudo_labels(histories: Sequence[Sequence[Mapping[str, float]]]) -> pd.DataFrame:
    """What stage 1 made of the training clips' labels, by epoch.

    Parameters
    ----------
    histories : sequence of sequence of mapping
        Of stage 1, one a run (see `cmc.training.pretrain.Pretraining.train_epoch`).

    Returns
    -------
    DataFrame
        modality, epoch, runs; changed: share of hard labels that differ from the multimodal one; flips: share that
        the epoch changed; agreement and kappa (Cohen's) with the annotated label of the modality, empty without
        such labels. Means over the runs that had the epoch.
    """
    records = [
        {"modality": modality, "epoch": epoch["epoch"]}
        | {
            name: epoch.get(f"{name}_{modality}", np.nan)
            for name in ("changed", "flips", "agreement", "kappa")
        }
        for history in histories
        for epoch in history
        for modality in MODALITIES
        if f"changed_{modality}" in epoch
    ]
    columns = ["modality", "epoch", "runs", "changed", "flips", "agreement", "kappa"]
    if not records:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(records)
    grouped = table.groupby(["modality", "epoch"], sort=False)
    found = grouped.mean().reset_index().merge(grouped.size().rename("runs").reset_index())
    return found.sort_values(
        ["modality", "epoch"], key=lambda c: c.map(MODALITIES.index) if c.name == "modality" else c
    )[columns].reset_index(drop=True)


def failures(
    predictions: Sequence[pd.DataFrame],
    subsets: Mapping[str, Sequence[str]],
    quality: pd.DataFrame | None,
    scheme: Scheme,
    variant: str,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Where the model fails: its headline metric by what clips have in common.

    Parameters
    ----------
    predictions : sequence of DataFrame
        Of the test split, one a seed.
    subsets : mapping
    quality : DataFrame, optional
        See `cmc.features.extract.read_quality`; None of features that were not extracted here.
    scheme : Scheme
    variant : str
    resamples, seed : int
        See `cmc.evaluation.statistics.resampled`.

    Returns
    -------
    DataFrame
        kind, group, n, metric, mean, low, high (95 %), in percent. Kinds: subset, dissents (whose own label is
        of another class), strength of a polarity's label, and seconds, tokens, faces, face_pixels, voiced, silence
        in thirds of equally many clips. Groups of less than `FEWEST_CLIPS` clips have no percentages.
    """
    answers = statistics.gather({variant: predictions}, subsets, scheme)
    first, metric = predictions[0], headline(scheme)
    found = groups(first, subsets, scheme)
    if scheme.polar:
        found |= strengths(first["label"].to_numpy(dtype=float))
    if quality is not None:
        found |= dict(thirds(first["clip_id"], quality))
    only = statistics.Answers(
        answers.labels, answers.clusters, found, {variant: answers.said[variant]}, answers.right
    )
    scores = statistics.resampled(only, scheme, resamples, seed)
    ones = np.ones((1, len(first)))
    rows = []
    for (kind, group), part in found.items():
        low, high = statistics.interval(scores[variant, (kind, group)][metric])
        own = [
            statistics.weighted(said, answers.labels, ones * part, scheme)[metric][0]
            for said in only.said[variant]
        ]
        known = part.sum() >= FEWEST_CLIPS
        percent = [100 * value if known else np.nan for value in (np.mean(own), low, high)]
        rows.append((kind, group, int(part.sum()), metric, *percent))
    return pd.DataFrame(rows, columns=["kind", "group", "n", "metric", "mean", "low", "high"])


def strengths(labels: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Clips by how strong their label is, in thirds of the strongest one's."""
    strong = np.abs(labels) / max(np.abs(labels).max(), np.finfo(float).tiny)
    return {
        ("strength", "neutral"): strong == 0,
        ("strength", "weak"): (strong > 0) & (strong <= WEAK),
        ("strength", "medium"): (strong > WEAK) & (strong <= STRONG),
        ("strength", "strong"): strong > STRONG,
    }


def thirds(clips: pd.Series, quality: pd.DataFrame) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Clips in three parts by each figure of their material that differs."""
    table = quality.set_index("clip_id").reindex(clips)
    for name in (name for name in QUALITIES if name in table):
        values = table[name].to_numpy(dtype=float)
        if not np.isfinite(values).any():
            continue
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, PARTS + 1)))
        for place, (low, high) in enumerate(pairwise(edges), start=1):
            last = place == len(edges) - 1
            part = (values >= low) & ((values <= high) if last else (values < high))
            yield (name, f"{low:.4g} to {high:.4g}"), part
