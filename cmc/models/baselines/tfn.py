"""TFN: tensor fusion, the outer product of the vectors of all modalities (Zadeh et al., EMNLP 2017)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc.models.attention import RANDOM_STEPS, random_lanes
from cmc.models.baselines.parts import Baseline, Utterances, with_one
from cmc.models.sequences import Sequences

RANGE, SHIFT = 6, -3  # of a regression's output
PART = 32  # numbers of a vector whose products with another one fit the cache, times a batch


@dataclass(frozen=True)
class Settings:
    """As those of LF-DNN."""

    hidden: Mapping[str, int] = field(default_factory=lambda: {"text": 128, "audio": 32, "vision": 128})
    text_out: int = 256
    post_fusion: int = 32
    dropouts: Mapping[str, float] = field(default_factory=lambda: {"audio": 0.4, "vision": 0.4})
    fusion_dropout: float = 0.4


class Model(Baseline):
    """TFN; parameters as `cmc.models.baselines.lf_dnn.Model`."""

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        own = settings
        self.encoders = Utterances(features, own.hidden, own.text_out, own.dropouts)
        pairs = (1 + own.hidden["audio"]) * (1 + own.hidden["vision"])
        self.fusion = Fusion(pairs, 1 + own.text_out, own.post_fusion, own.fusion_dropout)
        self.linear2 = nn.Linear(own.post_fusion, own.post_fusion)
        self.linear3 = nn.Linear(own.post_fusion, outputs)
        self.regresses = outputs == 1

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        h = self.encoders(inputs)
        text, audio, vision = (with_one(h[name]) for name in ("text", "audio", "vision"))
        pairs = (audio[:, :, None] * vision[:, None, :]).flatten(1)
        out = self.linear3(F.relu(self.linear2(F.relu(self.fusion(pairs, text)))))
        return torch.sigmoid(out) * RANGE + SHIFT if self.regresses else out


class Fusion(nn.Module):
    """Dropout and a layer over the outer product of two vectors: millions of numbers a clip.

    Parameters
    ----------
    first, second, hidden : int
        Widths of the vectors and of the layer.
    dropout : float
    """

    def __init__(self, first: int, second: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        size = first * second
        self.weight = nn.Parameter(torch.empty(size, hidden).uniform_(-(size**-0.5), size**-0.5))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-(size**-0.5), size**-0.5))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # (batch, width) each -> (batch, hidden)
        rate = self.dropout if self.training else 0.0
        if first.device.type == "cpu":
            return CPUFusion.apply(first, second, self.weight, rate) + self.bias
        products = (first[:, :, None] * second[:, None, :]).flatten(1)
        return F.dropout(products, rate) @ self.weight + self.bias


class CPUFusion(torch.autograd.Function):
    """The same on a CPU, by parts of the outer product that fit its cache: the whole is never in memory.

    PyTorch's dropout alone would take most of the time. Here it has four decisions from 64 random bits.
    """

    @staticmethod
    def forward(ctx, first: Tensor, second: Tensor, weight: Tensor, dropout: float) -> Tensor:  # type: ignore[override]
        steps = round(dropout * RANDOM_STEPS)
        out = first.new_zeros(len(first), weight.shape[1])
        kept = torch.empty(first.numel() * second.shape[1] if steps else 0, dtype=torch.int8)
        products, mask = (first.new_empty(len(first) * PART * second.shape[1]) for _ in range(2))
        words = torch.empty(-(-len(mask) // 4), dtype=torch.int64)
        for part, rows in parts(first, second):
            x = products[: len(part)].view(len(first), -1, second.shape[1])
            torch.mul(rows.first[:, :, None], second[:, None, :], out=x)
            if steps:
                lanes = random_lanes(words)[: len(part)]
                torch.ge(lanes, steps - RANDOM_STEPS // 2, out=kept[part.start : part.stop])
                x *= mask[: len(part)].copy_(kept[part.start : part.stop]).view_as(x)
            out.addmm_(x.flatten(1), weight[rows.weight])
        ctx.save_for_backward(first, second, weight, kept)
        ctx.gain = 1 / (1 - steps / RANDOM_STEPS)
        return out.mul_(ctx.gain)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        first, second, weight, kept = ctx.saved_tensors
        grad = grad * ctx.gain
        grad_first, grad_second, grad_weight = map(torch.empty_like, (first, second, weight))
        grad_second.zero_()
        buffers = [first.new_empty(len(first) * PART * second.shape[1]) for _ in range(3)]
        for part, rows in parts(first, second):
            x, grad_x, mask = (own[: len(part)].view(len(first), -1, second.shape[1]) for own in buffers)
            torch.mm(grad, weight[rows.weight].T, out=grad_x.flatten(1))
            torch.mul(rows.first[:, :, None], second[:, None, :], out=x)
            if len(kept):
                mask.copy_(kept[part.start : part.stop].view_as(mask))
                grad_x *= mask
                x *= mask
            torch.mm(x.flatten(1).T, grad, out=grad_weight[rows.weight])
            torch.mul(grad_x, second[:, None, :], out=x)
            torch.sum(x, dim=2, out=grad_first[:, rows.places])
            grad_second += grad_x.mul_(rows.first[:, :, None]).sum(dim=1)
        return grad_first, grad_second, grad_weight, None


class Rows(NamedTuple):
    """A part of the first vector (batch, places), and its rows of the weight."""

    first: Tensor
    places: slice
    weight: slice


def parts(first: Tensor, second: Tensor) -> Iterator[tuple[range, Rows]]:
    """Parts of the outer product: places among all numbers of the batch, and what they are made of."""
    width, begin = second.shape[1], 0
    for start in range(0, first.shape[1], PART):
        own = first[:, start : start + PART]
        stop = start + own.shape[1]
        size = own.numel() * width
        yield range(begin, begin + size), Rows(own, slice(start, stop), slice(start * width, stop * width))
        begin += size
