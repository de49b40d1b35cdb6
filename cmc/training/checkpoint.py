"""Checkpoints: tensors in a safetensors file, and beside it a JSON that says what they are."""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cmc import files
from cmc.models.cmc import Dimensions

VERSIONS = ("cmc-workflow", "torch", "transformers", "numpy")


class CheckpointError(Exception):
    """A checkpoint that can't be read or does not fit."""


def save(path: str | Path, tensors: dict[str, Tensor], dims: Dimensions, **meta: Any) -> None:
    """Write `path` (safetensors) and `path` with the suffix .json.

    Parameters
    ----------
    path : path
        Ends in .safetensors.
    tensors : dict
    dims : Dimensions
        Of the model, so that no later stage has to be told.
    **meta
        JSON-able facts: settings, seed, epoch, history.
    """
    path = Path(path)
    facts = {
        "dimensions": asdict(dims),
        **meta,
        "versions": {name: version(name) for name in VERSIONS},
    }
    with files.whole(path) as weights, files.whole(path.with_suffix(".json")) as description:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, weights)
        description.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        shutil.copymode(description, weights)  # safetensors lets nobody but the owner read


def load(path: str | Path) -> tuple[dict[str, Tensor], Dimensions, dict[str, Any]]:
    """The tensors, the model's dimensions, and everything else the JSON says.

    Raises
    ------
    CheckpointError
        If either file is missing, damaged, or of a model that this version does not know.
    """
    path = Path(path)
    try:
        meta = json.loads(path.with_suffix(".json").read_text())
        dims = Dimensions(**meta["dimensions"])
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} can't be used ({type(error).__name__}: {error}); delete it and run again"
        ) from None
    return tensors, dims, meta


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `prefix` in front of each name."""
    return {prefix + name: t for name, t in tensors.items()}


def check_features(dims: Dimensions, widths: dict[str, int], path: str | Path) -> None:
    """Raise CheckpointError if a feature file doesn't have the widths that a model was made for."""
    if dict(dims.features) != widths:
        raise CheckpointError(
            f"the model of {path} takes features of width {dict(dims.features)}; the data have {widths}"
        )


def places(wanted: np.ndarray, have: list[str], path: str | Path) -> torch.Tensor:
    """Where each wanted clip is among those that a checkpoint has labels for."""
    where = {clip: i for i, clip in enumerate(have)}
    if missing := [clip for clip in wanted if clip not in where]:
        raise CheckpointError(
            f"{path} has no pseudo labels for {len(missing)} clips, such as {missing[0]}; run pretraining again"
        )
    return torch.tensor([where[clip] for clip in wanted])
