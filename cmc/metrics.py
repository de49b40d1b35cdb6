"""Accuracy and weighted F1 of three-class sentiment, over two classes and over three."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from cmc.labels import CLASSES, NEGATIVE, NEUTRAL, POSITIVE, Has0, binary

FEWEST_CLIPS = 10  # of fewer, each is worth more than ten points: no percentages are given of them
METRICS = ("acc2", "f1", "acc2_non0", "f1_non0", "acc3", "f1_3")


def evaluate(logits: np.ndarray, labels: np.ndarray, has0: Has0) -> dict[str, float]:
    """All metrics of the paper, as fractions in [0, 1].

    The two-class prediction is the larger of the negative and the positive logit, whatever the neutral one.

    Parameters
    ----------
    logits : (n, 3) float
        Scores of negative, neutral and positive.
    labels : (n,) int
        Classes, 0 to 2.
    has0 : {"nonpositive_positive", "negative_nonnegative"}
        Side that neutral clips join in `acc2` and `f1` (see `binary`).

    Returns
    -------
    dict
        n: clips; acc2, f1: two classes; acc2_non0, f1_non0: the same on clips that are not neutral;
        acc3, f1_3: three classes. F1 is weighted by class support. No clips give NaN.

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
    logits, labels = _checked(logits, labels)
    side = _side(logits)
    clear = labels != NEUTRAL
    return {
        "n": len(labels),
        **_scores(binary(labels, has0), side, "acc2", "f1"),
        **_scores(binary(labels[clear], has0), side[clear], "acc2_non0", "f1_non0"),
        **_scores(labels, logits.argmax(axis=1), "acc3", "f1_3"),
    }


def evaluate_with_published_fault(logits: np.ndarray, labels: np.ndarray, has0: Has0) -> dict[str, float]:
    """What the published implementation (and MMSA) computes: for comparison only, its Non0 values are wrong.

    There the Non0 predictions are 0 or 1 and the labels 0 or 2, so that no positive clip is ever right.
    All else equals `evaluate`, whose parameters, keys and errors these are; nothing is rounded.
    """
    correct = evaluate(logits, labels, has0)
    logits, labels = _checked(logits, labels)
    clear = labels != NEUTRAL
    return correct | _scores(labels[clear], _side(logits[clear]), "acc2_non0", "f1_non0")


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if logits.shape != (len(labels), len(CLASSES)):
        raise ValueError(f"logits have shape {logits.shape}; {len(labels)} labels need ({len(labels)}, 3)")
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise ValueError(f"logits of row {wrong[0]} are not finite: {logits[wrong[0]].tolist()}")
    wrong = np.flatnonzero(~np.isin(labels, range(len(CLASSES))))
    if wrong.size:
        raise ValueError(f"label {labels[wrong[0]]} of row {wrong[0]} is no class; classes are 0, 1 and 2")
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
