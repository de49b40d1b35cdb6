"""A trained model: the networks of both stages of one seed, which read clips."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmc.models.cmc import Dimensions, MultimodalModel, Output, UnimodalModel
from cmc.training import checkpoint, dataset, encoder
from cmc.training.dataset import Split

BATCH = 64
BERT = "bert."


@dataclass(frozen=True)
class Readings:
    """What a model says of clips.

    Attributes
    ----------
    logits : ndarray (clips, classes)
        Of the consensus.
    experts : dict
        Modality -> its expert's logits (clips, classes), zeros where the router did not choose it.
    router : dict
        Modality -> its weight (clips,), in [0, 1]; they sum to 1.
    unimodal : dict
        Modality -> logits (clips, classes) of its pretrained model, which sees that modality alone.
    """

    logits: np.ndarray
    experts: dict[str, np.ndarray]
    router: dict[str, np.ndarray]
    unimodal: dict[str, np.ndarray]


class TrainedModel:
    """The networks of both stages of one seed, in evaluation mode on a device.

    Parameters
    ----------
    pretrained, finetuned : dict
        Tensors of the checkpoints of stage 1 and 2, see `cmc.training.pretrain.run` and
        `cmc.training.finetune.run`.
    dims : Dimensions
        Of the finetuned model.
    text_encoder : str or None
        Its language model, see `cmc.hub.resolve`; read when it is first needed.
    device : torch.device

    Attributes
    ----------
    dims : Dimensions
    """

    def __init__(
        self,
        pretrained: dict[str, Tensor],
        finetuned: dict[str, Tensor],
        dims: Dimensions,
        text_encoder: str | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dims, self._text_encoder = dims, text_encoder
        self._multimodal = MultimodalModel(dims)
        self._multimodal.load_state_dict(checkpoint.part(finetuned, "model."))
        self._unimodal = nn.ModuleDict()
        for modality in dims.modalities:
            own = UnimodalModel(dims, modality)
            tensors = checkpoint.part(pretrained, f"{modality}.")
            own.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(BERT)})
            self._unimodal[modality] = own
        for network in (self._multimodal, self._unimodal):
            network.to(device).eval()
        # of a language model that a stage has finetuned
        self._weights = {
            "finetuned": checkpoint.part(finetuned, BERT),
            "pretrained": checkpoint.part(pretrained, f"text.{BERT}"),
        }
        self._berts: dict[str, nn.Module] = {}

    @classmethod
    def load(
        cls, pretrained: str | Path, finetuned: str | Path, device: torch.device | str = "cpu"
    ) -> tuple["TrainedModel", dict[str, Any], dict[str, Any]]:
        """The model of two checkpoints, and what these say of themselves.

        Raises
        ------
        CheckpointError
            See `cmc.training.checkpoint.load`.
        """
        first, _, first_facts = checkpoint.load(pretrained)
        second, dims, second_facts = checkpoint.load(finetuned)
        model = cls(first, second, dims, second_facts["recipe"]["text_encoder"], device)
        return model, first_facts, second_facts

    @torch.no_grad()
    def predict(self, split: Split) -> Readings:
        """What the model says of each clip of a split.

        A modality that the split lacks is left out of fusion and routing, of all its clips.
        """
        return replace(self.consensus(split), unimodal=self.unimodal(split))

    @torch.no_grad()
    def unimodal(self, split: Split) -> dict[str, np.ndarray]:
        """Modality -> logits (clips, classes) of its pretrained model, of the modalities that the split has."""
        seen, bert = (split, None) if "text" not in split.features else self._with_text(split, "pretrained")
        return {
            modality: array(
                torch.cat(
                    [
                        self._unimodal[modality](encoder.inputs(bert, seen, batch)[modality])[0]
                        for batch in batches(split)
                    ]
                )
            )
            for modality in split.features
        }

    @torch.no_grad()
    def consensus(self, split: Split) -> Readings:
        """The same without what the pretrained models say."""
        seen, bert = self._with_text(split, "finetuned")
        outputs = [self._multimodal(encoder.inputs(bert, seen, batch)) for batch in batches(split)]
        whole = Output(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))
        modalities = [modality for modality in self.dims.modalities if modality in split.features]
        return Readings(
            array(whole.logits),
            {modality: array(whole.expert_logits[:, i]) for i, modality in enumerate(modalities)},
            {modality: array(whole.router_weights[:, i]) for i, modality in enumerate(modalities)},
            {},
        )

    @torch.no_grad()
    def embeddings(self, split: Split) -> dict[str, np.ndarray]:
        """Modality -> what its encoder in the multimodal model makes of each clip (clips, dim), before fusion."""
        seen, bert = self._with_text(split, "finetuned")
        h = torch.cat([self._multimodal(encoder.inputs(bert, seen, batch)).h for batch in batches(split)])
        present = [modality for modality in self.dims.modalities if modality in split.features]
        return {modality: array(h[:, place]) for place, modality in enumerate(present)}

    def _with_text(self, split: Split, stage: str) -> tuple[Split, nn.Module | None]:
        """The split as a stage's networks take it, and the language model that has to run with every batch."""
        split = replace(split, features=dict(split.features))
        weights = self._weights[stage]
        if not encoder.runs(split, bool(weights)):
            return split, None
        own = stage if weights else "frozen"
        if own not in self._berts:
            self._berts[own] = encoder.load([split], self._text_encoder, weights)
        bert = self._berts[own].eval()
        if weights:
            return split, bert
        split.features["text"] = encoder.freeze(bert, split)
        return split, None


def batches(split: Split) -> list[np.ndarray]:
    return dataset.in_order(np.arange(len(split)), BATCH)


def array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
