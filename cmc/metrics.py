"""Accuracy and F1: of polarity over two classes and over three, of emotions by name over all of them."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, recall_score

from cmc.labels import NEGATIVE, NEUTRAL, POSITIVE, Scheme, binary, first_high

FEWEST_CLIPS = 10  # of fewer, each is worth more than ten points: no percentages are given of them
METRICS = ("acc2", "f1", "acc2_non0", "f1_non0", "acc3", "f1_3")  # of polarity; the first is the headline
REGRESSION = ("mae", "corr")  # beside those of polarity, of models that tell a score; no percentages
NAMED = ("uar", "wa", "macro_f1", "weighted_f1")  # of emotions by name; the first is the headline
OF_CLASS = "f1_"  # and a class: its F1
HEADINGS = {
    "acc2": "Acc-2",
    "f1": "F1",
    "acc2_non0": "Acc-2 Non0",
    "f1_non0": "F1 Non0",
    "acc3": "Acc-3",
    "f1_3": "F1-3",
    "mae": "MAE",
    "corr": "Corr",
    "uar": "UAR",
    "wa": "WA",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
}


def names(scheme: Scheme) -> tuple[str, ...]:
    """The metrics of a table, the headline one first; of emotions by name each class's F1 comes last."""
    return METRICS if scheme.polar else (*NAMED, *(OF_CLASS + name for name in scheme.classes))


def headline(scheme: Scheme) -> str:
    """The metric that sums up a model: two-class accuracy of polarity, unweighted average recall of emotions."""
    return names(scheme)[0]


def of_validation(scheme: Scheme) -> tuple[str, ...]:
    """The metrics that training tells of each epoch, and that tuning may choose by; the headline one first."""
    return METRICS[:2] if scheme.polar else NAMED


def evaluate(logits: np.ndarray, labels: np.ndarray, scheme: Scheme) -> dict[str, float]:
    """All metrics of a label scheme, as fractions in [0, 1].

    The two-class prediction is the larger of the negative and the positive logit, whatever the neutral one.

    Parameters
    ----------
    logits : (n, classes) float
        Scores of each class; of polarity negative, neutral and positive.
    labels : (n,) int
        Classes, from 0.
    scheme : Scheme
        Of polarity with `has0`, the side that neutral clips join in `acc2` and `f1`.

    Returns
    -------
    dict
        n: clips. Of polarity acc2, f1: two classes; acc2_non0, f1_non0: the same on clips that are not neutral;
        acc3, f1_3: three classes; uar, macro_f1: as below. Of emotions by name wa: accuracy ("weighted accuracy"
        in that field); uar: recall, averaged over the classes that some clip has ("unweighted accuracy");
        macro_f1: F1, averaged over the classes that clips or predictions have; weighted_f1; f1_{class}: NaN where
        neither clip nor prediction has the class. Other F1 are weighted by class support. No clips give NaN.

    Raises
    ------
    ValueError
        If shapes disagree, a label is no class, or a logit is not finite (the message names the row).

    See Also
    --------
    evaluate_with_published_fault : the Non0 values that the published implementation prints.

    References
    ----------
    "Calibrating Multimodal Consensus for Emotion Recognition", arXiv 2510.20256.
    """
    logits, labels = _checked(logits, labels, scheme)
    return score(answers(logits, scheme), labels, scheme)


def answers(logits: np.ndarray, scheme: Scheme) -> np.ndarray:
    """What logits say, (n, 2) int: the two-class side of polarity (0 or 1), else the class; and the class."""
    said = logits.argmax(axis=1)
    return np.stack([_side(logits) if scheme.polar else said, said], axis=1)


def answers_of_scores(scores: np.ndarray, scheme: Scheme, neutral: float) -> np.ndarray:
    """What a regression's scores say of polarity, (n, 2) int, see `answers`: their sign; and neutral up to the
    distance `neutral` from 0."""
    side = scores >= 0 if first_high(scheme.has0) == NEUTRAL else scores > 0
    chosen = np.where(np.abs(scores) <= neutral, NEUTRAL, np.where(scores > 0, POSITIVE, NEGATIVE))
    return np.stack([side, chosen], axis=1).astype(np.int64)


def of_regression(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """How near scores come to labels, in the unit of the labels.

    Parameters
    ----------
    scores, labels : (n,) float
    weights : (draws, n) float, optional
        How often each clip counts, for many weightings at once.

    Returns
    -------
    dict
        mae: mean absolute error; corr: Pearson's correlation, NaN where either side is constant. (draws,) float
        each; of no clips NaN.
    """
    weights = np.ones((1, len(labels))) if weights is None else weights
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = weights / weights.sum(axis=1, keepdims=True)
        mean = lambda values: (shares * values).sum(axis=-1)  # noqa: E731
        first, second = (own - mean(own)[:, None] for own in (scores, labels))
        spread = np.sqrt(mean(first**2) * mean(second**2))
        corr = np.where(spread > 1e-12, mean(first * second) / spread, np.nan)
        return {"mae": mean(np.abs(scores - labels)), "corr": corr}


def score(said: np.ndarray, labels: np.ndarray, scheme: Scheme) -> dict[str, float]:
    """The metrics of `evaluate`, of what a model says (n, 2), see `answers`."""
    side, chosen = np.asarray(said, dtype=np.int64).T
    averages = _averages(labels, chosen)
    if not scheme.polar:
        accuracy = _scores(labels, chosen, "wa", "weighted_f1")
        return {"n": len(labels), **averages, **accuracy, **_by_class(labels, chosen, scheme)}
    clear = labels != NEUTRAL
    two = binary(labels, scheme.has0)  # type: ignore[arg-type]
    return {
        "n": len(labels),
        **_scores(two, side, "acc2", "f1"),
        **_scores(two[clear], side[clear], "acc2_non0", "f1_non0"),
        **_scores(labels, chosen, "acc3", "f1_3"),
        **averages,
    }


def weighted(
    said: np.ndarray, labels: np.ndarray, weights: np.ndarray, scheme: Scheme
) -> dict[str, np.ndarray]:
    """The metrics of `names`, of clips that count more or less than once, for many weightings at once.

    Parameters
    ----------
    said : (n, 2) int
        See `answers`.
    labels : (n,) int
        Classes.
    weights : (draws, n) float
        How often each clip counts.
    scheme : Scheme

    Returns
    -------
    dict
        Metric -> (draws,) float, NaN where no clip counts.
    """
    side, chosen = np.asarray(said, dtype=np.int64).T
    whole = _of_confusions(_confusions(labels, chosen, weights, len(scheme.classes)))
    if not scheme.polar:
        found = {"uar": whole["uar"], "wa": whole["accuracy"], "macro_f1": whole["macro_f1"]}
        found["weighted_f1"] = whole["weighted_f1"]
        by_class = zip(scheme.classes, np.moveaxis(whole["f1"], -1, 0), strict=True)
        return found | {OF_CLASS + name: values for name, values in by_class}
    two = binary(labels, scheme.has0)  # type: ignore[arg-type]
    sides = _of_confusions(_confusions(two, side, weights, 2))
    clear = _of_confusions(_confusions(two, side, weights * (labels != NEUTRAL), 2))
    return {
        "acc2": sides["accuracy"],
        "f1": sides["weighted_f1"],
        "acc2_non0": clear["accuracy"],
        "f1_non0": clear["weighted_f1"],
        "acc3": whole["accuracy"],
        "f1_3": whole["weighted_f1"],
    }


def _confusions(truth: np.ndarray, said: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Confusion matrices (draws, count, count), true classes by rows."""
    cells = np.eye(count * count, dtype=np.float32)[truth * count + said]
    return (weights.astype(np.float32) @ cells).reshape(-1, count, count).astype(np.float64)


def _of_confusions(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and F1 of confusion matrices (draws, classes, classes)."""
    right, true, said = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = true.sum(axis=-1)
        f1, recall = 2 * right / (true + said), right / true
        there, heard = true > 0, true + said > 0
        return {
            "accuracy": right.sum(axis=-1) / total,
            "f1": f1,
            "weighted_f1": np.where(there, true * f1, 0).sum(axis=-1) / total,
            "macro_f1": np.where(heard, f1, 0).sum(axis=-1) / heard.sum(axis=-1),
            "uar": np.where(there, recall, 0).sum(axis=-1) / there.sum(axis=-1),
        }


def evaluate_with_published_fault(logits: np.ndarray, labels: np.ndarray, scheme: Scheme) -> dict[str, float]:
    """What the published implementation (and MMSA) computes of polarity: for comparison only, its Non0 are wrong.

    There the Non0 predictions are 0 or 1 and the labels 0 or 2, so that no positive clip is ever right.
    All else equals `evaluate`, whose parameters, keys and errors these are; nothing is rounded.
    """
    correct = evaluate(logits, labels, scheme)
    logits, labels = _checked(logits, labels, scheme)
    clear = labels != NEUTRAL
    return correct | _scores(labels[clear], _side(logits[clear]), "acc2_non0", "f1_non0")


def _checked(logits: np.ndarray, labels: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    count = len(scheme.classes)
    if logits.shape != (len(labels), count):
        raise ValueError(
            f"logits have shape {logits.shape}; {len(labels)} labels need ({len(labels)}, {count})"
        )
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise ValueError(f"logits of row {wrong[0]} are not finite: {logits[wrong[0]].tolist()}")
    wrong = np.flatnonzero(~np.isin(labels, range(count)))
    if wrong.size:
        raise ValueError(
            f"label {labels[wrong[0]]} of row {wrong[0]} is no class; classes are 0 to {count - 1}"
        )
    return logits, labels.astype(np.int64)


def _side(logits: np.ndarray) -> np.ndarray:
    """0 or 1, (n,): argmax over the negative and the positive logit; a tie is negative, as argmax has it."""
    return (logits[:, POSITIVE] > logits[:, NEGATIVE]).astype(np.int64)


def _scores(truth: np.ndarray, prediction: np.ndarray, accuracy: str, f1: str) -> dict[str, float]:
    if not len(truth):
        return {accuracy: float("nan"), f1: float("nan")}
    return {
        accuracy: float(accuracy_score(truth, prediction)),
        f1: float(f1_score(truth, prediction, average="weighted", zero_division=0)),
    }


def _averages(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Measures in which every class counts the same."""
    if not len(truth):
        return {"uar": float("nan"), "macro_f1": float("nan")}
    return {
        "uar": float(
            recall_score(truth, prediction, labels=np.unique(truth), average="macro", zero_division=0)
        ),
        "macro_f1": float(f1_score(truth, prediction, average="macro", zero_division=0)),
    }


def _by_class(truth: np.ndarray, prediction: np.ndarray, scheme: Scheme) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, name in enumerate(scheme.classes):
        is_true, is_said = truth == number, prediction == number
        both = is_true.sum() + is_said.sum()
        found[OF_CLASS + name] = float(2 * (is_true & is_said).sum() / both) if both else float("nan")
    return found
