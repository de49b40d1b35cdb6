"""Stage 1: unimodal encoders, trained together on pseudo labels that they correct themselves (section 4)."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc import files
from cmc.labels import Has0, Scheme
from cmc.models.cmc import Dimensions, UnimodalModel
from cmc.models.sequences import Sequences, move
from cmc.training import checkpoint, dataset, encoder, pseudo_labels
from cmc.training.dataset import Split
from cmc.training.loop import Losses, finished, fit
from cmc.training.losses import balanced, supervised_contrastive

PREDICTION_BATCH = 256  # predictions don't depend on it
Order = Callable[[int], list[np.ndarray]]  # epoch -> its batches, as places in the split


@dataclass(frozen=True)
class Schedule:
    """m(e) = 1 - (1 - start) / e^gamma."""

    start: float
    gamma: float

    def __call__(self, epoch: int) -> float:
        return pseudo_labels.momentum_at(epoch, self.start, self.gamma)


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of stage 1; the defaults are the published ones.

    Attributes
    ----------
    epochs : int
        0 leaves the encoders at their random start and the labels at the multimodal one.
    patience : int
        Epochs without an improvement of any modality's validation loss.
    batch : int
    lr : float
    loss_weights : dict
        Of each modality's cross-entropy and of the contrastive loss.
    temperature : float
        Of the contrastive loss.
    labels : {'pseudo', 'multimodal', 'annotated'}
        Pseudo labels (PLGM), the multimodal label for every modality, or annotated unimodal labels (CMC-GT).
    label_momentum, ema_momentum : dict
        Modality -> {start, gamma}.
    train_text_encoder : bool
        Finetune the language model in this stage (CMC-GT).
    text_lr, text_weight_decay : float
        For the language model.
    text_bf16 : bool
        Whether the language model computes in bfloat16 while it is trained. Evaluation is in float32.
    class_weights : {'none', 'balanced'}
        Of the cross-entropies: all clips weigh the same, or all classes of the training split's multimodal labels.
    """

    epochs: int = 100
    patience: int = 10
    batch: int = 64
    lr: float = 1e-3
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {"text": 1.0, "audio": 1.0, "vision": 1.0, "contrastive": 1.0}
    )
    temperature: float = 0.07
    labels: Literal["pseudo", "multimodal", "annotated"] = "pseudo"
    label_momentum: dict[str, dict[str, float]] = field(
        default_factory=lambda: {
            "text": {"start": 0.8, "gamma": 0.5},
            "audio": {"start": 0.99, "gamma": 0.5},
            "vision": {"start": 0.99, "gamma": 0.5},
        }
    )
    ema_momentum: dict[str, dict[str, float]] = field(
        default_factory=lambda: {
            "text": {"start": 0.8, "gamma": 2.5},
            "audio": {"start": 0.9, "gamma": 5.0},
            "vision": {"start": 0.6, "gamma": 2.0},
        }
    )
    train_text_encoder: bool = False
    text_lr: float = 5e-5
    text_weight_decay: float = 1e-3
    text_bf16: bool = False
    class_weights: Literal["none", "balanced"] = "none"


class Pretraining:
    """The stage that `cmc.training.loop.fit` trains.

    Attributes
    ----------
    models, ema : ModuleDict
        Online unimodal models, and the moving averages of them that are evaluated and handed on.
    labels : dict
        'train' and 'valid' -> soft labels (modalities, clips, classes).
    """

    def __init__(
        self,
        dims: Dimensions,
        settings: PretrainSettings,
        train: Split,
        valid: Split,
        scheme: Scheme,
        order: Order,
        device: torch.device | str = "cpu",
        bert: nn.Module | None = None,
    ) -> None:
        self.settings, self.train, self.valid, self.scheme = settings, train, valid, scheme
        self.order = order
        self.modalities = dims.modalities
        self.models = nn.ModuleDict({k: UnimodalModel(dims, k) for k in self.modalities}).to(device)
        self.trains_text = bert is not None
        if self.trains_text:
            self.models["text"].bert = bert
        self.ema = copy.deepcopy(self.models).eval().requires_grad_(False)
        self.labels = {
            "train": starting_labels(train, settings, self.modalities, dims.classes).to(device),
            "valid": starting_labels(valid, settings, self.modalities, dims.classes).to(device),
        }
        self.class_weights = None
        if settings.class_weights == "balanced":
            self.class_weights = balanced(train.classes("M"), dims.classes).to(device)
        self.optimizer = torch.optim.Adam(self.parameter_groups(bert), lr=settings.lr, fused=True)
        self.best_loss = dict.fromkeys(self.modalities, float("inf"))
        self.best_epoch = dict.fromkeys(self.modalities, 0)
        self.best = {k: clone(self.ema[k].state_dict()) for k in self.modalities}
        self.best_labels = clone(self.labels)

    def parameter_groups(self, bert: nn.Module | None) -> list[dict]:
        own = [p for name, p in self.models.named_parameters() if not name.startswith("text.bert.")]
        settings = self.settings
        groups = (
            []
            if bert is None
            else encoder.parameter_groups(bert, settings.text_lr, settings.text_weight_decay)
        )
        return [{"params": own}, *groups]

    def momenta(self, epoch: int, which: dict[str, dict[str, float]]) -> list[float]:
        return [Schedule(**which[k])(epoch) for k in self.modalities]

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Every batch once: loss, step, moving averages, pseudo labels."""
        labels = self.labels["train"]
        label_momentum = labels.new_tensor(self.momenta(epoch, self.settings.label_momentum))[:, None, None]
        ema_momentum = self.momenta(epoch, self.settings.ema_momentum)
        before = pseudo_labels.hard(labels)
        losses = Losses([*self.modalities, "contrastive"])
        weights = labels.new_tensor([self.settings.loss_weights[name] for name in losses.names])
        self.models.train()
        for clips in self.order(epoch):
            self.step(clips, losses, weights, label_momentum, ema_momentum)
        self.last_losses = losses.matrix()
        means = losses.means(self.train.clips["clip_id"].to_numpy(), self.optimizer)
        flipped = (pseudo_labels.hard(self.labels["train"]) != before).double().mean(dim=1)
        flips = {f"flips_{k}": share for k, share in zip(self.modalities, flipped.tolist(), strict=True)}
        total = sum(self.settings.loss_weights[name] * value for name, value in means.items())
        return {
            "train_loss": total,
            **{f"train_loss_{name}": value for name, value in means.items()},
            **flips,
            **self.compared(),
        }

    def compared(self) -> dict[str, float]:
        """What became of the training clips' labels: shares of hard pseudo labels that differ from the multimodal
        one, and their agreement and Cohen's kappa with annotated ones where all clips have them."""
        found = {}
        hard = pseudo_labels.hard(self.labels["train"]).cpu().numpy()
        whole = self.train.classes("M").numpy()
        for modality, own in zip(self.modalities, hard, strict=True):
            found[f"changed_{modality}"] = float((own != whole).mean())
            if self.train.annotated(modality):
                annotated = self.train.classes(modality).numpy()
                found[f"agreement_{modality}"] = float((own == annotated).mean())
                found[f"kappa_{modality}"] = kappa(own, annotated)
        return found

    def step(
        self,
        clips: np.ndarray,
        losses: Losses,
        weights: Tensor,
        label_momentum: Tensor,
        ema_momentum: list[float],
    ) -> None:
        batch = self.inputs(self.models, self.train, clips)
        (places,) = move([clips], self.labels["train"].device)
        labels = self.labels["train"][:, places]  # (modalities, batch, classes)
        hard = pseudo_labels.hard(labels)
        logits, h = self.forward(self.models, batch)
        terms = self.cross_entropies(logits, hard)
        contrastive = supervised_contrastive(
            h.flatten(0, 1), self.scheme.groups(hard).flatten(), self.settings.temperature
        )
        terms = torch.cat([terms, contrastive[None]])
        self.optimizer.zero_grad(set_to_none=True)
        (terms * weights).sum().backward()
        self.optimizer.step()
        losses.add(terms, clips)
        for modality, momentum in zip(self.modalities, ema_momentum, strict=True):
            follow(self.ema[modality], self.models[modality], momentum)
        if self.settings.labels == "pseudo":
            self.labels["train"][:, places] = pseudo_labels.update(labels, logits, label_momentum)

    def inputs(self, models: nn.ModuleDict, split: Split, clips: np.ndarray) -> dict[str, Sequences]:
        batch = split.batch(clips)
        if self.trains_text:
            batch["text"] = encoder.text_states(models["text"].bert, split, clips)
        return batch

    def forward(self, models: nn.ModuleDict, batch: dict[str, Sequences]) -> tuple[Tensor, Tensor]:
        """Logits (modalities, batch, classes) and h (modalities, batch, dim)."""
        outputs = [models[k](batch[k]) for k in self.modalities]
        logits, h = zip(*outputs, strict=True)
        return torch.stack(logits), torch.stack(h)

    def cross_entropies(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (modalities, clips, classes) and labels (modalities, clips): (modalities,)."""
        pairs = zip(logits, labels, strict=True)
        return torch.stack([F.cross_entropy(one, target, self.class_weights) for one, target in pairs])

    @torch.no_grad()
    def predict(self, models: nn.ModuleDict, split: Split) -> Tensor:
        """Logits (modalities, clips, classes) of a whole split, in evaluation mode."""
        models.eval()
        batches = dataset.in_order(np.arange(len(split)), PREDICTION_BATCH)
        return torch.cat(
            [self.forward(models, self.inputs(models, split, clips))[0] for clips in batches], dim=1
        )

    def validate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Losses of the moving averages against the labels from before this epoch's update; keeps the best."""
        labels = self.labels["valid"]
        hard = pseudo_labels.hard(labels)
        logits = self.predict(self.ema, self.valid)
        losses = self.cross_entropies(logits, hard).tolist()
        if self.settings.labels == "pseudo":
            momentum = labels.new_tensor(self.momenta(epoch, self.settings.label_momentum))[:, None, None]
            self.labels["valid"] = pseudo_labels.update(
                labels, self.predict(self.models, self.valid), momentum
            )
        improved = [k for k, loss in zip(self.modalities, losses, strict=True) if loss < self.best_loss[k]]
        for modality in improved:
            self.best_loss[modality] = losses[self.modalities.index(modality)]
            self.best_epoch[modality] = epoch
            self.best[modality] = clone(self.ema[modality].state_dict())
        if improved:
            self.best_labels = clone(self.labels)
        named = {f"validation_loss_{k}": loss for k, loss in zip(self.modalities, losses, strict=True)}
        return {"validation_loss": sum(losses), **named}, bool(improved)

    def state_dict(self) -> dict:
        return {
            "models": self.models.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "labels": self.labels,
            "best": {
                "loss": self.best_loss,
                "epoch": self.best_epoch,
                "models": self.best,
                "labels": self.best_labels,
            },
        }

    def load_state_dict(self, state: dict) -> None:
        device = self.labels["train"].device
        self.models.load_state_dict(state["models"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.labels = {split: labels.to(device) for split, labels in state["labels"].items()}
        best = state["best"]
        self.best_loss, self.best_epoch, self.best = best["loss"], best["epoch"], best["models"]
        self.best_labels = best["labels"]


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa of two labellings (n,): agreement beyond chance; 1 where both say one class throughout."""
    classes = np.union1d(first, second)
    by_chance = float(sum((first == c).mean() * (second == c).mean() for c in classes))
    agreed = float((first == second).mean())
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def starting_labels(
    split: Split, settings: PretrainSettings, modalities: tuple[str, ...], count: int
) -> Tensor:
    """Soft labels (modalities, clips, count) before training."""
    whose = modalities if settings.labels == "annotated" else ["M"] * len(modalities)
    return torch.stack([pseudo_labels.initial(split.classes(one), count) for one in whose])


def clone(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def follow(ema: nn.Module, online: nn.Module, momentum: float) -> None:
    """theta' <- mu theta' + (1 - mu) theta over what is trained; BatchNorm statistics are taken over as they are.

    The published implementation forgets the statistics: its copies keep mean 0 and variance 1.
    """
    pairs = [(e, o) for e, o in zip(ema.parameters(), online.parameters(), strict=True) if o.requires_grad]
    averages, values = (list(side) for side in zip(*pairs, strict=True))
    torch._foreach_mul_(averages, momentum)
    torch._foreach_add_(averages, values, alpha=1 - momentum)
    for average, value in zip(ema.buffers(), online.buffers(), strict=True):
        average.copy_(value)


def run(
    features: str | Path,
    out: str | Path,
    *,
    model: dict,
    settings: dict,
    has0: Has0 | None,
    seed: int,
    fold: int | None = None,
    mask_padding: bool = True,
    text_encoder: str | None = None,
    device: str = "cpu",
) -> None:
    """Pretrain on a feature file and write the checkpoint `out`.

    Parameters
    ----------
    features : path
        Feature file with the splits train and valid.
    out : path
        Checkpoint to write (.safetensors): ``<modality>.*`` and ``labels.train``, ``labels.valid``; beside it
        its JSON and the diagnostics of each epoch (.csv).
    model, settings : dict
        Fields of `Dimensions` (but for `features`) and `PretrainSettings`.
    has0 : {"nonpositive_positive", "negative_nonnegative"} or None
        Of polarity, see `cmc.labels.Scheme.groups`; None of emotions by name.
    seed : int
    fold : int, optional
        Of a data set in folds, the one that is to be tested.
    mask_padding : bool
        See `cmc.training.dataset.load`.
    text_encoder : str, optional
        Needed where the language model runs: `train_text_encoder`, or `mask_padding: false`.
    device : str
    """
    chosen = PretrainSettings(**settings)
    out = Path(out)
    torch.manual_seed(seed)
    train, valid = (dataset.load(features, split, device, mask_padding, fold) for split in ("train", "valid"))
    scheme = Scheme(train.names, has0)
    dims = Dimensions(features=train.widths, classes=len(scheme.classes), **model)
    bert = encoder.prepare([train, valid], text_encoder, chosen.train_text_encoder, bf16=chosen.text_bf16)
    order = lambda epoch: dataset.shuffled(len(train), chosen.batch, seed, epoch)  # noqa: E731
    stage = Pretraining(dims, chosen, train, valid, scheme, order, device, bert)
    recipe = {
        "stage": "pretrain",
        "model": model,
        "settings": asdict(chosen),
        **scheme.facts,
        "seed": seed,
        "fold": fold,
        "mask_padding": mask_padding,
        "text_encoder": text_encoder,
    }
    history = fit(
        stage,
        chosen.epochs,
        chosen.patience,
        seed,
        out,
        recipe | {"data": files.sha256(features), "device": device},
    )
    tensors = {
        name: t for k in dims.modalities for name, t in checkpoint.under(f"{k}.", stage.best[k]).items()
    }
    tensors |= checkpoint.under("labels.", stage.best_labels)
    clips = {"train": train.clips["clip_id"].tolist(), "valid": valid.clips["clip_id"].tolist()}
    checkpoint.save(
        out, tensors, dims, recipe=recipe, best_epoch=stage.best_epoch, history=history, clips=clips
    )
    finished(out)
