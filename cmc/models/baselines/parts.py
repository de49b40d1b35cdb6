"""What several baselines are made of."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cmc.models.cmc import clip_mean
from cmc.models.sequences import Moved, Sequences, lay, move


def rectangle(x: Sequences) -> Tensor:
    """The clips (batch, longest, width), filled up with zeros."""
    whole = lay(x.lengths.numpy(), [np.arange(len(x.lengths))], x.values.device)
    frames = Moved.apply(x.values, whole.cells, whole.places, None).masked_fill(whole.padded, 0)
    return frames.unflatten(0, (len(x.lengths), -1))


def packed(x: Sequences) -> PackedSequence:
    """The clips as recurrent networks take them, each as long as it is."""
    lengths, times, starts = spans(x)
    order = np.argsort(-lengths, kind="stable")
    real = times[:, None] < lengths[order]  # (longest, batch): frames of one time are neighbours
    rows = (starts[order] + times[:, None])[real]
    rows, back, order, place = move([rows, np.argsort(rows), order, np.argsort(order)], x.values.device)
    return PackedSequence(
        Moved.apply(x.values, rows, back, None), torch.from_numpy(real.sum(axis=1)), order, place
    )


def spans(x: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of the clips (batch,), the times of the longest (longest,), and where each clip starts (batch,)."""
    lengths = x.lengths.numpy()
    return lengths, np.arange(lengths.max()), np.cumsum(lengths) - lengths


class Baseline(nn.Module):
    """A model that reads clips whole; `forward` gives logits (batch, classes) of modality -> Sequences, or, of a
    regression, scores (batch, 1).

    Attributes
    ----------
    extra_losses : tuple of str
        Names of the losses beside the task's.
    only_regresses : bool
        Whether it can learn scores alone, not classes.
    remembered : dict
        Name -> Tensor: what training keeps beside the weights. An unfinished run is resumed with it.
    """

    extra_losses: tuple[str, ...] = ()
    only_regresses = False

    def __init__(self) -> None:
        super().__init__()
        self.remembered: dict[str, Tensor] = {}

    def begin(self, labels: Tensor) -> None:
        """Before training: classes or scores (clips,) of all training clips."""

    def outputs(self, inputs: Mapping[str, Sequences], clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What `forward` gives, and the losses of `extra_losses`, weighted; `clips` (batch,), int64, are places
        among the training clips."""
        return self(inputs), {}

    def after_batch(self, epoch: int, clips: Tensor) -> None:
        """After a batch's backward pass; epochs count from 1."""

    def groups(self) -> list[dict]:
        """Parameters as optimizers take them; a group's own `lr` or `weight_decay` goes before the settings'."""
        return [{"params": list(self.parameters())}]


class SubNet(nn.Module):
    """A clip's mean frame to a vector: BatchNorm, dropout, three layers with ReLU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.linear3 = nn.Linear(hidden, hidden)

    def forward(self, x: Sequences) -> Tensor:  # ragged (frames, width) -> (batch, hidden)
        h = self.dropout(self.norm(clip_mean(x.values, x.layout.lengths)))
        for layer in (self.linear1, self.linear2, self.linear3):
            h = F.relu(layer(h))
        return h


class LastState(nn.Module):
    """Tokens or frames to a vector: the last hidden state of an LSTM, and a layer."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, out)

    def forward(self, x: Sequences) -> Tensor:  # ragged (frames, width) -> (batch, out)
        _, (last, _) = self.rnn(packed(x))
        return self.linear(last[-1])


class Utterances(nn.Module):
    """Text by its tokens, sound and pictures by their mean frame: a vector each.

    Parameters
    ----------
    features : mapping
        Modality -> width of its features.
    hidden : mapping
        Modality -> width of its network.
    text_out : int
        Width of the text's vector.
    dropouts : mapping
        Modality -> rate.
    """

    def __init__(
        self,
        features: Mapping[str, int],
        hidden: Mapping[str, int],
        text_out: int,
        dropouts: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.text = LastState(features["text"], hidden["text"], text_out)
        self.audio = SubNet(features["audio"], hidden["audio"], dropouts["audio"])
        self.vision = SubNet(features["vision"], hidden["vision"], dropouts["vision"])

    def forward(self, inputs: Mapping[str, Sequences]) -> dict[str, Tensor]:
        return {name: getattr(self, name)(inputs[name]) for name in ("text", "audio", "vision")}


class Head(nn.Module):
    """Dropout, two layers with ReLU, and one to the outputs."""

    def __init__(self, width: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.linear3 = nn.Linear(hidden, outputs)

    def feature(self, x: Tensor) -> Tensor:  # -> (batch, hidden)
        return F.relu(self.linear1(self.dropout(x)))

    def answer(self, feature: Tensor) -> Tensor:  # -> (batch, outputs)
        return self.linear3(F.relu(self.linear2(feature)))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.feature(x))


def with_one(x: Tensor) -> Tensor:
    """(batch, width) with a 1 in front."""
    return torch.cat([x.new_ones(len(x), 1), x], dim=1)
