"""From checkpoints to the directory of a trained model: weights, calibration, what its features are."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from cmc import files
from cmc.evaluation import tables
from cmc.evaluation.calibration import temperature
from cmc.features import store
from cmc.labels import Scheme
from cmc.prediction import card
from cmc.prediction.bundle import CONSENSUS, FACTS, FORMAT, weights
from cmc.training import checkpoint, dataset
from cmc.training.trained import Readings, TrainedModel


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
        Directory to write: config.json, one .safetensors file a run, README.md (a model card).
    name, variant : str
        Data set and variant that it was trained as.
    features : path
        Feature file that it was trained on; on its validation split the temperatures are fitted.
    pretrained, finetuned : sequence of path
        Checkpoints of both stages, one a run (a seed, or fold and seed) and in the same order.
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
    files.make_folder(partial)
    fitted: dict[str, dict[str, float]] = {}
    for first, second in zip(pretrained, finetuned, strict=True):
        start, _, _ = checkpoint.load(first)
        end, dims, facts = checkpoint.load(second)
        recipe = facts["recipe"]
        model = TrainedModel(start, end, dims, recipe["text_encoder"], device)
        valid = dataset.load(features, "valid", device, recipe["mask_padding"], recipe["fold"])
        run = Path(second).parent.name
        fitted[run] = temperatures(model.predict(valid), valid.classes("M").numpy())
        kept = {name: tensor for name, tensor in start.items() if not name.startswith("labels.")}
        save(partial / weights(run), kept, end)
    with store.Reader(features) as reader:
        recipes = {modality: asdict(reader.recipe(modality)) for modality in reader.modalities}
        lengths = {m: int(np.diff(reader.offsets(m)).max()) for m in reader.modalities}
    content = {
        "format": FORMAT,
        "name": name,
        "variant": variant,
        **Scheme.of(recipe).facts,
        "dimensions": facts["dimensions"],
        "mask_padding": recipe["mask_padding"],
        "lengths": lengths,
        "text_encoder": recipe["text_encoder"],
        "extraction": extraction,
        "recipes": recipes,
        "temperatures": fitted,
        "data": {"name": name, "features_sha256": files.sha256(features)},
        "versions": facts["versions"],
        "metrics": shown(table, variant),
    }
    files.write_text(partial / FACTS, json.dumps(content, indent=1, sort_keys=True) + "\n")
    files.write_text(partial / "README.md", card.text(content))
    for run in fitted:  # safetensors lets nobody but the owner read
        shutil.copymode(partial / FACTS, partial / weights(run))
    shutil.rmtree(out, ignore_errors=True)
    os.rename(partial, out)
    files.to_disk(out.parent)


def save(path: Path, pretrained: dict[str, Tensor], finetuned: dict[str, Tensor]) -> None:
    """The tensors of both stages in one file."""
    both = checkpoint.under("pretrained.", pretrained) | checkpoint.under("finetuned.", finetuned)
    with files.whole(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in both.items()}, partial)


def shown(table: str | Path, variant: str) -> list[dict[str, str]]:
    """The rows of the table that are about a model and the ones that it started from, as text."""
    results = tables.read(table)
    rows = results[results["model"].isin([variant, *tables.BASELINES])]
    return tables.cells(rows).to_dict("records")


# ------------------------------------------------------------------------------------------ calibration


def temperatures(found: Readings, classes: np.ndarray) -> dict[str, float]:
    """Temperature of the consensus and of each unimodal model, fitted on clips of known classes (clips,)."""
    logits = {CONSENSUS: found.logits, **found.unimodal}
    return {name: temperature(values, classes) for name, values in logits.items()}
