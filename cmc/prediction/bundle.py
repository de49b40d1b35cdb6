"""The directory of a trained model: weights of all seeds, and everything that it takes to use them elsewhere."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor

from cmc import MODALITIES, files
from cmc.evaluation import tables
from cmc.features import extractors, store
from cmc.labels import CLASSES
from cmc.models.cmc import Dimensions
from cmc.prediction import card
from cmc.training import checkpoint, dataset
from cmc.training.trained import Readings, TrainedModel

FORMAT = "cmc-model-1"
FACTS = "config.json"
CONSENSUS = "consensus"  # beside the modalities, in temperatures
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that calibration may choose
LARGEST = 1 << 16  # of a dimension in a stranger's file


class ModelError(Exception):
    """A model that can't be used; the message says why and the way out."""


def write(
    out: str | Path,
    *,
    name: str,
    variant: str,
    features: str | Path,
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    table: str | Path,
    extraction: Mapping[str, Mapping[str, Any]],
    device: str = "cpu",
) -> None:
    """Write the directory of a trained model; it appears whole or not at all.

    Parameters
    ----------
    out : path
        Directory to write: config.json, one seed*.safetensors a seed, README.md (a model card).
    name, variant : str
        Data set and variant that it was trained as.
    features : path
        Feature file that it was trained on; on its validation split the temperatures are fitted.
    pretrained, finetuned : sequence of path
        Checkpoints of both stages, one a seed and in the same order.
    table : path
        The data set's table, for the card.
    extraction : mapping
        Modality -> extractor's `name` and `settings`, as `cmc.features.extractors.make` takes them; {} of
        features that were not extracted here.
    device : str
    """
    out = Path(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    seeds: dict[str, dict[str, float]] = {}
    for first, second in zip(pretrained, finetuned, strict=True):
        model, _, facts = TrainedModel.load(first, second, device)
        recipe = facts["recipe"]
        valid = dataset.load(features, "valid", device, recipe["mask_padding"])
        seeds[str(recipe["seed"])] = temperatures(model.predict(valid), valid.classes("M").numpy())
        tensors = {
            key: tensor for key, tensor in checkpoint.load(first)[0].items() if not key.startswith("labels.")
        }
        save(partial / weights(recipe["seed"]), tensors, checkpoint.load(second)[0])
    with store.Reader(features) as reader:
        recipes = {modality: asdict(reader.recipe(modality)) for modality in reader.modalities}
        lengths = {m: int(np.diff(reader.offsets(m)).max()) for m in reader.modalities}
    content = {
        "format": FORMAT,
        "name": name,
        "variant": variant,
        "classes": list(CLASSES),
        "dimensions": facts["dimensions"],
        "has0": recipe["has0"],
        "mask_padding": recipe["mask_padding"],
        "lengths": lengths,
        "text_encoder": recipe["text_encoder"],
        "extraction": extraction,
        "recipes": recipes,
        "temperatures": seeds,
        "data": {"name": name, "features_sha256": files.sha256(features)},
        "versions": facts["versions"],
        "metrics": shown(table, variant),
    }
    files.write_text(partial / FACTS, json.dumps(content, indent=1, sort_keys=True) + "\n")
    files.write_text(partial / "README.md", card.text(content))
    shutil.rmtree(out, ignore_errors=True)
    os.rename(partial, out)


def weights(seed: int | str) -> str:
    """Name of the file with a seed's weights."""
    return f"seed{seed}.safetensors"


def save(path: Path, pretrained: dict[str, Tensor], finetuned: dict[str, Tensor]) -> None:
    """The tensors of both stages in one file."""
    both = checkpoint.under("pretrained.", pretrained) | checkpoint.under("finetuned.", finetuned)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in both.items()}, path)
    path.chmod(0o666 & ~umask())  # safetensors lets nobody but the owner read


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def shown(table: str | Path, variant: str) -> list[dict[str, str]]:
    """The rows of the table that are about a model and the ones that it started from, as text."""
    results = pd.read_csv(table, dtype={"model": str}, keep_default_na=False, na_values=[""])
    rows = results[results["model"].isin([variant, *tables.BASELINES])]
    return tables.cells(rows).to_dict("records")


# ------------------------------------------------------------------------------------------ calibration


def temperatures(found: Readings, classes: np.ndarray) -> dict[str, float]:
    """Temperature of the consensus and of each unimodal model, fitted on clips of known classes (clips,)."""
    logits = {CONSENSUS: found.logits, **found.unimodal}
    return {name: temperature(values, classes) for name, values in logits.items()}


def temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature that makes softmax(logits / temperature) likeliest: (clips, 3), (clips,).

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(classes)), classes].mean())

    bounds = np.log([COLDEST, HOTTEST])
    return round(float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)), 6)


# ------------------------------------------------------------------------------------------ reading


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
            " it"
            + "" * download
            + ("" if download else ", or let it be fetched from the hub with --download")
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
    if facts["classes"] != list(CLASSES):
        raise ValueError(f"classes are {facts['classes']}")
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
    if not facts["temperatures"] or not all(seed.isdigit() for seed in facts["temperatures"]):
        raise ValueError("no seeds")
    for own in facts["temperatures"].values():
        if not all(0 < float(own[model]) < np.inf for model in (CONSENSUS, *dims.modalities)):
            raise ValueError("a temperature is no positive number")
    str(facts["name"]), str(facts["variant"]), bool(facts["mask_padding"]), dict(facts["lengths"])


def members(
    directory: Path, facts: Mapping[str, Any], text_encoder: str | None, device: torch.device | str
) -> list[TrainedModel]:
    """The trained models of a directory, one a seed, in the order of `facts`' temperatures.

    Raises
    ------
    ModelError
        A file is missing, damaged or of another model.
    """
    found = []
    for seed in facts["temperatures"]:
        path = directory / weights(seed)
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
