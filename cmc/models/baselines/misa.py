"""MISA: what modalities share and what is their own (Hazarika et al., ACM MM 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cmc.models.baselines.parts import Baseline, packed, spans
from cmc.models.cmc import clip_mean
from cmc.models.sequences import Sequences, move

ORDER = ("text", "vision", "audio")  # of the published code
MOMENTS = 5
HEADS, FEED_FORWARD, ENCODER_DROPOUT = 2, 2048, 0.1


@dataclass(frozen=True)
class Settings:
    """Width, dropout and weights of the losses.

    Attributes
    ----------
    hidden : int
        Width of all vectors.
    dropout : float
        In the fusion, and the discriminator.
    difference_weight, similarity_weight, reconstruction_weight : float
        Of the losses.
    adversarial : bool
        A discriminator of modalities behind a gradient reversal, instead of central moments.
    reverse_gradient : float
        By which it is reversed.
    text_lengths : bool
        As published, sound and pictures are heard and seen only up to the number of tokens.
    """

    hidden: int = 128
    dropout: float = 0.0
    difference_weight: float = 0.3
    similarity_weight: float = 1.0
    reconstruction_weight: float = 0.8
    adversarial: bool = False
    reverse_gradient: float = 1.0
    text_lengths: bool = False


class Vectors(NamedTuple):
    """What the model has made of a batch, (batch, 3, hidden) each, in the order text, vision, audio."""

    original: Tensor
    private: Tensor
    shared: Tensor
    reconstructed: Tensor


class Recurrent(nn.Module):
    """Two bidirectional LSTMs of the input's own width, LayerNorm between; their last states, (batch, 4 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn1 = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.rnn2 = nn.LSTM(2 * width, width, bidirectional=True, batch_first=True)

    def forward(self, x: Sequences) -> Tensor:
        steps = packed(x)
        states, (first, _) = self.rnn1(steps)
        normed = PackedSequence(self.norm(states.data), *states[1:])
        _, (second, _) = self.rnn2(normed)
        # first LSTM forward, second forward, first backward, second backward
        return torch.cat([first[0], second[0], first[1], second[1]], dim=1)


class Projection(nn.Module):
    """To the common width: a layer, ReLU, LayerNorm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.linear(x)))


class ReverseGradient(torch.autograd.Function):
    """The same forward; backward, the gradient times -weight."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:  # type: ignore[override]
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.weight * gradient, None


class Model(Baseline):
    """MISA; parameters as `cmc.models.baselines.lf_dnn.Model`."""

    extra_losses = ("difference", "similarity", "reconstruction")

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        self.settings = own = settings
        hidden = own.hidden
        self.recurrent = nn.ModuleDict({name: Recurrent(features[name]) for name in ("audio", "vision")})
        widths = {name: features[name] * (1 if name == "text" else 4) for name in ORDER}
        self.project = nn.ModuleDict({name: Projection(width, hidden) for name, width in widths.items()})
        self.private = nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in ORDER})
        self.shared = nn.Linear(hidden, hidden)
        self.reconstruct = nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in ORDER})
        self.encoder = nn.TransformerEncoderLayer(
            hidden, HEADS, FEED_FORWARD, ENCODER_DROPOUT, batch_first=True
        )
        self.linear1, self.linear2 = nn.Linear(6 * hidden, 3 * hidden), nn.Linear(3 * hidden, outputs)
        self.dropout = nn.Dropout(own.dropout)
        if own.adversarial:
            self.discriminator1, self.discriminator2 = (
                nn.Linear(hidden, hidden),
                nn.Linear(hidden, len(ORDER)),
            )

    def vectors(self, inputs: Mapping[str, Sequences]) -> Vectors:
        """See `Vectors`."""
        text = inputs["text"]
        found = {"text": clip_mean(text.values, text.layout.lengths)}
        for name, network in self.recurrent.items():
            found[name] = network(
                cut(inputs[name], text.lengths) if self.settings.text_lengths else inputs[name]
            )
        original = torch.stack([self.project[name](found[name]) for name in ORDER], dim=1)
        private = torch.stack(
            [torch.sigmoid(self.private[name](original[:, i])) for i, name in enumerate(ORDER)], dim=1
        )
        shared = torch.sigmoid(self.shared(original))
        both = private + shared
        again = torch.stack([self.reconstruct[name](both[:, i]) for i, name in enumerate(ORDER)], dim=1)
        return Vectors(original, private, shared, again)

    def read(self, found: Vectors) -> Tensor:  # -> (batch, outputs)
        h = self.encoder(torch.cat([found.private, found.shared], dim=1)).flatten(1)
        return self.linear2(F.relu(self.dropout(self.linear1(h))))

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        return self.read(self.vectors(inputs))

    def outputs(self, inputs: Mapping[str, Sequences], clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        found, own = self.vectors(inputs), self.settings
        similarity = self.domain_loss(found.shared) if own.adversarial else moments_loss(found.shared)
        return self.read(found), {
            "difference": own.difference_weight * difference_loss(found),
            "similarity": own.similarity_weight * similarity,
            "reconstruction": own.reconstruction_weight * reconstruction_loss(found),
        }

    def domain_loss(self, shared: Tensor) -> Tensor:
        """Cross-entropy of a discriminator of modalities, whose gradient is reversed."""
        flat = ReverseGradient.apply(shared.flatten(0, 1), self.settings.reverse_gradient)
        logits = self.discriminator2(self.dropout(F.relu(self.discriminator1(flat))))
        modalities = torch.arange(len(ORDER), device=flat.device).repeat(len(shared))
        return F.cross_entropy(logits, modalities)


def cut(x: Sequences, lengths: Tensor) -> Sequences:
    """The clips up to the lengths of others (batch,), or to their own end."""
    kept = torch.minimum(x.lengths, lengths)
    _, times, starts = spans(x)
    rows = (starts[:, None] + times)[times < kept.numpy()[:, None]]
    (rows,) = move([rows], x.values.device)
    return Sequences.ragged(x.values[rows], kept)


def difference_loss(found: Vectors) -> Tensor:
    """How much private vectors say of shared ones and of each other, summed over six pairs."""
    private, shared = found.private.unbind(1), found.shared.unbind(1)
    pairs = [*zip(private, shared, strict=True), *combinations(private, 2)]
    return torch.stack([overlap(one, other) for one, other in pairs]).sum()


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Mean of the squared entries of A^T B, columns centred over the batch and rows of length 1: (batch, dim)."""

    def scaled(x: Tensor) -> Tensor:
        x = x - x.mean(dim=0, keepdim=True)
        return x / (x.norm(dim=1, keepdim=True).detach() + 1e-6)

    return (scaled(one).mT @ scaled(other)).square().mean()


def moments_loss(shared: Tensor) -> Tensor:
    """Central moment discrepancy of the shared vectors of all modalities, mean over the three pairs.

    References
    ----------
    Zellinger et al., "Central moment discrepancy (CMD) for domain-invariant representation learning", ICLR 2017.
    """
    return torch.stack([discrepancy(a, b) for a, b in combinations(shared.unbind(1), 2)]).mean()


def discrepancy(one: Tensor, other: Tensor) -> Tensor:
    means = one.mean(dim=0), other.mean(dim=0)
    found = distance(*means)
    centred = one - means[0], other - means[1]
    for order in range(2, MOMENTS + 1):
        found = found + distance(*(part.pow(order).mean(dim=0) for part in centred))
    return found


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Of two vectors. High moments of vectors that are nearly alike are so small that their squares are 0, whose
    root has no gradient in the published code; here it is 0."""
    return torch.linalg.vector_norm(one - other)


def reconstruction_loss(found: Vectors) -> Tensor:
    """Mean over modalities of the mean squared distance to the projected input."""
    return (found.reconstructed - found.original).square().mean(dim=(0, 2)).mean()
