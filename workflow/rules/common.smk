# What the rules share: the checked config, settings by data set and variant, clips by shard.

import ast
import copy
import json
import os
import re
import shlex
import sys
from functools import lru_cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError

from cmc import manifest
from cmc.demo import corpus
from cmc.features import text as text_encoders

SCHEMA = yaml.safe_load(
    Path(workflow.source_path("../schemas/config.schema.yaml")).read_text()
)
if mistakes := sorted(Draft202012Validator(SCHEMA).iter_errors(config), key=str):
    places = [
        ".".join(map(str, mistake.absolute_path)) or "config" for mistake in mistakes
    ]
    raise WorkflowError(
        "The config has mistakes:\n"
        + "\n".join(
            f"  {place}: {mistake.message}" for place, mistake in zip(places, mistakes)
        )
    )

# a job's own process has another command line; provenance tells this one
os.environ.setdefault("CMC_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))

# relative, so that moving the folder is no change
PACKAGE = Path(os.path.relpath(workflow.basedir)) / "cmc"
DEMO = corpus.plan(**config["demo"])
# the part of `model` that stage 2 alone uses; stage 1 fixes the rest, and it travels with the weights
STAGE2_MODEL = ("fusion", "router", "top_k", "temperature")


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    variant="|".join(map(re.escape, config["variants"])),
    table="|".join(config["tables"]),
    seed=r"\d+",
    shard=r"\d+",


named = {f"tables.{table}": variants for table, variants in config["tables"].items()}
named |= {
    f"datasets.{d}.variants": own.get("variants", {})
    for d, own in config["datasets"].items()
}
for place, variants in named.items():
    if unknown := set(variants) - set(config["variants"]):
        raise WorkflowError(
            f"config: {place} names unknown variants: {', '.join(sorted(unknown))}"
        )


def code(*modules):
    """The package's files that a stage runs, so that it reruns when they change: modules, and what they import.

    An import inside a function does not count: it is there since not every caller needs it.
    """
    found, todo = set(), [PACKAGE / f"{module}.py" for module in modules]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += imported(path)
    return sorted(map(str, found))


@lru_cache(maxsize=None)
def imported(path):
    """Files of the package that a module of it imports when it is itself imported."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] == "cmc"
        ):
            names |= {
                node.module,
                *(f"{node.module}.{alias.name}" for alias in node.names),
            }
    stems = [PACKAGE.joinpath(*name.split(".")[1:]) for name in names]
    return [
        f
        for stem in stems
        for f in (stem.with_suffix(".py"), stem / "__init__.py")
        if f.is_file()
    ]


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
    """The settings of `model`, `pretrain` or `finetune` for a data set and a variant."""
    own = config["datasets"][dataset]
    layers = (
        own,
        config["variants"][variant],
        own.get("variants", {}).get(variant, {}),
    )
    return merged(config[section], *(layer.get(section, {}) for layer in layers))


def settings_of(dataset):
    """The whole config but for the other data sets, and what no result depends on."""
    shared = {
        key: value
        for key, value in config.items()
        if key not in ("datasets", "download", "threads")
    }
    return merged(shared, {"dataset": config["datasets"][dataset]})


def compared(dataset, table):
    """The variants of a table that a data set can have: some need unimodal labels."""
    annotated = config["datasets"][dataset].get("unimodal_labels", True)
    stages = ("pretrain", "finetune")
    return [
        variant
        for variant in config["tables"][table]
        if annotated
        or all(
            settings(stage, dataset, variant)["labels"] != "annotated"
            for stage in stages
        )
    ]


@lru_cache(maxsize=None)
def stage1(dataset, variant):
    """All that stage 1 depends on."""
    model = {
        k: v
        for k, v in settings("model", dataset, variant).items()
        if k not in STAGE2_MODEL
    }
    return {"model": model, "settings": settings("pretrain", dataset, variant)}


def stage2_model(dataset, variant):
    return {
        k: v
        for k, v in settings("model", dataset, variant).items()
        if k in STAGE2_MODEL
    }


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
    """Stage 1's checkpoint for a variant."""
    return (
        f"results/{dataset}/{owners(dataset)[variant]}/seed{seed}/pretrain.safetensors"
    )


def growing(amount):
    """A resource of which a job that failed gets more: for a cluster, where too little of it ends a job."""
    return lambda wildcards, attempt: amount * attempt


def text_encoder_of(wildcards):
    return config["datasets"][wildcards.dataset]["text_encoder"]


def demand(dataset):
    """Stop, before any job, with all that is missing for a data set."""
    own, missing = config["datasets"][dataset], []
    obtain = f"    {own['obtain']}.\n" if "obtain" in own else ""
    if own["source"] == "features" and not Path(own["features_file"]).is_file():
        missing.append(
            f"its feature file: looked for {Path(own['features_file']).resolve()}.\n"
            f"{obtain}    Put it there, or set datasets.{dataset}.features_file to where it is."
        )
    if (
        own["source"] == "raw"
        and dataset != "demo"
        and not manifest.label_file(own["root"])
    ):
        missing.append(
            f"its label file: looked for {' or '.join(manifest.LABEL_FILES)} in {Path(own['root']).resolve()},"
            f" beside Raw/<video>/<clip>.mp4.\n"
            f"{obtain}    Put it there, or set datasets.{dataset}.root to where it is."
        )
    if not config["download"]:
        try:
            text_encoders.resolve(own["text_encoder"])
        except FileNotFoundError as error:
            missing.append(
                f"its text encoder (datasets.{dataset}.text_encoder): {error}"
            )
    if missing:
        raise WorkflowError(
            f"The data set {dataset} can't be run; it lacks\n  - "
            + "\n  - ".join(missing)
        )


@lru_cache(maxsize=None)
def clips(dataset):
    """Transcript of each usable clip of a data set's label file, by clip id."""
    if dataset == "demo":  # known before the corpus is made
        return {f"{c.video_id}{manifest.SEPARATOR}{c.clip_id}": c.text for c in DEMO}
    demand(dataset)
    own = config["datasets"][dataset]
    try:
        found = manifest.read(manifest.label_file(own["root"]), own["label_range"])
    except manifest.ManifestError as error:
        raise WorkflowError(f"The data set {dataset} can't be run: {error}")
    return {clip.clip: clip.text for clip in found.clips}


@lru_cache(maxsize=None)
def shards(dataset, modality):
    """The clips of each shard, by its number."""
    parts = manifest.shards(
        list(clips(dataset)), config["features"]["shards"][modality]
    )
    return {str(number): part for number, part in parts.items()}


def clips_of(modality):
    """Function of wildcards: the clips of a shard."""
    return lambda w: shards(w.dataset, modality)[w.shard]


def videos_of(modality):
    """Function of wildcards: where the videos of a shard's clips are, or would be."""

    def paths(wildcards):
        root = config["datasets"][wildcards.dataset]["root"]
        return [
            str(manifest.video_path(root, clip))
            for clip in clips_of(modality)(wildcards)
        ]

    return paths


def present_videos_of(modality):
    """Function of wildcards: the videos that a shard needs; those of the demo need not be there yet."""

    def paths(wildcards):
        found = videos_of(modality)(wildcards)
        return (
            found
            if wildcards.dataset == "demo"
            else [path for path in found if Path(path).is_file()]
        )

    return paths


def shard_files(modality):
    """Function of wildcards: all shards of a modality."""

    def paths(wildcards):
        numbers = shards(wildcards.dataset, modality)
        return [
            f"results/{wildcards.dataset}/shards/{modality}-{number}.h5"
            for number in numbers
        ]

    return paths
