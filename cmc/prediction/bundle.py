"""The directory of a trained model: weights of all seeds, and everything that it takes to use them elsewhere."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from cmc import MODALITIES
from cmc.features import extractors, store
from cmc.labels import CLASSES, check_name, first_high
from cmc.models.cmc import Dimensions
from cmc.training import checkpoint
from cmc.training.trained import TrainedModel

FORMAT = "cmc-model-1"
FACTS = "config.json"
CONSENSUS = "consensus"  # beside the modalities, in temperatures
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
MEMBER = re.compile(r"(?:fold\d+-)?seed\d+")
LARGEST = 1 << 16  # of a dimension in a stranger's file


class ModelError(Exception):
    """A model that can't be used; the message says why and the way out."""


def weights(run: str) -> str:
    """Name of the file with a run's weights: a seed's, of a data set in folds a fold's and seed's."""
    return f"{run}.safetensors"


def find(name: str | Path, download: bool = False) -> Path:
    """Directory of a model by path or by its name on the Hugging Face hub; silent on the network unless asked.

    Raises
    ------
    ModelError
        It is not here.
    """
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import snapshot_download

    try:
        patterns = [FACTS, "README.md", "*.safetensors"]
        return Path(snapshot_download(str(name), local_files_only=not download, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # every error of the hub's is one of them
        failure = f"could not be downloaded ({error})" if download else "is not on this machine"
        raise ModelError(
            f"the model {name} {failure}: give the directory of one, as `snakemake results/<data set>/model` makes"
            " it" + ("" if download else ", or let it be fetched from the hub with --download")
        ) from None


def read(directory: Path) -> dict[str, Any]:
    """What a model's directory says of it, checked.

    Raises
    ------
    ModelError
        It is no model of this version, or holds what can't be trusted.
    """
    if pickled := sorted(path.name for path in directory.iterdir() if path.suffix.lower() in PICKLES):
        raise ModelError(
            f"{directory} holds {pickled[0]}: files of this kind can run code when they are read. A model of"
            " ours has safetensors alone: take these files away, if you trust the rest"
        )
    try:
        facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(f"{directory} is no model: it has no {FACTS}") from None
    except ValueError as error:
        raise ModelError(f"{directory / FACTS} is damaged ({error}): get the model again") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise ModelError(
            f"{directory} is a model of the format {found!r}, this version reads {FORMAT}: make it again with"
            " `snakemake results/<data set>/model`"
        )
    try:
        check(facts)
    except (KeyError, TypeError, ValueError, jsonschema.ValidationError) as error:
        detail = error.message if isinstance(error, jsonschema.ValidationError) else error
        raise ModelError(f"{directory / FACTS} is damaged ({detail}): get the model again") from None
    return facts


def check(facts: Mapping[str, Any]) -> None:
    """Refuse what no model of ours says; it may come from a stranger."""
    sizes = [value for value in facts["dimensions"].values() if isinstance(value, int)]
    if max([*sizes, *facts["dimensions"]["features"].values()]) > LARGEST:
        raise ValueError(f"dimensions of more than {LARGEST}")
    dims = Dimensions(**facts["dimensions"])
    classes = facts["classes"]
    if len(classes) != dims.classes or len({str(name) for name in classes}) != dims.classes:
        raise ValueError(f"classes are {classes}, the dimensions say {dims.classes}")
    if facts["has0"] and classes != list(CLASSES):
        raise ValueError(f"classes of polarity are {classes}")
    for name in classes:
        check_name(name)
    if facts["has0"]:
        first_high(facts["has0"])
    for modality in dims.modalities:
        recipe = store.Recipe(**facts["recipes"][modality])
        if len(recipe.columns) != dims.features[modality]:
            raise ValueError(f"{modality} has {len(recipe.columns)} columns")
        if own := facts["extraction"].get(modality):
            if own["name"] not in extractors.EXTRACTORS[modality]:
                raise ValueError(f"{modality}: no extractor is called {own['name']}")
            settings = {"encoder": {"type": "string"}} if modality == "text" else {}
            properties = extractors.declared(own["name"], "SETTINGS") | settings
            jsonschema.validate(
                own["settings"], {"type": "object", "additionalProperties": False, "properties": properties}
            )
    if not facts["temperatures"] or not all(MEMBER.fullmatch(run) for run in facts["temperatures"]):
        raise ValueError("no seeds")
    for own in facts["temperatures"].values():
        if not all(0 < float(own[model]) < np.inf for model in (CONSENSUS, *dims.modalities)):
            raise ValueError("a temperature is no positive number")
    str(facts["name"]), str(facts["variant"]), bool(facts["mask_padding"]), dict(facts["lengths"])


def members(
    directory: Path, facts: Mapping[str, Any], text_encoder: str | None, device: torch.device | str
) -> list[TrainedModel]:
    """The trained models of a directory, one a run, in the order of `facts`' temperatures.

    Raises
    ------
    ModelError
        A file is missing, damaged or of another model.
    """
    found = []
    for run in facts["temperatures"]:
        path = directory / weights(run)
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            first, second = (checkpoint.part(tensors, f"{stage}.") for stage in ("pretrained", "finetuned"))
            found.append(TrainedModel(first, second, Dimensions(**facts["dimensions"]), text_encoder, device))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{path} is missing, damaged or of another model ({reason}): get it again"
            ) from None
    return found


def modalities(facts: Mapping[str, Any]) -> list[str]:
    """Those that a model reads, in the order text, audio, vision."""
    return [modality for modality in MODALITIES if modality in facts["dimensions"]["features"]]
