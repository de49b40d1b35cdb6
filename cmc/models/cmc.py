"""The networks of CMC (arXiv 2510.20256): unimodal encoders, parameter-free fusion, consensus router.

Sequences are ragged from end to end (see `cmc.models.sequences`): BatchNorm, projections and feed-forward layers
never see padding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc import MODALITIES
from cmc.models.attention import Attention
from cmc.models.sequences import Layout, Sequences


@dataclass(frozen=True)
class Dimensions:
    """Everything that fixes the shape and the behaviour of a model; stored beside its weights.

    Attributes
    ----------
    features : dict
        Width of each modality's features. Its keys are the modalities, in the order of the experts: text,
        audio, vision.
    dim : int
        Shared dimension d.
    layers, heads : int
        Transformer layers and attention heads of each unimodal encoder.
    dropout, attention_dropout, classifier_dropout : float
        Rates after projections and in feed-forward layers, on attention weights, in the classifiers.
    top_k : int
        Experts that the router keeps for a clip, 1 to the number of modalities.
    temperature : float
        Of the fusion's softmax.
    fusion : {'pfm', 'sum', 'concat'}
        Parameter-free fusion as published, or an ablation: each expert sees the sum of the modalities,
        or a projection of their concatenation.
    router : {'mcr', 'uniform'}
        Consensus router as published, or equal weights.
    classes : int
        That are told apart: 3 of polarity.
    """

    features: Mapping[str, int]
    dim: int = 32
    layers: int = 5
    heads: int = 4
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float = 0.4
    top_k: int = 3
    temperature: float = 0.07
    fusion: Literal["pfm", "sum", "concat"] = "pfm"
    router: Literal["mcr", "uniform"] = "mcr"
    classes: int = 3

    def __post_init__(self) -> None:
        unknown = set(self.features) - set(MODALITIES)
        if unknown or not self.features:
            raise ValueError(
                f"modalities are {', '.join(MODALITIES)}; got {', '.join(self.features) or 'none'}"
            )
        # the order of the experts is fixed, whatever order a caller or a file has them in
        ordered = {k: self.features[k] for k in MODALITIES if k in self.features}
        object.__setattr__(self, "features", ordered)
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        if self.classes < 2:
            raise ValueError(f"classes is {self.classes}; a model tells at least two apart")
        if not 1 <= self.top_k:
            raise ValueError(f"top_k is {self.top_k}; the router must keep at least one expert")
        if self.fusion not in ("pfm", "sum", "concat") or self.router not in ("mcr", "uniform"):
            raise ValueError(f"unknown fusion {self.fusion!r} or router {self.router!r}")

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.features)


class Block(nn.Module):
    """Pre-norm transformer layer with a ReLU feed-forward of width 4d."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims.dim)
        self.attention = Attention(dims.dim, dims.heads, dims.attention_dropout)
        self.norm2 = nn.LayerNorm(dims.dim)
        self.linear1 = nn.Linear(dims.dim, 4 * dims.dim)
        self.linear2 = nn.Linear(4 * dims.dim, dims.dim)
        self.dropout = nn.Dropout(dims.dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:  # (frames, dim) -> (frames, dim)
        x = x + self.dropout(self.attention(self.norm1(x), layout))
        return x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(self.norm2(x))))))


class Encoder(nn.Module):
    """h_k: one vector of length 1 for each clip, from its frames in one modality (section 2 of the method).

    No positional encoding and no final norm, as published. Text arrives as a language model's hidden states
    and takes no BatchNorm.
    """

    def __init__(self, dims: Dimensions, modality: str) -> None:
        super().__init__()
        width = dims.features[modality]
        self.norm = nn.Identity() if modality == "text" else nn.BatchNorm1d(width)
        self.proj = nn.Linear(width, dims.dim, bias=False)
        self.blocks = nn.ModuleList(Block(dims) for _ in range(dims.layers))

    def forward(self, x: Sequences) -> Tensor:  # ragged (frames, width) -> (batch, dim)
        frames = self.proj(self.norm(x.values))
        for block in self.blocks:
            frames = block(frames, x.layout)
        return F.normalize(clip_mean(frames, x.layout.lengths), dim=-1)


def clip_mean(frames: Tensor, lengths: Tensor) -> Tensor:
    """Mean over each clip's frames: (frames, dim), (batch,) -> (batch, dim)."""
    # unsafe: the lengths are checked where a batch is made, and a check here would wait for the GPU
    return torch.segment_reduce(frames, "mean", lengths=lengths, axis=0, unsafe=True)


class Classifier(nn.Module):
    """z = Linear2(Dropout(ReLU(Linear1(h)))) + h; logits = Linear3(z)."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dims.dim, dims.dim)
        self.linear2 = nn.Linear(dims.dim, dims.dim)
        self.linear3 = nn.Linear(dims.dim, dims.classes)
        self.dropout = nn.Dropout(dims.classifier_dropout)

    def forward(self, h: Tensor) -> Tensor:  # (batch, dim) -> (batch, classes)
        return self.linear3(self.linear2(self.dropout(F.relu(self.linear1(h)))) + h)


class UnimodalModel(nn.Module):
    """Encoder and classifier of one modality, as stage 1 trains them."""

    def __init__(self, dims: Dimensions, modality: str) -> None:
        super().__init__()
        self.encoder = Encoder(dims, modality)
        self.classifier = Classifier(dims)

    def forward(self, x: Sequences) -> tuple[Tensor, Tensor]:
        """Logits (batch, classes) and h (batch, dim)."""
        h = self.encoder(x)
        return self.classifier(h), h


class Output(NamedTuple):
    """What the multimodal model says of a batch; experts in the order of the modalities."""

    logits: Tensor  # (batch, classes)
    expert_logits: Tensor  # (batch, experts, classes)
    router_weights: Tensor  # (batch, experts), rows sum to 1
    fused: Tensor  # (batch, experts, dim)
    h: Tensor  # (batch, experts, dim)


class MultimodalModel(nn.Module):
    """CMC: encode each modality, fuse, let the experts vote, weigh their votes by consensus (section 5)."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        if dims.top_k > len(dims.modalities):
            raise ValueError(
                f"top_k ({dims.top_k}) exceeds the number of modalities ({len(dims.modalities)})"
            )
        self.dims = dims
        self.unimodal = nn.ModuleDict({k: UnimodalModel(dims, k) for k in dims.modalities})
        if dims.router == "mcr":
            self.router = nn.Linear(dims.dim, len(dims.modalities))
        if dims.fusion == "concat":
            self.mix = nn.Linear(len(dims.modalities) * dims.dim, dims.dim)

    def forward(self, inputs: Mapping[str, Sequences]) -> Output:
        """What it says of a batch. A modality that the inputs lack has no expert: the others fuse and vote."""
        present = [k for k in self.dims.modalities if k in inputs]
        h = torch.stack([self.unimodal[k].encoder(inputs[k]) for k in present], dim=1)
        fused = self.fuse(h)
        experts = torch.stack(
            [self.unimodal[k].classifier(fused[:, i]) for i, k in enumerate(present)], dim=1
        )
        weights = self.route(fused, present)
        logits = (weights[..., None] * experts).sum(dim=1)
        # an expert that was not chosen says nothing of the clip
        return Output(logits, experts * (weights[..., None] > 0), weights, fused, h)

    def fuse(self, h: Tensor) -> Tensor:  # (batch, experts, dim) -> (batch, experts, dim)
        """PFM: X~ = softmax(X X^T / temperature) X; or one of its ablations."""
        if self.dims.fusion == "sum":
            return h.sum(dim=1, keepdim=True).expand_as(h)
        if self.dims.fusion == "concat":
            if h.shape[1] < len(self.dims.modalities):
                raise ValueError("a model with fusion: concat needs every modality of a clip")
            return self.mix(h.flatten(1))[:, None].expand_as(h)
        similarity = torch.softmax(h @ h.mT / self.dims.temperature, dim=-1)
        return similarity @ h

    def route(
        self, fused: Tensor, present: Sequence[str]
    ) -> Tensor:  # (batch, experts, dim) -> (batch, experts)
        """MCR: g = softmax(topk(Linear(sum_k x~_k))), of the modalities that are present; or equal weights."""
        if self.dims.router == "uniform":
            return torch.full_like(fused[..., 0], 1 / fused.shape[1])
        scores = self.router(fused.sum(dim=1))
        if len(present) < len(self.dims.modalities):
            scores = scores[:, [self.dims.modalities.index(k) for k in present]]
        top = scores.topk(min(self.dims.top_k, len(present)), dim=-1).indices
        return torch.softmax(
            torch.full_like(scores, -torch.inf).scatter(1, top, scores.gather(1, top)), dim=-1
        )
