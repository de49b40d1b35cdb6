"""LF-DNN: late fusion, the vectors of all modalities concatenated (Yu et al., CH-SIMS, ACL 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cmc.models.baselines.parts import Baseline, Head, Utterances
from cmc.models.sequences import Sequences


@dataclass(frozen=True)
class Settings:
    """Widths and dropout rates.

    Attributes
    ----------
    hidden, dropouts : dict
        Modality -> width of its network, rate.
    text_out, post_fusion : int
        Widths of the text's vector and of the layers behind the fusion.
    fusion_dropout : float
    """

    hidden: Mapping[str, int] = field(default_factory=lambda: {"text": 128, "audio": 32, "vision": 128})
    text_out: int = 256
    post_fusion: int = 32
    dropouts: Mapping[str, float] = field(default_factory=lambda: {"audio": 0.3, "vision": 0.3})
    fusion_dropout: float = 0.5


class Model(Baseline):
    """LF-DNN.

    Parameters
    ----------
    features : mapping
        Modality -> width of its features; text, audio and vision.
    outputs : int
        Classes, or 1 for a regression.
    settings : Settings
    """

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        own = settings
        self.encoders = Utterances(features, own.hidden, own.text_out, own.dropouts)
        width = own.text_out + own.hidden["audio"] + own.hidden["vision"]
        self.head = Head(width, own.post_fusion, outputs, own.fusion_dropout)

    def fuse(self, h: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([h["audio"], h["vision"], h["text"]], dim=1)

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        return self.head(self.fuse(self.encoders(inputs)))
