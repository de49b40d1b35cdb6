"""A network that is trained together with its language model, and the best weights that both had."""

from typing import Any

import torch
from torch import Tensor, nn

from cmc.training import checkpoint


class Joint:
    """What stages with one network share: weights, mode, the best epoch, and the state of an unfinished run.

    Parameters
    ----------
    model : Module
    bert : Module or None
        The language model, if it is finetuned.

    Attributes
    ----------
    model, bert
    best_loss, best_epoch, best
        Lowest validation loss, its epoch (0: none yet), and the weights at that time.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, model: nn.Module, bert: nn.Module | None) -> None:
        self.model: Any = model
        self.bert = bert
        self.best_loss, self.best_epoch, self.best = float("inf"), 0, self.weights()

    def weights(self) -> dict[str, Tensor]:
        """A copy of all that is trained: ``model.*`` and ``bert.*``."""
        parts = {"model.": self.model} | ({} if self.bert is None else {"bert.": self.bert})
        return {
            f"{prefix}{name}": tensor.detach().clone()
            for prefix, module in parts.items()
            for name, tensor in module.state_dict().items()
        }

    def mode(self, training: bool) -> None:
        self.model.train(training)
        if self.bert is not None:
            self.bert.train(training)

    def keep(self, loss: float, epoch: int) -> bool:
        """Keep the weights if the validation loss is the lowest so far; whether it is."""
        improved = loss < self.best_loss
        if improved:
            self.best_loss, self.best_epoch, self.best = loss, epoch, self.weights()
        return improved

    def state_dict(self) -> dict:
        best = {"loss": self.best_loss, "epoch": self.best_epoch, "weights": self.best}
        return {"weights": self.weights(), "optimizer": self.optimizer.state_dict(), "best": best}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(checkpoint.part(state["weights"], "model."))
        if self.bert is not None:
            self.bert.load_state_dict(checkpoint.part(state["weights"], "bert."))
        self.optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
        self.best_loss, self.best_epoch, self.best = best["loss"], best["epoch"], best["weights"]
