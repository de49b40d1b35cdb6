"""Two baselines that every reviewer asks for: the average of the unimodal models, and logistic regression."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cmc.evaluation import tables
from cmc.labels import Scheme
from cmc.metrics import evaluate, headline
from cmc.training.dataset import Ragged, Split

CONSENSUS = "consensus"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C, of which the validation split chooses
ITERATIONS = 2000


def late_average(predictions: pd.DataFrame, scheme: Scheme) -> np.ndarray:
    """Logarithm of the mean of the unimodal models' probabilities, (clips, classes).

    Parameters
    ----------
    predictions : DataFrame
        Of a variant: pretrain_{modality}_{class}.
    scheme : Scheme
    """
    logits = tables.model_logits(predictions, CONSENSUS, scheme)
    del logits[CONSENSUS]
    chances = np.mean([softmax(own, axis=1) for own in logits.values()], axis=0)
    return np.log(np.maximum(chances, np.finfo(float).tiny))


def pooled(split: Split) -> np.ndarray:
    """Mean and standard deviation over its frames of each clip and modality, (clips, 2 x all widths)."""
    return np.concatenate([part for own in split.features.values() for part in moments(own)], axis=1)


def moments(ragged: Ragged) -> Sequence[np.ndarray]:
    values, starts = ragged.values.cpu().numpy().astype(np.float64), ragged.offsets[:-1]
    lengths = np.diff(ragged.offsets)[:, None]
    means = np.add.reduceat(values, starts, axis=0) / lengths
    squares = np.add.reduceat(values**2, starts, axis=0) / lengths
    return means, np.sqrt(np.maximum(squares - means**2, 0))


def logistic(
    splits: Mapping[str, Split], scheme: Scheme, class_weights: str = "none"
) -> tuple[dict[str, np.ndarray], float]:
    """Logistic regression on pooled features.

    Its strength of regularisation is chosen by the headline metric on the validation split.

    Parameters
    ----------
    splits : mapping
        train, valid, test.
    scheme : Scheme
    class_weights : {'none', 'balanced'}
        See `cmc.training.losses.balanced`.

    Returns
    -------
    dict
        test, valid -> log-probabilities (clips, classes), very low ones of a class without training clips.
    float
        The chosen strength, C.
    """
    x = {name: pooled(own) for name, own in splits.items()}
    y = {name: own.classes("M").numpy() for name, own in splits.items()}
    best: tuple[float, float, Pipeline] | None = None
    weights = None if class_weights == "none" else class_weights
    for strength in STRENGTHS:
        regression = LogisticRegression(C=strength, max_iter=ITERATIONS, class_weight=weights)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(x["train"], y["train"])
        score = evaluate(said(model, x["valid"], scheme), y["valid"], scheme)[headline(scheme)]
        if best is None or score > best[0]:
            best = score, strength, model
    assert best is not None
    return {name: said(best[2], x[name], scheme) for name in ("test", "valid")}, best[1]


def said(model: Pipeline, x: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Log-probabilities of all classes, also of those that no training clip has."""
    found = np.full((len(x), len(scheme.classes)), np.log(np.finfo(float).tiny))
    found[:, model.classes_] = np.maximum(model.predict_log_proba(x), found[:, model.classes_])
    return found - logsumexp(found, axis=1, keepdims=True)
