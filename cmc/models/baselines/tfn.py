"""TFN: tensor fusion, the outer product of the vectors of all modalities (Zadeh et al., EMNLP 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cmc.models.baselines.parts import Baseline, Head, Utterances, with_one
from cmc.models.sequences import Sequences

RANGE, SHIFT = 6, -3  # of a regression's output


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
        width = (1 + own.text_out) * (1 + own.hidden["audio"]) * (1 + own.hidden["vision"])
        self.head = Head(width, own.post_fusion, outputs, own.fusion_dropout)
        self.regresses = outputs == 1

    def fuse(self, h: Mapping[str, Tensor]) -> Tensor:
        """All products of up to one number of each modality: (1 + audio) (1 + vision) (1 + text) of them."""
        text, audio, vision = (with_one(h[name]) for name in ("text", "audio", "vision"))
        both = (audio[:, :, None] * vision[:, None, :]).flatten(1)
        return (both[:, :, None] * text[:, None, :]).flatten(1)

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        out = self.head(self.fuse(self.encoders(inputs)))
        return torch.sigmoid(out) * RANGE + SHIFT if self.regresses else out
