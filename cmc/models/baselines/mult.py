"""MulT: each modality attends to each other one (Tsai et al., ACL 2019), as MMSA has it: without positions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc import MODALITIES
from cmc.models.baselines.parts import Baseline, rectangle
from cmc.models.sequences import Sequences

MEMORY_LAYERS = 3  # at least, of the transformer over what a modality has attended to
PAIRS = {name: [other for other in MODALITIES if other != name] for name in MODALITIES}  # target -> sources


@dataclass(frozen=True)
class Settings:
    """Widths and dropout rates.

    Attributes
    ----------
    dim, heads, layers : int
        Of each cross-modal transformer.
    kernels : dict
        Modality -> frames that the projection to `dim` sees at once.
    attention_dropouts : dict
        Source modality -> rate.
    relu_dropout, embed_dropout, residual_dropout, text_dropout, output_dropout : float
    future_mask : bool
        Whether a frame sees no later ones than itself, but for how much longer the source is.
    """

    dim: int = 50
    heads: int = 10
    layers: int = 2
    kernels: Mapping[str, int] = field(default_factory=lambda: {"text": 5, "audio": 1, "vision": 1})
    attention_dropouts: Mapping[str, float] = field(
        default_factory=lambda: {"text": 0.2, "audio": 0.1, "vision": 0.0}
    )
    relu_dropout: float = 0.0
    embed_dropout: float = 0.1
    residual_dropout: float = 0.2
    text_dropout: float = 0.3
    output_dropout: float = 0.1
    future_mask: bool = True


class Layer(nn.Module):
    """Pre-norm attention to a source, and a feed-forward network; one LayerNorm for queries, keys and values."""

    def __init__(self, dim: int, attention_dropout: float, own: Settings) -> None:
        super().__init__()
        self.heads, self.dropout = own.heads, attention_dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.relu_dropout, self.residual_dropout = (
            nn.Dropout(own.relu_dropout),
            nn.Dropout(own.residual_dropout),
        )
        for layer in (self.project, self.out, self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        """x (batch, time, dim), source (batch, other time, dim) or None for x itself; mask: True where seen."""
        normed = self.norm1(x)
        keys = normed if source is None else self.norm1(source)
        dim = x.shape[-1]
        weight, bias = self.project.weight, self.project.bias
        q = F.linear(normed, weight[:dim], bias[:dim])
        k, v = F.linear(keys, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], dropout_p=dropout)
        x = x + self.residual_dropout(self.out(seen.transpose(1, 2).flatten(2)))
        fed = self.linear2(self.relu_dropout(F.relu(self.linear1(self.norm2(x)))))
        return x + self.residual_dropout(fed)


class Transformer(nn.Module):
    """Layers that attend to the same source, or to themselves."""

    def __init__(self, dim: int, layers: int, attention_dropout: float, own: Settings) -> None:
        super().__init__()
        self.scale, self.dropout = dim**0.5, nn.Dropout(own.embed_dropout)
        self.layers = nn.ModuleList(Layer(dim, attention_dropout, own) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        x = self.dropout(self.scale * x)
        keys = None if source is None else self.dropout(self.scale * source)
        for layer in self.layers:
            x = layer(x, keys, mask)
        return self.norm(x)


class Model(Baseline):
    """MulT; parameters as `cmc.models.baselines.lf_dnn.Model`."""

    def __init__(self, features: Mapping[str, int], outputs: int, settings: Settings) -> None:
        super().__init__()
        self.settings = own = settings
        dim = own.dim
        self.project = nn.ModuleDict(
            {
                name: nn.Identity()
                if features[name] == dim
                else nn.Conv1d(features[name], dim, own.kernels[name], bias=False)
                for name in MODALITIES
            }
        )
        self.cross = nn.ModuleDict(
            {
                f"{target}_{source}": Transformer(dim, own.layers, own.attention_dropouts[source], own)
                for target, sources in PAIRS.items()
                for source in sources
            }
        )
        deep = max(own.layers, MEMORY_LAYERS)
        self.memory = nn.ModuleDict(
            {name: Transformer(2 * dim, deep, own.attention_dropouts[name], own) for name in MODALITIES}
        )
        self.text_dropout, self.output_dropout = nn.Dropout(own.text_dropout), nn.Dropout(own.output_dropout)
        self.linear1, self.linear2 = nn.Linear(6 * dim, 6 * dim), nn.Linear(6 * dim, 6 * dim)
        self.out = nn.Linear(6 * dim, outputs)

    def frames(self, name: str, x: Sequences) -> tuple[Tensor, Tensor]:
        """The projected frames (batch, time, dim) of a modality, and how many each clip has (batch,)."""
        rows = rectangle(x)
        if name == "text":
            rows = self.text_dropout(rows)
        project = self.project[name]
        lengths = x.layout.lengths
        if isinstance(project, nn.Identity):
            return rows, lengths
        (kernel,) = project.kernel_size
        if rows.shape[1] < kernel:  # a clip is at least as long as what the projection sees
            rows = F.pad(rows, (0, 0, 0, kernel - rows.shape[1]))
        return project(rows.mT).mT, (lengths - kernel + 1).clamp(min=1)

    def mask(self, targets: Tensor, sources: Tensor, time: int, other: int) -> Tensor:
        """What frames of the target see of the source, (batch, time, other) bool: of their clip, of the past."""
        places = torch.arange(other, device=targets.device)
        seen = (places < sources[:, None])[:, None].expand(-1, time, -1)
        if self.settings.future_mask:
            ahead = places[None] - torch.arange(time, device=targets.device)[:, None]
            seen = seen & (ahead < 1 + (sources - targets).abs()[:, None, None])
        return seen

    def last(self, inputs: Mapping[str, Sequences]) -> dict[str, Tensor]:
        """The vector (batch, 2 dim) of each modality: its last frame, which has attended to the others."""
        frames, lengths = {}, {}
        for name in MODALITIES:
            frames[name], lengths[name] = self.frames(name, inputs[name])
        found = {}
        for target, sources in PAIRS.items():
            time = frames[target].shape[1]
            attended = [
                self.cross[f"{target}_{source}"](
                    frames[target],
                    frames[source],
                    self.mask(lengths[target], lengths[source], time, frames[source].shape[1]),
                )
                for source in sources
            ]
            own = self.mask(lengths[target], lengths[target], time, time)
            h = self.memory[target](torch.cat(attended, dim=2), None, own)
            found[target] = h[torch.arange(len(h), device=h.device), lengths[target] - 1]
        return found

    def forward(self, inputs: Mapping[str, Sequences]) -> Tensor:  # -> (batch, outputs)
        x = torch.cat(list(self.last(inputs).values()), dim=1)
        return self.out(self.linear2(self.output_dropout(F.relu(self.linear1(x)))) + x)
