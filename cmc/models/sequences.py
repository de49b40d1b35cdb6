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
GPU_GROUPS = 2  # rectangles of a batch on a GPU, where few large calls are cheaper
ALIGNED = 8  # a GPU's attention wants rows of a mask to lie a multiple of this apart


class Group(NamedTuple):
    """A rectangle of clips of like length, cut out of a ragged batch."""

    clips: int
    time: int  # frames of its longest clip
    mask: Tensor | None  # see `additive`; None if nothing is padded


@dataclass(frozen=True)
class Layout:
    """Where the clips of a ragged batch lie, on the device of its frames.

    Attributes
    ----------
    lengths : Tensor (batch,), int64
        Frames of each clip.
    groups : list of Group
        Rectangles that together hold each frame once.
    cells : Tensor (cells,), int64
        The frame in each cell of these rectangles, which are laid end to end; 0 where padded.
    padded : Tensor (cells, 1), bool
        Which cells hold no frame.
    places : Tensor (frames,), int64
        The cell of each frame.
    """

    lengths: Tensor
    groups: list[Group]
    cells: Tensor
    padded: Tensor
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
    order = np.argsort(-length, kind="stable")
    if device.type == "cpu":
        parts = np.split(order, cuts(length[order], CPU_BUDGET))
    else:
        parts = np.array_split(order, 1 if length.min() == length.max() else min(GPU_GROUPS, len(order)))
    return lay(length, parts, device)


def lay(length: np.ndarray, parts: Sequence[np.ndarray], device: torch.device) -> Layout:
    """A batch of clips of some lengths in rectangles, each of the clips at some places, in their order."""
    start = np.cumsum(length) - length
    times = [int(length[clips].max()) for clips in parts]
    real = [np.arange(time) < length[clips, None] for clips, time in zip(parts, times, strict=True)]
    rows = [
        np.where(here, start[clips, None] + np.arange(time), 0).ravel()
        for here, clips, time in zip(real, parts, times, strict=True)
    ]
    filled = np.concatenate([here.ravel() for here in real])
    cells, places = np.concatenate(rows), np.empty(length.sum(), dtype=np.int64)
    places[cells[filled]] = np.flatnonzero(filled)
    cells_there, places_there, lengths_there = move([cells, places, length], device)
    (padded,) = move([~filled[:, None]], device)
    masks = iter(move([additive(here) for here in real if not here.all()], device))
    groups = [
        Group(len(here), time, None if here.all() else next(masks))
        for here, time in zip(real, times, strict=True)
    ]
    return Layout(lengths_there, groups, cells_there, padded, places_there)


def additive(real: np.ndarray) -> np.ndarray:
    """What attention adds to its weights: 0 for real frames (clips, time), -inf for others; float32.

    It has some columns more than there are times, up to a multiple of `ALIGNED`.
    """
    mask = np.full((len(real), -(-real.shape[1] // ALIGNED) * ALIGNED), -np.inf, dtype=np.float32)
    mask[:, : real.shape[1]][real] = 0
    return mask


def spread(mask: Tensor, heads: int, time: int, dtype: torch.dtype) -> Tensor:
    """A mask of `additive` as PyTorch's attention takes it, (clips, heads, time, time).

    A view, the same for each head and each frame that attends. Its rows stay multiples of `ALIGNED` apart, else a
    GPU's kernels would copy it at each call.
    """
    return mask.to(dtype)[:, None, None, :time].expand(-1, heads, time, -1)


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


class Moved(torch.autograd.Function):
    """Rows (n, ...) in other places (m, ...): between frames and the cells of rectangles, either way.

    Each frame has one cell, so that the gradient too is a mere selection of rows. PyTorch would add it up, and for
    that sort on a GPU that is to compute the same bytes every time. Cells without a frame get the first one, whose
    gradient leaves them out: what is computed of them must not reach frames.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, to: Tensor, back: Tensor, padded: Tensor | None) -> Tensor:
        """`to` (m,): the old row of each new one; `back` (n,): the reverse, where `padded` (n, 1) is false."""
        ctx.save_for_backward(back, padded)
        return rows.index_select(0, to)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        back, padded = ctx.saved_tensors
        rows = grad.index_select(0, back)
        return rows if padded is None else rows.masked_fill_(padded, 0), None, None, None


def in_rectangles(
    function: Callable[[Tensor, Tensor | None], Tensor], values: Tensor, layout: Layout
) -> Tensor:
    """Run a function of padded batches over a ragged one.

    Parameters
    ----------
    function : callable
        Takes (clips, time, ...) and the mask of `Group`; returns (clips, time, width).
    values : Tensor (frames, ...)
    layout : Layout

    Returns
    -------
    Tensor (frames, width)
    """
    cells = Moved.apply(values, layout.cells, layout.places, None)
    parts = cells.split([group.clips * group.time for group in layout.groups])
    results = [
        function(part.unflatten(0, (group.clips, group.time)), group.mask).flatten(0, 1)
        for part, group in zip(parts, layout.groups, strict=True)
    ]
    return Moved.apply(torch.cat(results), layout.places, layout.cells, layout.padded)
