"""How sure a number is: intervals over clips and seeds, and whether two models can be told apart.

Clips of one source video are not independent. A resample draws source videos (speakers, where the label file names
them) with all their clips, and seeds, both with replacement; all models are scored on the same ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import binomtest

from cmc.corpus import consistency
from cmc.evaluation import tables
from cmc.evaluation.tables import ALPHA, PERCENT
from cmc.labels import Scheme, binary
from cmc.metrics import FEWEST_CLIPS, answers_of_scores, headline, of_regression, weighted
from cmc.metrics import answers as answers_of

LIMITS = {"mae": (0, np.inf), "corr": (-1, 1)}  # all other metrics are shares
FEWEST_CLUSTERS = 6  # even if all of five agree, chance alone does that once in 16 times: p is above 0.05


@dataclass(frozen=True)
class Answers:
    """What the models of a table say of the same clips.

    Attributes
    ----------
    labels : (clips,) int
        Classes.
    clusters : (clips,) str
        Speaker or source video.
    subsets : dict
        test, msc, msi, or other groups -> which clips (clips,) are in it.
    said : dict
        Model -> (seeds, clips, 2) int, see `cmc.metrics.answers`.
    right : dict
        Model -> (clips,) bool: whether what its seeds say together, by their mean probabilities, is right as
        the headline metric counts: the side of polarity, else the class. Of regressions, by their mean score.
    scores : dict
        Regression -> (seeds, clips) float.
    values : (clips,)
        The labels themselves.
    """

    labels: np.ndarray
    clusters: np.ndarray
    subsets: Mapping[Any, np.ndarray]
    said: Mapping[str, np.ndarray]
    right: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: np.ndarray = field(default_factory=lambda: np.array([]))


def gather(
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    subsets: Mapping[str, Sequence[str]],
    scheme: Scheme,
) -> Answers:
    """The answers of all models of a table.

    Parameters
    ----------
    predictions : mapping
        Variant -> its predictions, one a seed; the first one's unimodal models and majority are the table's.
    subsets : mapping
        See `cmc.corpus.consistency.read`.
    scheme : Scheme

    Raises
    ------
    ValueError
        If two predictions are of other clips.
    """
    first = next(iter(predictions.values()))[0]
    clips = first["clip_id"]
    said: dict[str, list[np.ndarray]] = {}
    chances: dict[str, list[np.ndarray]] = {}
    scores: dict[str, list[np.ndarray]] = {}
    for place, (variant, seeds) in enumerate(predictions.items()):
        for own in seeds:
            if own["clip_id"].tolist() != clips.tolist():
                raise ValueError(f"the predictions of {variant} are of other clips than the first ones")
            for model, answers in tables.said_by(own, variant, scheme).items():
                if model == variant or place == 0:
                    said.setdefault(model, []).append(answers)
            for model, logits in tables.model_logits(own, variant, scheme).items():
                if model == variant or place == 0:
                    chances.setdefault(model, []).append(softmax(logits, axis=1))
            if tables.SCORE in own:
                scores.setdefault(variant, []).append(own[tables.SCORE].to_numpy())
    labels = first["class"].to_numpy()
    together = {model: answers_of(np.mean(own, axis=0), scheme) for model, own in chances.items()}
    together |= {
        model: answers_of_scores(np.mean(own, axis=0), scheme, neutral=0.0) for model, own in scores.items()
    }
    together["majority"] = said["majority"][0]
    # the first column is what the headline metric counts
    truth = labels if scheme.has0 is None else binary(labels, scheme.has0)
    return Answers(
        labels,
        first["cluster"].to_numpy(),
        tables.rows(clips, subsets),
        {model: np.stack(said[model]) for model in (*predictions, *tables.BASELINES) if model in said},
        {model: own[:, 0] == truth for model, own in together.items()},
        {model: np.stack(own) for model, own in scores.items()},
        first["label"].to_numpy() if scores else np.array([]),
    )


def resampled(
    answers: Answers, scheme: Scheme, resamples: int, seed: int
) -> dict[tuple[str, Any], dict[str, np.ndarray]]:
    """Scores of each model and subset on resamples of clusters and seeds.

    Returns
    -------
    dict
        (model, subset) -> metric -> (resamples,) float, the mean over the drawn seeds, in `LIMITS`; all NaN where
        the subset's clips are of less than `FEWEST_CLUSTERS` clusters. Of one resample, all models have the same
        clips, and those with as many seeds the same seeds.
    """
    rng = np.random.default_rng(seed)
    weights = drawn(answers.clusters, resamples, rng)
    counts = sorted({len(own) for own in answers.said.values()})
    seeds = {count: shares_of(count, resamples, rng) for count in counts}
    found = {}
    for (model, said), (subset, chosen) in product(answers.said.items(), answers.subsets.items()):
        by_seed = [weighted(one[chosen], answers.labels[chosen], weights[:, chosen], scheme) for one in said]
        for found_of, scores in zip(by_seed, answers.scores.get(model, []), strict=False):
            found_of |= of_regression(scores[chosen], answers.values[chosen], weights[:, chosen])
        shares = seeds[len(said)]
        enough = 1.0 if clusters_of(answers, chosen) >= FEWEST_CLUSTERS else np.nan
        found[model, subset] = {
            metric: enough
            * (np.stack([scores[metric] for scores in by_seed], axis=1) * shares)
            .sum(axis=1)
            .clip(*LIMITS.get(metric, (0, 1)))
            for metric in by_seed[0]
        }
    return found


def clusters_of(answers: Answers, chosen: np.ndarray) -> int:
    """How many speakers or source videos some clips are of."""
    return len(np.unique(answers.clusters[chosen]))


def shares_of(count: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The weight of each seed, (resamples, count), drawn with replacement; each row's sum is 1.

    Of so few, a plain draw varies by (count - 1) / count too little; the weights are stretched by what is missing,
    so that the mean over seeds has its unbiased variance.
    """
    shares = rng.multinomial(count, [1 / count] * count, size=resamples) / count
    return 1 / count + (shares - 1 / count) * (np.sqrt(count / (count - 1)) if count > 1 else 1)


def drawn(clusters: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each clip is drawn, (resamples, clips): with its cluster, clusters with replacement."""
    names, places = np.unique(clusters, return_inverse=True)
    return rng.multinomial(len(names), [1 / len(names)] * len(names), size=resamples)[:, places]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle of the resamples, all but `ALPHA`; NaN where nothing is known."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50 * ALPHA, 100 - 50 * ALPHA])
    return float(low), float(high)


def intervals(
    scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]], clusters: Mapping[str, int]
) -> pd.DataFrame:
    """The interval of each metric, as tables have it (percent, or the unit of labels).

    Returns
    -------
    DataFrame
        model, subset, metric, low, high; and the subset's clusters.
    """
    return pd.DataFrame(
        {"model": model, "subset": subset, "metric": metric}
        | {"low": tables.unit(metric) * low, "high": tables.unit(metric) * high}
        | {"clusters": clusters[subset]}
        for (model, subset), own in scores.items()
        for metric, values in own.items()
        for low, high in [interval(values)]
    )


def p_value(differences: np.ndarray) -> float:
    """How likely a difference as large is if there is none: two-sided, by the share of resamples beyond 0.

    NaN where nothing is known.
    """
    known = differences[np.isfinite(differences)]
    if not len(known):
        return float("nan")
    below, above = ((1 + (known * sign >= 0).sum()) / (1 + len(known)) for sign in (-1, 1))
    return float(min(1.0, 2 * min(below, above)))


def mcnemar(reference: np.ndarray, other: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two models on the same clips, (n,) bool each: whether it is right.

    Returns
    -------
    int, int, float
        Clips that the reference alone has right, that the other alone has right; two-sided p.
    """
    first, second = int((reference & ~other).sum()), int((other & ~reference).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return first, second, float(p)


def holm(p: np.ndarray) -> np.ndarray:
    """p values corrected for how many they are, (n,): Holm 1979. NaN is no p value and stays."""
    corrected, known = np.full(len(p), np.nan), np.flatnonzero(~np.isnan(p))
    order, count = known[np.argsort(p[known], kind="stable")], len(known)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * (count - np.arange(count))), 1)
    return corrected


def compare(
    answers: Answers,
    scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    means: Mapping[tuple[str, str], float],
    scheme: Scheme,
) -> pd.DataFrame:
    """Each model against the first one, by the headline metric.

    Parameters
    ----------
    answers, scores
        See `gather` and `resampled`.
    means : mapping
        (model, subset) -> the metric itself, percent.
    scheme : Scheme

    Returns
    -------
    DataFrame
        model, reference, subset, n, clusters, metric; difference of the means (model less reference), its interval
        low, high in points; p by the resamples (none of less than `FEWEST_CLUSTERS` clusters), p_holm corrected
        for the models compared on the subset; right by the reference alone, by the model alone, and McNemar's p,
        of what each model's seeds say together; apart: whether p_holm is below 0.05. No row of subsets of less
        than `FEWEST_CLIPS` clips.
    """
    reference, *others = answers.said
    metric = headline(scheme)
    parts = []
    for subset, chosen in answers.subsets.items():
        if chosen.sum() < FEWEST_CLIPS:
            continue
        rows = []
        for model in others:
            differences = PERCENT * (scores[model, subset][metric] - scores[reference, subset][metric])
            low, high = interval(differences)
            right = [answers.right[name][chosen] for name in (reference, model)]
            alone, other, p = mcnemar(*right)
            rows.append(
                {
                    "model": model,
                    "reference": reference,
                    "subset": subset,
                    "n": int(chosen.sum()),
                    "clusters": clusters_of(answers, chosen),
                    "metric": metric,
                    "difference": means[model, subset] - means[reference, subset],
                    "low": low,
                    "high": high,
                    "p": p_value(differences),
                    "reference_alone_right": alone,
                    "model_alone_right": other,
                    "mcnemar_p": p,
                }
            )
        if rows:
            parts.append(pd.DataFrame(rows))
    return corrected(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS))


def corrected(compared: pd.DataFrame) -> pd.DataFrame:
    """Comparisons with p_holm and apart: corrected for how many there are on a subset."""
    p_holm = compared.groupby("subset")["p"].transform(lambda own: holm(own.to_numpy(dtype=float)))
    return compared.assign(p_holm=p_holm, apart=p_holm < ALPHA)[COLUMNS]


def family(compared: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Comparisons of several tables, corrected for how many there are in all of them together."""
    whole = corrected(pd.concat(compared, keys=range(len(compared))))
    return [whole[whole.index.get_level_values(0) == place] for place in range(len(compared))]


def read(paths: Sequence[str | Path], runs: Sequence[Mapping]) -> dict[str, list[pd.DataFrame]]:
    """Predictions by variant, one a seed; `runs` are the metrics of the same runs in the same order."""
    found: dict[str, list[pd.DataFrame]] = {}
    for path, run in zip(paths, runs, strict=True):
        found.setdefault(run["variant"], []).append(tables.read_predictions(path))
    return found


COLUMNS = [
    "model",
    "reference",
    "subset",
    "n",
    "clusters",
    "metric",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "reference_alone_right",
    "model_alone_right",
    "mcnemar_p",
    "apart",
]


def of_table(
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    runs: Sequence[Mapping],
    subsets: str | Path,
    resamples: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Intervals and comparisons of a table's models; see `intervals` and `compare`.

    Parameters
    ----------
    predictions : mapping
        Variant -> predictions, one a seed.
    runs : sequence of mapping
        Metrics of all variants and seeds, see `cmc.evaluation.evaluate.run`.
    subsets : path
        The consistency subsets.
    resamples, seed : int
    """
    scheme = Scheme.of(runs[0])
    answers = gather(predictions, consistency.read(subsets), scheme)
    scores = resampled(answers, scheme, resamples, seed)
    metric, reference = headline(scheme), next(iter(predictions))
    means = {
        (model, subset): PERCENT
        * float(
            np.mean(
                [
                    run["models"][model][subset][metric]
                    for run in runs
                    if run["variant"] == (model if model in predictions else reference)
                ]
            )
        )
        for model in answers.said
        for subset in answers.subsets
    }
    clusters = {subset: clusters_of(answers, chosen) for subset, chosen in answers.subsets.items()}
    return intervals(scores, clusters), compare(answers, scores, means, scheme)
