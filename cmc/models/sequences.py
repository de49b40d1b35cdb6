"""Ragged batches: clips of any length without padding.

A batch is one matrix of frames, one clip after another, and the clips' lengths. Only what must see whole clips
(attention, a language model) needs rectangles; it runs over groups of clips of like length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# clips x time^2 of a rectangle. On a CPU this many attention weights, times the heads, still fit its cache.
CPU_BUDGET = 1 << 16
GPU_GROUPS = 4  # rectangles of a batch on a GPU, where few large calls are cheaper


class Group(NamedTuple):
    """A rectangle of clips of like length, cut out of a ragged batch."""

    frames: Tensor  # (clips, time), int64: rows of the ragged matrix; 0 where padded
    valid: Tensor | None  # (clips, time), bool; None if nothing is padded


@dataclass(frozen=True)
class Sequences:
    """A ragged batch of one modality.

    Attributes
    ----------
    values : Tensor (frames, width)
        The clips' frames, one clip after another.
    lengths : Tensor (batch,), int64, on the CPU
        Frames of each clip, at least 1.
    groups : list of Group
        Where attention finds the clips, made from `lengths`.
    """

    values: Tensor
    lengths: Tensor
    groups: list[Group] = field(default_factory=list)

    @classmethod
    def ragged(cls, values: Tensor, lengths: Tensor) -> "Sequences":
        """Sequences of which `values` holds the frames (frames, width) and `lengths` (batch,) the lengths."""
        if int(lengths.min()) < 1 or int(lengths.sum()) != len(values):
            raise ValueError(
                f"lengths sum to {int(lengths.sum())} and start at {int(lengths.min())}; "
                f"there are {len(values)} frames and each clip needs one"
            )
        return cls(values, lengths, attention_groups(lengths, values.device))

    @classmethod
    def padded(cls, values: Tensor) -> "Sequences":
        """Sequences of equal length from `values` (batch, time, width); padding in it counts as frames."""
        batch, time, width = values.shape
        return cls.ragged(values.reshape(batch * time, width), torch.full((batch,), time))

    def replace(self, values: Tensor) -> "Sequences":
        """The same clips with other values (frames, other width)."""
        return Sequences(values, self.lengths, self.groups)


def attention_groups(lengths: Tensor, device: torch.device) -> list[Group]:
    """Cut a batch into rectangles of clips of like length.

    Attention costs clips x longest^2 in a rectangle; sorted by length, the clips of one have little padding.
    """
    length = lengths.numpy()
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    order = np.argsort(-length, kind="stable")
    if device.type == "cpu":
        parts = np.split(order, cuts(length[order], CPU_BUDGET))
    else:
        parts = np.array_split(order, 1 if length.min() == length.max() else min(GPU_GROUPS, len(order)))
    groups = []
    for clips in parts:
        steps = np.arange(length[clips].max())
        valid = steps < length[clips, None]  # (clips, time)
        frames = np.where(valid, start[clips, None] + steps, 0)
        mask = None if valid.all() else torch.from_numpy(valid).to(device)
        groups.append(Group(torch.from_numpy(frames).to(device), mask))
    return groups


def cuts(lengths: np.ndarray, budget: int) -> list[int]:
    """Where to cut falling lengths so that clips x longest^2 of a part stays within a budget."""
    places, first = [], 0
    for i in range(1, len(lengths)):
        if (i - first + 1) * int(lengths[first]) ** 2 > budget:
            places.append(i)
            first = i
    return places


def in_rectangles(
    function: Callable[[Tensor, Tensor | None], Tensor], values: Tensor, groups: list[Group]
) -> Tensor:
    """Run a function of padded batches over a ragged one.

    Parameters
    ----------
    function : callable
        Takes (clips, time, ...) and the mask of valid frames (clips, time), None if all are; returns
        (clips, time, width).
    values : Tensor (frames, ...)
    groups : list of Group
        Rectangles that together hold each frame once.

    Returns
    -------
    Tensor (frames, width)
    """
    rows, parts = [], []
    for frames, valid in groups:
        result = function(values[frames], valid)
        rows.append(frames.flatten() if valid is None else frames[valid])
        parts.append(result.flatten(0, 1) if valid is None else result[valid])
    out = torch.cat(parts)
    return torch.empty_like(out).index_copy(0, torch.cat(rows), out)
