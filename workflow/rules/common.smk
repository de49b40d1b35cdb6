# What the rules share: the checked config, settings by data set and variant, clips by shard.

import ast
import copy
import gc
import hashlib
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

from cmc import extractors, manifest
from cmc.demo import corpus
from cmc.features import hub

SCHEMA = yaml.safe_load(
    Path(workflow.source_path("../schemas/config.schema.yaml")).read_text()
)
SCHEMA["$defs"] |= {f"features_{m}": own for m, own in extractors.schema().items()}


def told(mistake):
    """A mistake in the config: where, what, and for an unknown key those that there are."""
    place = ".".join(map(str, mistake.absolute_path)) or "config"
    known = mistake.schema.get("properties") if isinstance(mistake.schema, dict) else {}
    unknown = mistake.validator == "additionalProperties"
    hint = f"; there are {', '.join(sorted(known)) or 'none'}" if unknown else ""
    return f"  {place}: {mistake.message}{hint}"


if mistakes := sorted(Draft202012Validator(SCHEMA).iter_errors(config), key=str):
    raise WorkflowError("\n".join(["The config has mistakes:", *map(told, mistakes)]))

# A plan is millions of small objects that all stay: looking for garbage among them takes an eighth of its time.
gc.set_threshold(200_000, 20, 20)

# a job's own process has another command line; provenance tells this one
os.environ.setdefault("CMC_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))

# relative, so that moving the folder is no change
PACKAGE = Path(os.path.relpath(workflow.basedir)) / "cmc"
DEMO = corpus.plan(**config["demo"])
# the part of `model` that stage 2 alone uses; stage 1 fixes the rest, and it travels with the weights
MODALITIES = list(extractors.EXTRACTORS)
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


@lru_cache(maxsize=None)
def code(*modules):
    """Checksum of the code that a stage runs, so that it reruns when that changes: modules, and what they import.

    An import inside a function does not count: it is there since not every caller needs it.
    """
    found, todo = set(), [PACKAGE / f"{module}.py" for module in modules]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += imported(path)
    total = hashlib.sha256()
    for path in sorted(found):
        total.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes())
    return total.hexdigest()


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
    model = {
        k: v
        for k, v in settings("model", dataset, variant).items()
        if k in STAGE2_MODEL
    }
    # at most all the experts that there are
    return model | {"top_k": min(model["top_k"], len(features_of(dataset)))}


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


def encoders_of(dataset):
    """Modality -> the Hugging Face encoder that it takes, by name or directory, of those that take one."""
    return {"text": config["datasets"][dataset]["text_encoder"]} | {
        modality: own[key]
        for modality, (name, own) in extracted(dataset).items()
        for key in marked(name, "encoder")
    }


def marked(extractor, kind):
    """The settings of an extractor that are of a format: `file` or `encoder`."""
    settings = extractors.declared(extractor, "SETTINGS")
    return [key for key, own in settings.items() if own.get("format") == kind]


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
    encoders = {} if config["download"] else encoders_of(dataset)
    for modality, encoder in encoders.items():
        try:
            hub.resolve(encoder)
        except FileNotFoundError as error:
            place = (
                f"datasets.{dataset}.text_encoder"
                if modality == "text"
                else f"features.{modality}"
            )
            missing.append(f"its {modality} encoder ({place}): {error}")
    for modality, (name, _) in extracted(dataset).items():
        folder = folder_read(dataset, modality)
        if folder and not folder.is_dir():
            missing.append(
                f"the files that {name} reads: looked for {folder.resolve()}/<video>/<clip>."
                f"{extractors.declared(name, 'READS')['suffix'].lstrip('.')}.\n"
                f"    Put them there, or set features.{modality}.{name}.folder to where they are."
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


def folder_read(dataset, modality):
    """Where an extractor finds files that another program wrote; None if it reads the videos."""
    name, own = features_of(dataset)[modality]
    reads = extractors.declared(name, "READS")
    root = config["datasets"][dataset]["root"]
    return Path(own.get("folder") or Path(root, reads["folder"])) if reads else None


@lru_cache(maxsize=None)
def places(dataset, modality):
    """Where what an extractor reads of each clip is, or would be, by clip id."""
    folder = folder_read(dataset, modality)
    if folder is None:
        return videos(dataset)
    name, _ = features_of(dataset)[modality]
    suffix = extractors.declared(name, "READS")["suffix"]
    return {
        clip: str(manifest.clip_path(folder, clip, suffix)) for clip in clips(dataset)
    }


@lru_cache(maxsize=None)
def videos(dataset):
    """Where each clip's video is, or would be, by clip id; sound and pictures both ask."""
    root = config["datasets"][dataset]["root"]
    return {clip: str(manifest.video_path(root, clip)) for clip in clips(dataset)}


def sources_of(modality):
    """Function of wildcards: where what an extractor reads of each clip of a shard is, or would be."""

    def paths(wildcards):
        where = places(wildcards.dataset, modality)
        return [where[clip] for clip in clips_of(modality)(wildcards)]

    return paths


def inputs_of(modality):
    """Function of wildcards: files that a shard needs: of the clips, those that exist; models.

    Videos of the demo need not be there yet.
    """

    def paths(wildcards):
        dataset, found = wildcards.dataset, sources_of(modality)(wildcards)
        made = dataset == "demo" and folder_read(dataset, modality) is None
        name, own = features_of(dataset)[modality]
        models = [own[key] for key in marked(name, "file") if own[key]]
        if marked(name, "encoder"):
            models.append(f"results/{dataset}/{modality}_encoder.json")
        return [path for path in found if made or os.path.isfile(path)] + models

    return paths


def code_of(modality):
    """Function of wildcards: checksum of the code that an extraction runs, of extractors the chosen one's."""
    return lambda w: code("extract", f"features/{features_of(w.dataset)[modality][0]}")


def extraction(modality, key):
    """Function of wildcards: the extractor of a modality (0) or its settings (1)."""
    return lambda w: features_of(w.dataset)[modality][key]


def shard_files(modality):
    """Function of wildcards: all shards of a modality, none if the data set lacks it."""

    def paths(wildcards):
        if modality not in features_of(wildcards.dataset):
            return []
        numbers = shards(wildcards.dataset, modality)
        return [
            f"results/{wildcards.dataset}/shards/{modality}-{number}.h5"
            for number in numbers
        ]

    return paths
