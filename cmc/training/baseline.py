"""Training of the baselines: one stage for all of them, in the loop that CMC's stages use."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc import files, metrics
from cmc.labels import Has0, Scheme
from cmc.models import baselines
from cmc.models.baselines.parts import Baseline
from cmc.models.cmc import Dimensions
from cmc.models.sequences import move
from cmc.training import checkpoint, dataset, encoder
from cmc.training.dataset import Split
from cmc.training.joint import Joint
from cmc.training.loop import Losses, finished, fit
from cmc.training.losses import balanced

Order = Callable[[int], list[np.ndarray]]
Objective = Literal["classification", "regression"]
BATCH = 64
TASK = "task"


@dataclass(frozen=True)
class BaselineSettings:
    """How a baseline is trained.

    Attributes
    ----------
    epochs, patience, batch : int
        Early stopping is by the validation loss of the task.
    objective : {'classification', 'regression'}
        Classes, by cross-entropy; or, of polarity, scores, by the mean absolute error.
    lr : float
    weight_decay : float
    clip : float or None
        Largest gradient of a single weight.
    accumulate : int
        Batches whose gradients are added before a step.
    plateau : int or None
        Epochs without a better validation loss after which the learning rate falls to a tenth.
    class_weights : {'none', 'balanced'}
        Of the cross-entropy; see `cmc.training.losses.balanced`.
    train_text_encoder : bool
        Finetune the language model; else its frozen hidden states are used.
    text_lr, text_weight_decay : float
        For the language model.
    text_bf16 : bool
        Whether it computes in bfloat16 while it is trained.
    """

    epochs: int = 100
    patience: int = 8
    batch: int = 32
    objective: Objective = "classification"
    lr: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = None
    accumulate: int = 1
    plateau: int | None = None
    class_weights: Literal["none", "balanced"] = "none"
    train_text_encoder: bool = False
    text_lr: float = 5e-5
    text_weight_decay: float = 1e-3
    text_bf16: bool = False


class BaselineTraining(Joint):
    """The stage that `cmc.training.loop.fit` trains.

    Attributes
    ----------
    model : Baseline
    bert : Module or None
        The language model, if it is finetuned.
    """

    def __init__(
        self,
        model: Baseline,
        settings: BaselineSettings,
        train: Split,
        valid: Split,
        scheme: Scheme,
        order: Order,
        bert: nn.Module | None = None,
    ) -> None:
        super().__init__(model, bert)
        self.settings, self.train, self.valid = settings, train, valid
        self.scheme, self.order = scheme, order
        splits = {"train": train, "valid": valid}
        device = next(model.parameters()).device
        self.targets = {name: self.target(split).to(device) for name, split in splits.items()}
        model.begin(self.targets["train"])
        self.neutral = neutral_band(train.clips["label"].to_numpy()) if scheme.polar else 0.0
        self.class_weights = None
        if settings.class_weights == "balanced":
            self.class_weights = balanced(train.classes("M"), len(scheme.classes)).to(device)
        groups = [
            {"lr": settings.lr, "weight_decay": settings.weight_decay} | group for group in model.groups()
        ]
        if bert is not None:
            groups += encoder.parameter_groups(bert, settings.text_lr, settings.text_weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=settings.lr, fused=True)
        self.plateau = None
        if settings.plateau is not None:
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                self.optimizer, factor=0.1, patience=settings.plateau
            )

    def target(self, split: Split) -> Tensor:
        """What is learned of each clip of a split (clips,): its class, or its label as it is."""
        classes = split.classes("M")
        if self.settings.objective == "classification":
            return classes
        return torch.from_numpy(split.clips["label"].to_numpy(dtype=np.float32))

    def task_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of logits, or mean absolute error of scores."""
        if self.settings.objective == "regression":
            return F.l1_loss(outputs[:, 0], targets)
        return F.cross_entropy(outputs, targets, self.class_weights)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Every batch once."""
        names = [TASK, *self.model.extra_losses]
        losses, batches = Losses(names), self.order(epoch)
        self.mode(training=True)
        self.optimizer.zero_grad(set_to_none=True)
        for number, clips in enumerate(batches, start=1):
            (places,) = move([clips], self.targets["train"].device)
            outputs, extra = self.model.outputs(encoder.inputs(self.bert, self.train, clips), places)
            task = self.task_loss(outputs, self.targets["train"][places])
            terms = torch.stack([task, *(extra[name] for name in self.model.extra_losses)])
            terms.sum().backward()
            losses.add(terms, clips)
            self.model.after_batch(epoch, places)
            if number % self.settings.accumulate == 0 or number == len(batches):
                self.step()
        means = losses.means(self.train.clips["clip_id"].to_numpy(), self.optimizer)
        return {"train_loss": sum(means.values()), **{f"train_loss_{k}": v for k, v in means.items()}}

    def step(self) -> None:
        if self.settings.clip is not None:
            weights = [own for group in self.optimizer.param_groups for own in group["params"]]
            nn.utils.clip_grad_value_(weights, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def validate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Loss of the task and metrics on the validation split; keeps the weights where the loss is lowest."""
        outputs = predict(self.model, self.bert, self.valid)
        record = {"validation_loss": float(self.task_loss(outputs, self.targets["valid"]))}
        record["validation_loss_M"] = record["validation_loss"]
        said = answers(outputs.cpu().numpy(), self.scheme, self.neutral)
        scores = metrics.score(said, self.valid.classes("M").numpy(), self.scheme)
        record |= {f"validation_{name}": scores[name] for name in metrics.of_validation(self.scheme)}
        if self.plateau is not None:
            self.plateau.step(record["validation_loss"])
        return record, self.keep(record["validation_loss"], epoch)

    def state_dict(self) -> dict:
        plateau = None if self.plateau is None else self.plateau.state_dict()
        return super().state_dict() | {"plateau": plateau, "remembered": self.model.remembered}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        device = self.targets["train"].device
        self.model.remembered = {name: tensor.to(device) for name, tensor in state["remembered"].items()}
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])


def neutral_band(labels: np.ndarray) -> float:
    """How far from 0 a score is still neutral: half of the smallest label (clips,) that isn't 0."""
    sizes = np.abs(labels[labels != 0])
    return float(sizes.min() / 2) if len(sizes) else 0.0


def answers(outputs: np.ndarray, scheme: Scheme, neutral: float) -> np.ndarray:
    """What outputs say, (n, 2) int, see `cmc.metrics.answers`: logits (n, classes), or scores (n, 1)."""
    if outputs.shape[1] == 1:
        return metrics.answers_of_scores(outputs[:, 0], scheme, neutral)
    return metrics.answers(outputs, scheme)


@torch.no_grad()
def predict(model: Baseline, bert: nn.Module | None, split: Split) -> Tensor:
    """Logits (clips, classes) or scores (clips, 1) of a whole split, in evaluation mode."""
    model.eval()
    if bert is not None:
        bert.eval()
    batches = dataset.in_order(np.arange(len(split)), BATCH)
    return torch.cat([model(encoder.inputs(bert, split, clips)) for clips in batches])


def run(
    features: str | Path,
    out: str | Path,
    *,
    architecture: str,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    has0: Has0 | None,
    seed: int,
    fold: int | None = None,
    mask_padding: bool = True,
    text_encoder: str | None = None,
    device: str = "cpu",
) -> None:
    """Train a baseline and write its checkpoint.

    Parameters
    ----------
    features, out : path
        Feature file; checkpoint to write (.safetensors): ``model.*`` and, if finetuned, ``bert.*``.
    architecture : str
        Of `cmc.models.baselines.ARCHITECTURES`.
    model, settings : mapping
        Fields of its `Settings`, and of `BaselineSettings`.
    has0, seed, fold, mask_padding, text_encoder, device
        See `cmc.training.pretrain.run`.
    """
    chosen, out = BaselineSettings(**settings), Path(out)
    torch.manual_seed(seed)
    train, valid = (dataset.load(features, split, device, mask_padding, fold) for split in ("train", "valid"))
    scheme = Scheme(train.names, has0)
    bert = encoder.prepare([train, valid], text_encoder, chosen.train_text_encoder, bf16=chosen.text_bf16)
    if chosen.objective == "regression" and not scheme.polar:
        raise ValueError(
            f"{architecture}: only labels that are numbers can be regressed, not classes by name"
        )
    outputs = len(scheme.classes) if chosen.objective == "classification" else 1
    network = baselines.build(architecture, train.widths, outputs, model).to(device)
    order = lambda epoch: dataset.shuffled(len(train), chosen.batch, seed, epoch)  # noqa: E731
    stage = BaselineTraining(network, chosen, train, valid, scheme, order, bert)
    recipe = {
        "stage": "baseline",
        "architecture": architecture,
        "model": dict(model),
        "settings": asdict(chosen),
        **scheme.facts,
        "seed": seed,
        "fold": fold,
        "mask_padding": mask_padding,
        "text_encoder": text_encoder,
        "neutral": stage.neutral,
    }
    identity = recipe | {"data": files.sha256(features), "device": device}
    history = fit(stage, chosen.epochs, chosen.patience, seed, out, identity)
    dims = Dimensions(features=train.widths, classes=len(scheme.classes))
    checkpoint.save(out, stage.best, dims, recipe=recipe, best_epoch=stage.best_epoch, history=history)
    finished(out)


class TrainedBaseline:
    """A baseline of a checkpoint, which reads clips.

    Attributes
    ----------
    tensors : dict
        ``model.*`` and, if finetuned, ``bert.*``.
    dims : Dimensions
        Widths of its features, and its classes.
    facts : dict
        All that the checkpoint says.
    regresses : bool
        Whether it tells scores, not classes.
    neutral : float
        How far from 0 a score is still neutral.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        self.tensors, self.dims, self.facts = checkpoint.load(path)
        recipe = self.facts["recipe"]
        self.regresses = recipe["settings"]["objective"] == "regression"
        self.neutral = recipe["neutral"]
        outputs = 1 if self.regresses else self.dims.classes
        self._model = baselines.build(recipe["architecture"], self.dims.features, outputs, recipe["model"])
        self._model.load_state_dict(checkpoint.part(self.tensors, "model."))
        self._model.to(device)

    def outputs(self, split: Split) -> np.ndarray:
        """Logits (clips, classes), or scores (clips, 1)."""
        recipe, weights = self.facts["recipe"], checkpoint.part(self.tensors, "bert.")
        bert = encoder.prepare([split], recipe["text_encoder"], bool(weights), weights)
        return predict(self._model, bert, split).cpu().numpy()
