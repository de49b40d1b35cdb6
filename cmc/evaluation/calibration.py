"""How far a model's probabilities can be believed, before and after a temperature fitted on validation clips."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cmc.evaluation import tables
from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that calibration may choose
BINS = 10
MEASURES = ("ece", "brier", "nll")
SCORES = [f"{measure}_{when}" for measure in MEASURES for when in ("before", "after")]
COLUMNS = ["model", "subset", "n", "seeds", "temperature", *(f"{s}{e}" for s in SCORES for e in ("", "_std"))]
EXPERT = "expert_"  # and a modality: an expert within the multimodal model


def temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature that makes softmax(logits / temperature) likeliest: (clips, classes), (clips,).

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(classes)), classes].mean())

    bounds = np.log([COLDEST, HOTTEST])
    return round(float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)), 6)


def bins(chances: np.ndarray, classes: np.ndarray, count: int = BINS) -> pd.DataFrame:
    """Clips by confidence, in bins of equally many: n, confidence (mean of the largest probability), accuracy.

    Parameters
    ----------
    chances : (n, classes) float
        Probabilities.
    classes : (n,) int
    """
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == classes
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(count, len(classes)))
    return pd.DataFrame(
        {"n": len(part), "confidence": confidence[part].mean(), "accuracy": right[part].mean()}
        for part in parts
    )


def measure(chances: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """ECE, Brier score and negative log-likelihood of probabilities (n, classes).

    Returns
    -------
    dict
        ece: mean over bins of equally many clips of |accuracy - confidence|, in [0, 1]; brier: mean over clips of
        the squared distance to the one-hot label, in [0, 2]; nll, in nats.

    References
    ----------
    Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019 (bins of equal mass); Brier 1950.
    """
    table = bins(chances, classes)
    ece = float((table["n"] * (table["accuracy"] - table["confidence"]).abs()).sum() / table["n"].sum())
    one_hot = np.eye(chances.shape[1])[classes]
    likelihood = chances[np.arange(len(classes)), classes]
    return {
        "ece": ece,
        "brier": float(((chances - one_hot) ** 2).sum(axis=1).mean()),
        "nll": float(-np.log(np.maximum(likelihood, np.finfo(float).tiny)).mean()),
    }


def logits_of(predictions: pd.DataFrame, variant: str, scheme: Scheme) -> dict[str, np.ndarray]:
    """Logits (clips, classes) of the consensus, the unimodal models and the experts."""
    found = tables.model_logits(predictions, variant, scheme)
    for modality in tables.routed(predictions):
        columns = [f"{modality}_{name}" for name in scheme.classes]
        found[f"{EXPERT}{modality}"] = predictions[columns].to_numpy(dtype=np.float64)
    return found


def evaluate(
    test: Sequence[pd.DataFrame],
    validation: Sequence[pd.DataFrame],
    subsets: Mapping[str, Sequence[str]],
    scheme: Scheme,
    variant: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calibration of a variant's consensus, unimodal models and experts.

    Parameters
    ----------
    test, validation : sequence of DataFrame
        Predictions, one a seed and in the same order.
    subsets : mapping
        See `cmc.corpus.consistency.read`.
    scheme : Scheme
    variant : str

    Returns
    -------
    DataFrame
        model, subset, n, seeds, temperature (of folds the mean over the clips); {ece, brier, nll}_{before, after}:
        means over seeds, and _std their sample standard deviations. An expert is judged on the clips that the
        router gave it.
    DataFrame
        model, scaled (before, after), bin (1 is the least sure), n, confidence, accuracy, over the test clips of
        all seeds.
    """
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    pooled: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for tested, seen in zip(test, validation, strict=True):
        labels = tested["class"].to_numpy()
        parts = tables.rows(tested["clip_id"], subsets)
        before_fit = logits_of(seen, variant, scheme)
        for model, logits in logits_of(tested, variant, scheme).items():
            warmth = temperatures(tested, seen, before_fit[model], model)
            chosen = chosen_by(tested, model) & np.isfinite(warmth)
            if not chosen.any():
                continue
            scaled = {"before": softmax(logits, axis=1), "after": softmax(logits / warmth[:, None], axis=1)}
            for subset, part in parts.items():
                own = part & chosen
                if own.sum() < FEWEST_CLIPS:
                    continue
                row: dict[str, float] = {"n": int(own.sum()), "temperature": float(warmth[own].mean())}
                for when, chances in scaled.items():
                    found = measure(chances[own], labels[own])
                    row |= {f"{name}_{when}": value for name, value in found.items()}
                rows.setdefault((model, subset), []).append(row)
            for when, chances in scaled.items():
                pooled.setdefault((model, when), []).append((chances[chosen], labels[chosen]))
    reliability = []
    for (model, when), parts_of in pooled.items():
        chances, labels = (np.concatenate(side) for side in zip(*parts_of, strict=True))
        for number, row in enumerate(bins(chances, labels).to_dict("records"), start=1):
            reliability.append({"model": model, "scaled": when, "bin": number, **row})
    return summed(rows), pd.DataFrame(reliability)


def temperatures(tested: pd.DataFrame, seen: pd.DataFrame, logits: np.ndarray, model: str) -> np.ndarray:
    """The temperature of each test clip, (clips,), fitted on its model's own validation clips.

    Of a data set in folds each fold has a model and validation clips of its own. NaN where a model says nothing of
    any validation clip.

    Parameters
    ----------
    tested, seen : DataFrame
        Predictions of the test and of the validation split.
    logits : (clips, classes) float
        Of the validation clips.
    model : str
    """
    chosen, classes, found = chosen_by(seen, model), seen["class"].to_numpy(), np.full(len(tested), np.nan)
    of_tested, of_seen = (
        own["fold"].to_numpy() if "fold" in own else np.zeros(len(own)) for own in (tested, seen)
    )
    for fold in np.unique(of_tested):
        if (fitted := chosen & (of_seen == fold)).any():
            found[of_tested == fold] = temperature(logits[fitted], classes[fitted])
    return found


def chosen_by(predictions: pd.DataFrame, model: str) -> np.ndarray:
    """The clips that a model says something of: of an expert, those that the router gave it."""
    if not model.startswith(EXPERT):
        return np.ones(len(predictions), dtype=bool)
    return predictions[f"router_{model.removeprefix(EXPERT)}"].to_numpy() > 0


def summed(rows: Mapping[tuple[str, str], Sequence[Mapping[str, float]]]) -> pd.DataFrame:
    """Means and spreads over the seeds."""
    found = []
    for (model, subset), own in rows.items():
        seeds = pd.DataFrame(own)
        row = {"model": model, "subset": subset, "n": round(seeds["n"].mean()), "seeds": len(seeds)}
        row["temperature"] = seeds["temperature"].mean()
        for name in SCORES:
            row |= {name: seeds[name].mean(), f"{name}_std": seeds[name].std(ddof=1)}
        found.append(row)
    return pd.DataFrame(found, columns=None if found else COLUMNS)
