"""Classes of sentiment, and how a label falls into them."""

from typing import Literal, get_args

import numpy as np

CLASSES = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(len(CLASSES))
Has0 = Literal["nonpositive_positive", "negative_nonnegative"]


def polarity(labels: np.ndarray) -> np.ndarray:
    """Class of each regression label: its sign.

    Parameters
    ----------
    labels : (n,) float
        Sentiment, in [-1, 1] (CH-SIMS) or [-3, 3] (CMU-MOSI, CMU-MOSEI); only the sign counts.

    Returns
    -------
    (n,) int
        0 negative (y < 0), 1 neutral (y = 0), 2 positive (y > 0).

    Raises
    ------
    ValueError
        If a label is NaN or infinite; the message names the first such index.
    """
    labels = np.asarray(labels, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(labels))
    if wrong.size:
        raise ValueError(
            f"label {labels[wrong[0]]} at index {wrong[0]} has no polarity ({wrong.size} of {labels.size}"
            " such); leave out clips without a label"
        )
    return np.sign(labels).astype(np.int64) + NEUTRAL


def binary(classes: np.ndarray, has0: Has0) -> np.ndarray:
    """Two-class reading of three classes: `has0` says which side the neutral clips join.

    Parameters
    ----------
    classes : (n,) int
        0 negative, 1 neutral, 2 positive.
    has0 : {"nonpositive_positive", "negative_nonnegative"}
        CH-SIMS reads non-positive / positive, CMU-MOSI and CMU-MOSEI negative / non-negative.

    Returns
    -------
    (n,) int
        0 or 1.

    Raises
    ------
    ValueError
        If `has0` is neither of the two.
    """
    if has0 not in get_args(Has0):
        raise ValueError(f"has0 is {has0!r}; choose one of {', '.join(get_args(Has0))}")
    first_positive = POSITIVE if has0 == "nonpositive_positive" else NEUTRAL
    return (np.asarray(classes) >= first_positive).astype(np.int64)
