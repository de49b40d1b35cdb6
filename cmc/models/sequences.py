"""Ragged batches: clips of any length without padding.

A batch is one matrix of frames, one clip after another, and the clips' lengths. Only what must see whole clips
(attention, a language model) needs rectangles; it runs over groups of clips of like length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
class Layout:
    """Where the clips of a ragged batch lie, on the device of its frames.

    Attributes
    ----------
    lengths : Tensor (batch,), int64
        Frames of each clip.
    groups : list of Group
        Rectangles that together hold each frame once.
    places : Tensor (frames,), int64
        Of each frame of the ragged matrix in these rectangles, which are laid end to end.
    """

    lengths: Tensor
    groups: list[Group]
    places: Tensor


@dataclass(frozen=True)
class Sequences:
    """A ragged batch of one modality.

    Attributes
    ----------
    values : Tensor (frames, width)
        The clips' frames, one clip after another.
    lengths : Tensor (batch,), int64, on the CPU
        Frames of each clip, at least 1.
    layout : Layout
        Where attention finds the clips, made from `lengths`.
    """

    values: Tensor
    lengths: Tensor
    layout: Layout

    @classmethod
    def ragged(cls, values: Tensor, lengths: Tensor) -> "Sequences":
        """Sequences of which `values` holds the frames (frames, width) and `lengths` (batch,) the lengths."""
        if int(lengths.min()) < 1 or int(lengths.sum()) != len(values):
            raise ValueError(
                f"lengths sum to {int(lengths.sum())} and start at {int(lengths.min())}; "
                f"there are {len(values)} frames and each clip needs one"
            )
        return cls(values, lengths, arrange(lengths, values.device))

    @classmethod
    def padded(cls, values: Tensor) -> "Sequences":
        """Sequences of equal length from `values` (batch, time, width); padding in it counts as frames."""
        batch, time, width = values.shape
        return cls.ragged(values.reshape(batch * time, width), torch.full((batch,), time))

    def replace(self, values: Tensor) -> "Sequences":
        """The same clips with other values (frames, other width)."""
        return Sequences(values, self.lengths, self.layout)


def arrange(lengths: Tensor, device: torch.device) -> Layout:
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
    masks = [np.arange(length[clips].max()) < length[clips, None] for clips in parts]  # (clips, time) each
    rows = [
        np.where(valid, start[clips, None] + np.arange(valid.shape[1]), 0)
        for clips, valid in zip(parts, masks, strict=True)
    ]
    valid = np.concatenate([mask.ravel() for mask in masks])
    places = np.empty(length.sum(), dtype=np.int64)
    places[np.concatenate([frames.ravel() for frames in rows])[valid]] = np.flatnonzero(valid)
    *frames, places_there, lengths_there = move([*rows, places, length], device)
    padded = iter(move([mask for mask in masks if not mask.all()], device))
    groups = [
        Group(there, None if mask.all() else next(padded)) for there, mask in zip(frames, masks, strict=True)
    ]
    return Layout(lengths_there, groups, places_there)


def move(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays of one kind of number on a device, in one piece; a GPU is not waited for."""
    if not arrays:
        return []
    whole = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        whole = whole.pin_memory()
    pieces = whole.to(device, non_blocking=True).split([array.size for array in arrays])
    return [piece.view(array.shape) for piece, array in zip(pieces, arrays, strict=True)]


def cuts(lengths: np.ndarray, budget: int) -> list[int]:
    """Where to cut falling lengths so that clips x longest^2 of a part stays within a budget."""
    places, first = [], 0
    for i in range(1, len(lengths)):
        if (i - first + 1) * int(lengths[first]) ** 2 > budget:
            places.append(i)
            first = i
    return places


def in_rectangles(
    function: Callable[[Tensor, Tensor | None], Tensor], values: Tensor, layout: Layout
) -> Tensor:
    """Run a function of padded batches over a ragged one.

    Parameters
    ----------
    function : callable
        Takes (clips, time, ...) and the mask of valid frames (clips, time), None if all are; returns
        (clips, time, width).
    values : Tensor (frames, ...)
    layout : Layout

    Returns
    -------
    Tensor (frames, width)
    """
    results = [function(values[group.frames], group.valid).flatten(0, 1) for group in layout.groups]
    return torch.cat(results).index_select(0, layout.places)
