# The config, checked before anything is planned, and the points of its tuning grid.

import itertools
import re
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError

from cmc.features import extractors

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


def refuse(mistakes):
    if mistakes:
        raise WorkflowError("\n".join(["The config has mistakes:", *mistakes]))


mistakes = Draft202012Validator(SCHEMA).iter_errors(config)
refuse([told(mistake) for mistake in sorted(mistakes, key=str)])

MODALITIES = list(extractors.EXTRACTORS)
# the part of `model` that stage 2 alone uses; stage 1 fixes the rest, and it travels with the weights
STAGE2_MODEL = ("fusion", "router", "top_k", "temperature")
# what variants and points of the grid may be called: a folder, and part of the names of its logs
NAME = SCHEMA["$defs"]["variant_name"]["pattern"].strip("^$")
LONGEST_POINT = 181  # characters


def nested(settings):
    """{"model.layers": 1} as {"model": {"layers": 1}}."""
    tree = {}
    for path, value in settings.items():
        *sections, key = path.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[key] = value
    return tree


def named(point):
    """Name of a point of the grid, that of its folder: heads4-layers5."""
    last = [key.rsplit(".", 1)[1] for key in config["tuning"]["grid"]]
    return "-".join(
        f"{key if last.count(short) > 1 else short}{value}"
        for key, value in sorted(point.items())
        if (short := key.rsplit(".", 1)[1])
    )


def of_stage1(point):
    """The part of a point's settings that stage 1 depends on."""
    others = {f"model.{key}" for key in STAGE2_MODEL}
    return {
        key: value
        for key, value in point.items()
        if not key.startswith("finetune.") and key not in others
    }


def points():
    """Name -> settings of each point of the tuning grid, in the order of the names."""
    grid = {k: v for k, v in config["tuning"]["grid"].items() if v is not None}
    if not grid:
        refuse(["  tuning.grid: all settings are null"])
    variant = Draft202012Validator(
        SCHEMA["$defs"]["variant"] | {"$defs": SCHEMA["$defs"]}
    )
    mistakes = [
        f"  tuning.grid.{told(mistake).lstrip()}"
        for key, values in grid.items()
        for value in values
        for mistake in variant.iter_errors(nested({key: value}))
    ]
    refuse(list(dict.fromkeys(mistakes)))
    every = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    found = {named(point): point for point in every}
    without = set(config["tuning"]["without"])
    bad = [n for n in found if not re.fullmatch(NAME, n) or len(n) > LONGEST_POINT]
    refuse([f"  tuning.grid: {n} is no file name" for n in bad])
    refuse([f"  tuning.without: the grid has no {n}" for n in without - set(found)])
    if not set(found) - without:
        refuse(["  tuning.without: it leaves no point of the grid"])
    return {name: found[name] for name in sorted(set(found) - without)}


GRID = points()
# points that differ in stage 2 alone share a stage 1 under a name of its own
STAGE1 = {named(part): part for part in map(of_stage1, GRID.values()) if part}
TUNED = ("tuned_on_validation", "tuned_on_test")  # the grid's best point
VARIANTS = ", ".join([*sorted(config["variants"]), *TUNED])  # for people


mentioned = {
    f"tables.{table}": set(variants) - {*TUNED, *GRID}
    for table, variants in config["tables"].items()
}
mentioned |= {
    f"datasets.{d}.variants": set(own.get("variants", {}))
    for d, own in config["datasets"].items()
}
mentioned |= {"tuning.variant": {config["tuning"]["variant"]}}
refuse(
    [
        f"  {place} names unknown variants: {', '.join(sorted(unknown))}; there are {VARIANTS}"
        for place, variants in mentioned.items()
        if (unknown := variants - set(config["variants"]))
    ]
)
if (first := config["tables"]["table"][0]) not in config["variants"]:
    refuse([f"  tables.table: its first variant can't be {first}; put it second"])
if both := {*GRID, *STAGE1} & set(config["variants"]):
    refuse([f"  variants: {min(both)} is the name of a point of tuning.grid"])
