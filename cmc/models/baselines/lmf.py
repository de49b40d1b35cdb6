"""LMF: low-rank fusion, the outer product of TFN without ever forming it (Liu et al., ACL 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor, nn

from cmc.models.baselines.parts import Baseline, Utterances, with_one
from cmc.models.sequences import Sequences


@dataclass(frozen=True)
class Settings:
    """Widths, the rank of the fusion, dropout rates, and the learning rate of the factors; the text's vector has
    half of its hidden width."""

    hidden: Mapping[str, int] = field(default_factory=lambda: {"text": 64, "audio": 16, "vision": 64})
    rank: int = 4
    dropouts: Mapping[str, float] = field(default_factory=lambda: {"audio": 0.2, "vision": 0.2})
    factor_lr: float = 5e-4


class Model(Baseline):
    """LMF; parameters as `cmc.models.baselines.lf_dnn.Model`."""

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        self.settings = own = settings
        text_out = own.hidden["text"] // 2
        self.encoders = Utterances(features, own.hidden, text_out, own.dropouts)
        widths = {"text": text_out, "audio": own.hidden["audio"], "vision": own.hidden["vision"]}
        self.factors = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(own.rank, 1 + width, outputs)) for name, width in widths.items()}
        )
        self.fusion_weights = nn.Parameter(torch.empty(1, own.rank))
        self.fusion_bias = nn.Parameter(torch.zeros(1, outputs))
        for parameter in (*self.factors.values(), self.fusion_weights):
            nn.init.xavier_normal_(parameter)

    def groups(self) -> list[dict]:
        factors = list(self.factors.values())
        rest = [own for name, own in self.named_parameters() if not name.startswith("factors.")]
        return [{"params": rest}, {"params": factors, "lr": self.settings.factor_lr, "weight_decay": 0.0}]

    def fuse(self, h: Mapping[str, Tensor]) -> Tensor:  # -> (batch, rank, outputs)
        products = (torch.einsum("bw,rwo->bro", with_one(h[name]), own) for name, own in self.factors.items())
        return reduce(torch.mul, products)  # the gradient of `prod` would wait for a GPU

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        fused = self.fuse(self.encoders(inputs))
        return torch.einsum("r,bro->bo", self.fusion_weights[0], fused) + self.fusion_bias
