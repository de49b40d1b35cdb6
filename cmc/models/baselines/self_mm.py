"""Self-MM: each modality learns from labels of its own, which training generates (Yu et al., AAAI 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cmc import MODALITIES
from cmc.models.baselines.parts import Baseline, Head, LastState
from cmc.models.sequences import Sequences

FUSION = "fusion"
SPACES = (FUSION, *MODALITIES)  # each has features, labels and two centres
EPSILON = 1e-8


@dataclass(frozen=True)
class Settings:
    """Widths, rates, and the range of labels.

    Attributes
    ----------
    recurrent, out : dict
        Modality -> width of its LSTM and of the vector that it makes.
    post : dict
        fusion or modality -> width of its feature.
    dropouts : dict
        fusion or modality -> rate in front of its feature.
    limit : float
        Largest absolute value of a generated label.
    lr, weight_decay : dict
        Modality -> of its LSTM; all else has those of the training.
    """

    recurrent: Mapping[str, int] = field(default_factory=lambda: {"audio": 16, "vision": 64})
    out: Mapping[str, int] = field(default_factory=lambda: {"audio": 16, "vision": 32})
    post: Mapping[str, int] = field(
        default_factory=lambda: {"fusion": 128, "text": 64, "audio": 16, "vision": 32}
    )
    dropouts: Mapping[str, float] = field(
        default_factory=lambda: {"fusion": 0.0, "text": 0.1, "audio": 0.1, "vision": 0.0}
    )
    limit: float = 1.0
    lr: Mapping[str, float] = field(default_factory=lambda: {"audio": 5e-3, "vision": 5e-3})
    weight_decay: Mapping[str, float] = field(default_factory=lambda: {"audio": 0.01, "vision": 0.01})


class Model(Baseline):
    """Self-MM; parameters as `cmc.models.baselines.lf_dnn.Model`, with one output.

    Attributes
    ----------
    remembered : dict
        labels_{space} (clips,), features_{space} (clips, width) as last seen, and their centres
        centres_{space} (2, width), of clips whose label is positive, and negative.
    """

    extra_losses = MODALITIES
    only_regresses = True

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        self.settings = own = settings
        self.recurrent = nn.ModuleDict(
            {name: LastState(features[name], own.recurrent[name], own.out[name]) for name in own.out}
        )
        widths = {"text": features["text"], **own.out}
        widths = {FUSION: sum(widths.values())} | widths
        self.heads = nn.ModuleDict(
            {space: Head(widths[space], own.post[space], outputs, own.dropouts[space]) for space in SPACES}
        )
        self.seen: dict[str, Tensor] = {}  # features of the last batch

    def vectors(self, inputs: Mapping[str, Sequences]) -> dict[str, Tensor]:
        """Space -> what its feature is made of: text by its first token, sound and pictures by an LSTM."""
        found = {"text": first(inputs["text"])}
        found |= {name: network(inputs[name]) for name, network in self.recurrent.items()}
        return {FUSION: torch.cat([found[name] for name in MODALITIES], dim=1)} | found

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, 1)
        return self.heads[FUSION](self.vectors(inputs)[FUSION])

    def begin(self, labels: Tensor) -> None:
        for space in SPACES:
            width = self.settings.post[space]
            self.remembered[f"labels_{space}"] = labels.clone()
            self.remembered[f"features_{space}"] = labels.new_zeros(len(labels), width)
            self.remembered[f"centres_{space}"] = labels.new_zeros(2, width)

    def outputs(self, inputs: Mapping[str, Sequences], clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        vectors = self.vectors(inputs)
        features = {space: self.heads[space].feature(vectors[space]) for space in SPACES}
        scores = {space: self.heads[space].answer(features[space]) for space in SPACES}
        self.seen = {space: feature.detach() for space, feature in features.items()}
        return scores[FUSION], {name: self.unimodal_loss(name, scores[name], clips) for name in MODALITIES}

    def unimodal_loss(self, name: str, scores: Tensor, clips: Tensor) -> Tensor:
        """Mean absolute error; clips count by how far the modality's label is from the multimodal one."""
        own, multimodal = (self.remembered[f"labels_{space}"][clips] for space in (name, FUSION))
        weights = torch.tanh((own - multimodal).abs())
        return (weights * (scores[:, 0] - own).abs()).mean()

    @torch.no_grad()
    def after_batch(self, epoch: int, clips: Tensor) -> None:
        """From the second epoch on, new labels of the modalities; then new centres."""
        if epoch > 1:
            self.generate(epoch, clips)
        for space in SPACES:
            labels, features = (self.remembered[f"{kind}_{space}"] for kind in ("labels", "features"))
            features[clips] = self.seen[space]
            sides = torch.stack([labels > 0, labels < 0]).to(features.dtype)
            self.remembered[f"centres_{space}"] = sides @ features / sides.sum(dim=1, keepdim=True)

    def generate(self, epoch: int, clips: Tensor) -> None:
        """Move the labels of a batch's clips to where their features lie between the centres, by less each epoch.

        Without a clip on one side there is no centre; labels then stay as they are.
        """
        shares = {space: self.nearness(space) for space in SPACES}
        multimodal = self.remembered[f"labels_{FUSION}"][clips]
        for name in MODALITIES:
            labels = self.remembered[f"labels_{name}"]
            alpha = shares[name] / (shares[FUSION] + EPSILON)
            new = 0.5 * alpha * multimodal + 0.5 * (multimodal + shares[name] - shares[FUSION])
            new = new.clamp(-self.settings.limit, self.settings.limit)
            moved = (epoch - 1) / (epoch + 1) * labels[clips] + 2 / (epoch + 1) * new
            labels[clips] = torch.where(moved.isfinite(), moved, labels[clips])

    def nearness(self, space: str) -> Tensor:
        """How much nearer a feature is to the positive centre than to the negative one, (batch,)."""
        positive, negative = (
            torch.linalg.vector_norm(self.seen[space] - centre, dim=1)
            for centre in self.remembered[f"centres_{space}"]
        )
        return (negative - positive) / (positive + EPSILON)

    def groups(self) -> list[dict]:
        own = self.settings
        return [{"params": list(self.heads.parameters())}] + [
            {"params": list(network.parameters()), "lr": own.lr[name], "weight_decay": own.weight_decay[name]}
            for name, network in self.recurrent.items()
        ]


def first(x: Sequences) -> Tensor:
    """The first token of each transcript (batch, width): BERT's CLS."""
    lengths = x.layout.lengths
    return x.values[lengths.cumsum(0) - lengths]
