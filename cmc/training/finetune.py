"""Stage 2: the multimodal model, finetuned from the pretrained encoders (section 5)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc import files, metrics
from cmc.labels import Scheme
from cmc.models.cmc import Dimensions, MultimodalModel, Output
from cmc.models.sequences import move
from cmc.training import checkpoint, dataset, encoder, pseudo_labels
from cmc.training.dataset import Split
from cmc.training.joint import Joint
from cmc.training.loop import Losses, finished, fit
from cmc.training.losses import balanced, supervised_contrastive

Order = Callable[[int], list[np.ndarray]]


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of stage 2; the defaults are the published ones.

    Attributes
    ----------
    epochs, patience, batch, lr, temperature
        As in stage 1.
    loss_weights : dict
        Of the multimodal cross-entropy M, each expert's, and of the contrastive loss.
    labels : {'pseudo', 'multimodal', 'annotated'}
        The experts' labels: those that stage 1 handed on, the multimodal one, or annotated ones (CMC-GT).
    train_text_encoder : bool
        Finetune the language model; else its frozen hidden states are used, at a fraction of the cost.
    text_lr, text_weight_decay : float
        For the language model.
    text_bf16 : bool
        Whether the language model computes in bfloat16 while it is trained. Evaluation is in float32.
    class_weights : {'none', 'balanced'}
        As in stage 1.
    """

    epochs: int = 100
    patience: int = 10
    batch: int = 64
    lr: float = 1e-3
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {"M": 1.0, "text": 1.0, "audio": 1.0, "vision": 1.0, "contrastive": 1.0}
    )
    temperature: float = 0.07
    labels: Literal["pseudo", "multimodal", "annotated"] = "pseudo"
    train_text_encoder: bool = True
    text_lr: float = 5e-5
    text_weight_decay: float = 1e-3
    text_bf16: bool = False
    class_weights: Literal["none", "balanced"] = "none"


class Finetuning(Joint):
    """The stage that `cmc.training.loop.fit` trains.

    Attributes
    ----------
    model : MultimodalModel
    bert : Module or None
        The language model, if it is finetuned.
    labels : dict
        'train' and 'valid' -> hard labels of the experts (modalities, clips).
    """

    def __init__(
        self,
        model: MultimodalModel,
        settings: FinetuneSettings,
        train: Split,
        valid: Split,
        labels: dict[str, Tensor],
        scheme: Scheme,
        order: Order,
        bert: nn.Module | None = None,
    ) -> None:
        super().__init__(model, bert)
        self.settings, self.train, self.valid = settings, train, valid
        self.labels, self.scheme, self.order = labels, scheme, order
        device = next(model.parameters()).device
        self.targets = {"train": train.classes("M").to(device), "valid": valid.classes("M").to(device)}
        self.class_weights = None
        if settings.class_weights == "balanced":
            self.class_weights = balanced(train.classes("M"), model.dims.classes).to(device)
        groups = [{"params": list(model.parameters())}]
        if bert is not None:
            groups += encoder.parameter_groups(bert, settings.text_lr, settings.text_weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=settings.lr, fused=True)
        self.names = ["M", *model.dims.modalities, "contrastive"]
        weights = [settings.loss_weights[name] for name in self.names]
        self.loss_weights = next(model.parameters()).new_tensor(weights)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Every batch once."""
        losses, router = Losses(self.names), []
        self.mode(training=True)
        for clips in self.order(epoch):
            output = self.forward(self.train, clips)
            terms = self.terms(output, "train", clips)
            self.optimizer.zero_grad(set_to_none=True)
            self.total(terms).backward()
            self.optimizer.step()
            losses.add(terms, clips)
            router.append(output.router_weights.detach().sum(dim=0))
        self.last_losses = losses.matrix()
        means = losses.means(self.train.clips["clip_id"].to_numpy(), self.optimizer)
        weights = (torch.stack(router).sum(dim=0) / len(self.train)).tolist()
        router_means = {f"router_{k}": w for k, w in zip(self.model.dims.modalities, weights, strict=True)}
        return self.diagnostics("train", means) | router_means

    def diagnostics(self, split: str, means: dict[str, float]) -> dict[str, float]:
        """The total loss of an epoch and its terms, named for the history."""
        prefix = "train_loss" if split == "train" else "validation_loss"
        total = sum(self.settings.loss_weights[name] * value for name, value in means.items())
        return {prefix: total, **{f"{prefix}_{name}": value for name, value in means.items()}}

    def forward(self, split: Split, clips: np.ndarray) -> Output:
        return self.model(encoder.inputs(self.bert, split, clips))

    def terms(self, output: Output, split: str, clips: np.ndarray) -> Tensor:
        """Unweighted loss terms, in the order of `names`."""
        (places,) = move([clips], output.logits.device)
        target, experts = self.targets[split][places], self.labels[split][:, places]
        cross_entropies = [F.cross_entropy(output.logits, target, self.class_weights)] + [
            F.cross_entropy(output.expert_logits[:, i], label, self.class_weights)
            for i, label in enumerate(experts)
        ]
        contrastive = supervised_contrastive(
            output.h.transpose(0, 1).flatten(0, 1),
            self.scheme.groups(experts).flatten(),
            self.settings.temperature,
        )
        return torch.stack([*cross_entropies, contrastive])

    def total(self, terms: Tensor) -> Tensor:
        return (terms * self.loss_weights).sum()

    @torch.no_grad()
    def validate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """The same losses on the validation split, and metrics; keeps the weights where their sum is lowest."""
        self.mode(training=False)
        losses, logits = Losses(self.names), []
        for clips in dataset.in_order(np.arange(len(self.valid)), self.settings.batch):
            output = self.forward(self.valid, clips)
            losses.add(self.terms(output, "valid", clips), clips)
            logits.append(output.logits)
        record = self.diagnostics("valid", losses.means(self.valid.clips["clip_id"].to_numpy()))
        answers = torch.cat(logits).cpu().numpy(), self.targets["valid"].cpu().numpy()
        scores = metrics.evaluate(*answers, self.scheme)
        record |= {f"validation_{name}": scores[name] for name in metrics.of_validation(self.scheme)}
        return record, self.keep(record["validation_loss"], epoch)


def expert_labels(
    split: Split, name: str, settings: FinetuneSettings, pretrained: dict, meta: dict, path: Path
) -> Tensor:
    """Hard labels of the experts (modalities, clips) for a split."""
    modalities = Dimensions(**meta["dimensions"]).modalities
    if settings.labels == "pseudo":
        where = checkpoint.places(split.clips["clip_id"].to_numpy(), meta["clips"][name], path)
        return pseudo_labels.hard(pretrained[f"labels.{name}"][:, where])
    whose = modalities if settings.labels == "annotated" else ["M"] * len(modalities)
    return torch.stack([split.classes(one) for one in whose])


def run(
    features: str | Path,
    pretrained: str | Path,
    out: str | Path,
    *,
    model: dict,
    settings: dict,
    device: str = "cpu",
) -> None:
    """Finetune from a pretrained checkpoint and write the checkpoint `out`.

    What stage 1 has settled (seed, label rule, padding, text encoder, dimensions) comes from its checkpoint.

    Parameters
    ----------
    features, pretrained, out : path
        Feature file; checkpoint of stage 1; checkpoint to write: ``model.*`` and, if finetuned, ``bert.*``.
    model : dict
        Fields of `Dimensions` that stage 1 does not fix: fusion, router, top_k, temperature.
    settings : dict
        Fields of `FinetuneSettings`.
    device : str

    Raises
    ------
    CheckpointError
        If the features have other widths than the pretrained encoders, or clips without pseudo labels.
    DivergedError
        If a loss is not finite.
    """
    chosen, out, pretrained = FinetuneSettings(**settings), Path(out), Path(pretrained)
    tensors, start, meta = checkpoint.load(pretrained)
    dims, recipe = Dimensions(**asdict(start) | model), meta["recipe"]
    seed = recipe["seed"]
    torch.manual_seed(seed)
    train, valid = (
        dataset.load(features, split, device, recipe["mask_padding"], recipe["fold"])
        for split in ("train", "valid")
    )
    checkpoint.check_features(dims, train.widths, pretrained)
    trained_before = checkpoint.part(tensors, "text.bert.")
    if trained_before and not chosen.train_text_encoder:
        raise ValueError(
            "stage 1 finetuned the text encoder, so stage 2 must too: set finetune.train_text_encoder to true, "
            "or pretrain.train_text_encoder to false"
        )
    bert = encoder.prepare(
        [train, valid], recipe["text_encoder"], chosen.train_text_encoder, trained_before, chosen.text_bf16
    )
    network = MultimodalModel(dims)
    for modality in dims.modalities:
        own = checkpoint.part(tensors, f"{modality}.")
        network.unimodal[modality].load_state_dict(
            {n: t for n, t in own.items() if not n.startswith("bert.")}
        )
    network.to(device)
    labels = {
        name: expert_labels(split, name, chosen, tensors, meta, pretrained).to(device)
        for name, split in (("train", train), ("valid", valid))
    }
    order = lambda epoch: dataset.shuffled(len(train), chosen.batch, seed, epoch)  # noqa: E731
    stage = Finetuning(network, chosen, train, valid, labels, Scheme.of(recipe), order, bert)
    recipe |= {"stage": "finetune", "model": model, "settings": asdict(chosen)}
    identity = recipe | {"data": files.sha256(features), "start": files.sha256(pretrained), "device": device}
    history = fit(stage, chosen.epochs, chosen.patience, seed, out, identity)
    checkpoint.save(out, stage.best, dims, recipe=recipe, best_epoch=stage.best_epoch, history=history)
    finished(out)
