"""Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362), as CMC uses it over all modalities."""

import torch
from torch import Tensor


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Mean over anchors with a positive of -log of the positives' share of the similarity.

    Parameters
    ----------
    features : Tensor (n, dim)
        L2-normalised vectors.
    labels : Tensor (n,)
        Vectors of equal label are each other's positives.
    temperature : float

    Returns
    -------
    Tensor ()
        0 if no anchor has a positive.

    Notes
    -----
    The sum over positives stands inside the logarithm (the "in" form), as in CMC's published code.
    """
    if len(features) < 2:
        return features.sum() * 0  # a lone vector has nobody to be compared with
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    similarity = (features @ features.mT / temperature).masked_fill(itself, -torch.inf)
    positive = (labels[:, None] == labels) & ~itself
    anchor = positive.any(dim=1)
    # rows without a positive keep finite numbers, so that they add neither loss nor NaN gradients
    positives = similarity.masked_fill(~(positive | ~anchor[:, None]), -torch.inf)
    loss = similarity.logsumexp(dim=1) - positives.logsumexp(dim=1)
    return loss.where(anchor, 0).sum() / anchor.sum().clamp(min=1)


def balanced(classes: Tensor, count: int) -> Tensor:
    """Weight of each class in a cross-entropy, (count,), so that all that occur weigh the same: n / (k n_c).

    Parameters
    ----------
    classes : Tensor (n,), int
        Of the training clips.
    count : int
        Classes that there are. One that no clip has weighs 1.

    References
    ----------
    King and Zeng, "Logistic regression in rare events data", 2001; scikit-learn's ``class_weight="balanced"``.
    """
    clips = torch.bincount(classes, minlength=count).to(torch.get_default_dtype())
    there = clips > 0
    weights = torch.ones_like(clips)
    weights[there] = clips.sum() / (there.sum() * clips[there])
    return weights
