"""The training loop that both stages share: epochs, early stopping, resuming, refusal of non-finite losses."""

import hashlib
import json
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmc import code, files

log = logging.getLogger(__name__)
STAGES = ("training/pretrain", "training/finetune", "training/baseline")
SHOWN = {"train_loss": "train", "validation_loss": "valid"}  # of a record, on its line
SHOWN_PERCENT = {"validation_acc2": "Acc-2", "validation_uar": "UAR"}
TELL_SECONDS = 10.0  # between two lines; the others are of the level debug
SAVE_SECONDS = 60.0  # a killed run loses about this much work and one epoch


class Stage(Protocol):
    """What a stage supplies to `fit`.

    Attributes
    ----------
    optimizer : Optimizer
        Its first group is the model's own, the others the text encoder's.
    """

    optimizer: torch.optim.Optimizer

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train on every batch once; the epoch's diagnostics."""

    def validate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Diagnostics on the validation split, and whether anything improved; remembers the best."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class DivergedError(Exception):
    """A loss that is no finite number."""


class OutOfMemoryError(Exception):
    """A GPU's memory does not hold a batch."""


def fit(stage: Stage, epochs: int, patience: int, seed: int, out: Path, recipe: dict) -> list[dict]:
    """Train until nothing has improved for `patience` epochs, or `epochs` are over.

    Parameters
    ----------
    stage : Stage
    epochs, patience : int
    seed : int
        Each epoch draws its random numbers from (seed, epoch), so a run that was cut off and resumed ends
        with the same weights as one that was not.
    out : path
        The checkpoint that the caller will write. Beside it stand the state of an unfinished run (suffix
        .resume; `finished` removes it) and the diagnostics with the seconds of each epoch (suffix .csv).
    recipe : dict
        JSON-able description of everything that the run depends on. A state of another recipe, or of other
        code of this package or another version of torch, is not resumed.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, once the epoch that it came in has ended and its state is saved.
    OutOfMemoryError
        The GPU's memory does not hold a batch.

    Returns
    -------
    list of dict
        The diagnostics of each epoch: `epoch`, what the stage says, learning rates, and `improved`. Without
        seconds, so that equal runs have equal histories.
    """
    history, seconds, stale = [], [], 0
    made_by = {"code": code.checksum(*STAGES), "torch": torch.__version__}
    resume, identity = state_path(out), digest(recipe | made_by)
    if saved := load_state(resume, identity):
        stage.load_state_dict(saved["stage"])
        history, seconds, stale = json.loads(saved["history"]), saved["seconds"], saved["stale"]
        log.info("resumed after epoch %d from %s", len(history), resume)
    last_save = told = time.monotonic()
    shown = 0
    with Interrupt() as interrupt:
        while len(history) < epochs and stale < patience:
            epoch, started = len(history) + 1, time.monotonic()
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            try:
                diagnostics = stage.train_epoch(epoch)
                validation, improved = stage.validate(epoch)
            except torch.OutOfMemoryError as error:
                raise OutOfMemoryError(too_large(recipe, error)) from None
            rates = learning_rates(stage.optimizer)
            history.append({"epoch": epoch, **diagnostics, **validation, **rates, "improved": improved})
            seconds.append(time.monotonic() - started)
            stale = 0 if improved else stale + 1
            due = epoch == 1 or time.monotonic() - told > TELL_SECONDS
            if due:
                told, shown = time.monotonic(), epoch
            line = summary(history, epochs, patience - stale)
            log.log(logging.INFO if due else logging.DEBUG, "%s  %.1f s", line, seconds[-1])
            if interrupt.asked or time.monotonic() - last_save > SAVE_SECONDS:
                save_state(resume, identity, stage, history, seconds, stale)
                last_save = time.monotonic()
            if interrupt.asked:
                raise KeyboardInterrupt(
                    f"stopped and saved after epoch {epoch}; the same command goes on from there"
                )
    if history:
        last = "" if shown == len(history) else f" with {summary(history, epochs, patience - stale)}"
        log.info("ended%s  %.0f s in all", last, sum(seconds))
    with files.whole(out.with_suffix(".csv")) as partial:
        table = pd.DataFrame(history, columns=None if history else ["epoch"]).assign(seconds=seconds)
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    return history


def too_large(recipe: dict, error: torch.OutOfMemoryError) -> str:
    """What a user can do about a batch that does not fit."""
    stage, batch = recipe["stage"], recipe["settings"]["batch"]
    said = ". ".join(str(error).split(". ")[:2])  # PyTorch goes on about its allocator
    return (
        f"the GPU's memory is too small for {stage}'s batches of {batch} clips: set {stage}.batch to "
        f"{max(2, batch // 2)}, which changes results, or let fewer jobs share the GPU (docs/cluster.md). "
        f"PyTorch says: {said}"
    )


def state_path(out: Path) -> Path:
    """Where the state of an unfinished run is kept."""
    return out.with_suffix(".resume")


def finished(out: Path) -> None:
    """Remove the state of a run whose checkpoint is written."""
    state_path(out).unlink(missing_ok=True)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """lr, and lr_text where the text encoder is trained."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return {"lr": rates[0]} | ({"lr_text": rates[1]} if len(rates) > 1 else {})


def summary(history: list[dict], epochs: int, left: int) -> str:
    """What an epoch's line says: losses, validation accuracy, the best epoch, what is left of patience."""
    record = history[-1]
    best = max((one["epoch"] for one in history if one["improved"]), default=0)
    parts = [f"epoch {record['epoch']}/{epochs}"]
    parts += [f"{name} {record[key]:.4f}" for key, name in SHOWN.items() if key in record]
    parts += [f"{name} {100 * record[key]:.1f}" for key, name in SHOWN_PERCENT.items() if key in record]
    parts.append(f"best {best}, ends after {left} more without a better one" if best else "none better yet")
    return "  ".join(parts)


class Interrupt:
    """Ctrl-C lets an epoch end, so that its state can be saved; a second one stops at once.

    Attributes
    ----------
    asked : bool
        Whether somebody wants the run to stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: Any = None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # nobody else may take signals
            self.before = signal.signal(signal.SIGINT, self.note)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def note(self, *_signal: object) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once; the same command goes on from the last saved epoch")
        self.asked = True
        log.info("will stop after this epoch; press Ctrl-C again to stop at once")


def digest(recipe: dict) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def save_state(
    path: Path, identity: str, stage: Stage, history: list[dict], seconds: list[float], stale: int
) -> None:
    state = {
        "identity": identity,
        "history": json.dumps(history),
        "seconds": seconds,
        "stale": stale,
        "stage": stage.state_dict(),
    }
    with files.whole(path) as partial:
        torch.save(state, partial)


def load_state(path: Path, identity: str) -> dict | None:
    """The state of an unfinished run with this identity, if there is one that can be read."""
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        log.warning("%s can't be read (%s); the run starts afresh", path, error)
        return None
    if saved["identity"] != identity:
        log.info("%s belongs to other settings or data; the run starts afresh", path)
        return None
    return saved


class Losses:
    """Losses of an epoch's steps, kept on the device until the epoch is over.

    Parameters
    ----------
    names : sequence of str
        Of the terms, in the order in which `add` gets them.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.steps: list[Tensor] = []
        self.clips: list[np.ndarray] = []

    def add(self, terms: Tensor, clips: np.ndarray) -> None:
        """Note the terms (names,) of a step over the clips at these places."""
        self.steps.append(terms.detach())
        self.clips.append(clips)

    def matrix(self) -> Tensor:
        """(steps, names), on the CPU."""
        return torch.stack(self.steps).cpu()

    def means(self, ids: np.ndarray, optimizer: torch.optim.Optimizer | None = None) -> dict[str, float]:
        """Mean of each term over the epoch's clips.

        Raises
        ------
        DivergedError
            Names the first step, its clips and the learning rates, if a loss is not finite.
        """
        matrix = self.matrix().double()
        finite = matrix.isfinite().all(dim=1)
        if not finite.all():
            step = int((~finite).nonzero()[0])
            rates = learning_rates(optimizer).items() if optimizer else []
            raise DivergedError(
                f"the loss is not finite at step {step + 1} of {len(matrix)}: "
                + ", ".join(f"{n} {v:g}" for n, v in zip(self.names, matrix[step].tolist(), strict=True))
                + "".join(f"; {name} {rate:g}" for name, rate in rates)
                + f"; clips {', '.join(map(str, ids[self.clips[step]]))}. "
                "Lower the learning rate, or look at these clips' features."
            )
        weights = torch.tensor([len(c) for c in self.clips], dtype=torch.float64)
        means = (weights[:, None] * matrix).sum(dim=0) / weights.sum()
        return dict(zip(self.names, means.tolist(), strict=True))
