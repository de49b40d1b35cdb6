# What the rules share: settings by data set and variant, checksums of code.

import copy
import gc
import json
import os
import shlex
import sys
from functools import lru_cache
from pathlib import Path

from cmc.code import checksum as code
from cmc.demo import corpus

# A plan is millions of small objects that all stay: looking for garbage among them takes an eighth of its time.
gc.set_threshold(200_000, 20, 20)

# a job's own process has another command line; provenance tells this one
os.environ.setdefault("CMC_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))

# relative, so that moving the folder is no change
PACKAGE = Path(os.path.relpath(workflow.basedir)) / "cmc"
DEMO = corpus.plan(**config["demo"])


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    # a pattern, not all names: those of a grid would make every file's match slow
    variant=rf"(?!({'|'.join(TUNED)})/){NAME}",
    table="|".join(config["tables"]),
    seed=r"\d+",
    shard=r"\d+",


def merged(base, *changes):
    """`base` with nested changes over it, later ones last; keys sorted, so that their order is no change."""
    result = copy.deepcopy(base)
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return {
        key: merged(value) if isinstance(value, dict) else value
        for key, value in sorted(result.items())
    }


@lru_cache(maxsize=None)
def settings(section, dataset, variant):
    """The settings of `model`, `pretrain` or `finetune` for a data set and a variant, or a point of the grid."""
    own, point = config["datasets"][dataset], GRID.get(variant, STAGE1.get(variant))
    if point is not None or variant in TUNED:
        variant = config["tuning"]["variant"]
    if variant not in config["variants"]:
        raise WorkflowError(
            f"There is no variant {variant}; there are {VARIANTS}, and points of tuning.grid"
        )
    layers = (
        own,
        config["variants"][variant],
        own.get("variants", {}).get(variant, {}),
        nested(point or {}),
    )
    return merged(config[section], *(layer.get(section, {}) for layer in layers))


@lru_cache(maxsize=None)
def features_of(dataset):
    """Modality -> extractor and its settings, of the modalities that a data set has."""
    shared = {modality: config["features"][modality] for modality in MODALITIES}
    try:
        return extractors.chosen(
            merged(shared, config["datasets"][dataset].get("features", {}))
        )
    except ValueError as error:
        raise WorkflowError(f"The config has a mistake: data set {dataset}: {error}")


def extracted(dataset):
    """The same of those that are extracted here: none if an official feature file has them."""
    raw = config["datasets"][dataset]["source"] == "raw"
    return features_of(dataset) if raw else {}


def settings_of(dataset):
    """The config but for the other data sets, extractors that are not used, and what no result depends on."""
    shared = {
        key: value
        for key, value in config.items()
        if key not in ("datasets", "download", "threads", "features")
    }
    features = {"shards": config["features"]["shards"]} | {
        modality: {"extractor": name, **own}
        for modality, (name, own) in extracted(dataset).items()
    }
    return merged(
        shared, {"dataset": config["datasets"][dataset], "features": features}
    )


def compared(dataset, table):
    """The variants of a table that a data set can have: some need unimodal labels."""
    annotated = config["datasets"][dataset].get("unimodal_labels", True)
    needs = lambda variant: any(
        settings(stage, dataset, one)["labels"] == "annotated"
        for stage in ("pretrain", "finetune")
        for one in (GRID if variant in TUNED else [variant])
    )
    return [v for v in config["tables"][table] if annotated or not needs(v)]


@lru_cache(maxsize=None)
def stage1(dataset, variant):
    """All that stage 1 depends on, but for its data and seed."""
    own, model = config["datasets"][dataset], settings("model", dataset, variant)
    if model["dim"] % model["heads"]:
        raise WorkflowError(
            f"The variant {variant} of {dataset} can't be trained: its dim ({model['dim']}) must be a multiple"
            f" of heads ({model['heads']})"
        )
    return {
        "model": {
            key: value
            for key, value in model.items()
            if key not in ("mask_padding", *STAGE2_MODEL)
        },
        "mask_padding": model["mask_padding"],
        "settings": settings("pretrain", dataset, variant),
        "has0": own["has0"],
        "text_encoder": own["text_encoder"],
    }


def stage2(dataset, variant):
    """All that stage 2 depends on, but for its data and stage 1."""
    model = settings("model", dataset, variant)
    model = {key: model[key] for key in STAGE2_MODEL}
    # at most all the experts that there are
    model["top_k"] = min(model["top_k"], len(features_of(dataset)))
    return {"model": model, "settings": settings("finetune", dataset, variant)}


@lru_cache(maxsize=None)
def owners(dataset):
    """Whose stage 1 each variant starts from: that of the main variant or the first by name of those alike."""
    # sorted, not as they stand: the order of keys is no setting
    ordered = sorted(
        config["variants"], key=lambda v: (v != config["tables"]["table"][0], v)
    )
    first = {}
    return {v: first.setdefault(json.dumps(stage1(dataset, v)), v) for v in ordered}


def pretrained(dataset, variant, seed):
    """Stage 1's checkpoint for a variant or a point of the grid."""
    if variant in GRID:
        # a name that neither the other points nor variants change
        variant = named(of_stage1(GRID[variant])) or config["tuning"]["variant"]
    owner = owners(dataset).get(variant, variant)
    return f"results/{dataset}/{owner}/seed{seed}/pretrain.safetensors"


def growing(amount):
    """A resource of which a job that failed gets more: for a cluster, where too little of it ends a job."""
    return lambda wildcards, attempt: amount * attempt
