"""PLGM: unimodal pseudo labels out of the multimodal label (section 3 of the method).

A table is a tensor (..., clips, classes): one soft label per clip, and per modality where it has that axis.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def initial(classes: Tensor, count: int) -> Tensor:
    """One-hot soft labels (..., count) of integer classes (...), of which there are `count`."""
    return F.one_hot(classes, count).to(torch.get_default_dtype())


def hard(labels: Tensor) -> Tensor:
    """Hard labels (...) of soft ones (..., classes)."""
    return labels.argmax(dim=-1)


def update(labels: Tensor, logits: Tensor, momentum: Tensor | float) -> Tensor:
    """Move soft labels towards what the model believes, by as much as the gradient gains.

    Parameters
    ----------
    labels, logits : Tensor (..., clips, classes)
        Soft labels, and the model's outputs for the same clips; no gradient flows through either.
    momentum : float or Tensor broadcastable to `labels`
        Weight of the old label, see `momentum_at`.

    Returns
    -------
    Tensor (..., clips, classes)
        q <- m q + (1 - m) ((1 - alpha) b + alpha r): b is the hard label, r the label whose gradient p - r
        is smallest, alpha = (|p - b| - |p - r|) / (|p - b| + |p - r|) in [0, 1).
    """
    p = logits.detach().softmax(dim=-1)
    base = initial(hard(labels), p.shape[-1]).to(p)
    reachable = initial(hard(p), p.shape[-1]).to(p)
    to_base = torch.linalg.vector_norm(p - base, dim=-1, keepdim=True)
    to_reachable = torch.linalg.vector_norm(p - reachable, dim=-1, keepdim=True)
    total = to_base + to_reachable
    alpha = torch.where(total > 0, (to_base - to_reachable) / total, 0)
    return momentum * labels + (1 - momentum) * ((1 - alpha) * base + alpha * reachable)


def momentum_at(epoch: int, start: float, gamma: float) -> float:
    """m(e) = 1 - (1 - m0) / e^gamma at epoch e = 1, 2, ...: labels and EMA copies settle as training goes on."""
    return 1 - (1 - start) / epoch**gamma
