"""The config, checked before anything is planned. What it may hold is in config.schema.yaml."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from cmc.features import extractors
from cmc.labels import check_name, spelled

OWN = Path("mine.yaml")  # settings of one's own, in the folder where one works; Snakemake reads it, too


class PlanError(SystemExit):
    """Something that the user has to mend before anything can run.

    The message is all that they need. It ends a program with that alone, wherever Snakemake asks for a plan: its
    own handlers would put a traceback around it.
    """


def check(config: Mapping[str, Any]) -> None:
    """Raise PlanError with all that is no config: unknown keys, values of the wrong kind, missing ones."""
    refuse(unquoted(config))
    mistakes = Draft202012Validator(schema()).iter_errors(config)
    refuse([told(mistake) for mistake in sorted(mistakes, key=str)])
    refuse(mistake for name, own in config["datasets"].items() for mistake in labels(f"datasets.{name}", own))
    refuse(
        f"cross_dataset: {pair['train']} stands for both train and test: that is results/{pair['train']}/table.csv"
        for pair in config["cross_dataset"]
        if pair["train"] == pair["test"]
    )
    refuse(
        f"cross_dataset: there is no data set {name}"
        for pair in config["cross_dataset"]
        for name in pair.values()
        if name not in config["datasets"]
    )


def unquoted(config: Any, place: str = "") -> Iterator[str]:
    """Names that YAML has read as something else: 2024 as a number, no as false."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if not isinstance(key, str):
                yield f'{place or "config"}: the name {key!r} is no text: put it in quotes, as "{key}"'
            yield from unquoted(value, f"{place}.{key}" if place else str(key))


def labels(place: str, own: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with how a data set says what its labels are."""
    numeric = [key for key in ("label_range", "has0", "one_sided_labels") if key in own]
    if "classes" not in own:
        lowest, highest = own.get("label_range", (0, 1))
        if lowest >= highest:
            yield f"{place}.label_range: [{lowest}, {highest}]: write the lowest label first, then the highest"
        if lacking := [key for key in ("label_range", "has0") if key not in own]:
            yield f"{place}: lacks {' and '.join(lacking)}; or classes, of emotions by name"
    else:
        if numeric:
            yield f"{place}: classes (emotions by name) and {', '.join(numeric)} (numbers) exclude each other"
        yield from (f"{place}.classes: {mistake}" for mistake in classes(own["classes"]))
    if own["source"] != "raw" and (raw := [key for key in ("classes", "split") if key in own]):
        yield f"{place}.{raw[0]}: only for data sets of source: raw"


def classes(given: Any) -> Iterator[str]:
    """What is wrong with a list of classes, or with a mapping from labels to classes."""
    names = list(given.values()) if isinstance(given, Mapping) else given
    wanted = [name for name in names if name is not None or not isinstance(given, Mapping)]
    for name in wanted:
        try:
            check_name(name)
        except ValueError as mistake:
            yield f"{mistake}. Give it another name by a mapping: {{{name}: other}}"
    distinct = {str(name) for name in wanted}
    if len({spelled(name) for name in distinct}) < len(distinct) or (
        names is given and len(distinct) < len(names)
    ):
        yield "a class stands there twice"
    if len(distinct) < 2:
        yield "it takes two classes at least"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the config, with each extractor's own settings in it."""
    whole = yaml.safe_load(Path(__file__).with_name("config.schema.yaml").read_text())
    whole["$defs"] |= {f"features_{modality}": own for modality, own in extractors.schema().items()}
    return whole


@cache
def part(name: str) -> Draft202012Validator:
    """The validator of one of the schema's definitions."""
    whole = schema()
    return Draft202012Validator(whole["$defs"][name] | {"$defs": whole["$defs"]})


def told(mistake: Any) -> str:
    """A mistake in the config: where, what, and for an unknown key those that there are."""
    place = ".".join(map(str, mistake.absolute_path)) or "config"
    known = (mistake.schema.get("properties") if isinstance(mistake.schema, dict) else None) or {}
    unknown = mistake.validator == "additionalProperties"
    hint = f"; there are {', '.join(sorted(known)) or 'none'}" if unknown else way_out(mistake)
    return f"{place}: {mistake.message}{hint}"


def way_out(mistake: Any) -> str:
    """How to write a value that is of the wrong kind or form."""
    given, wanted = mistake.instance, mistake.validator_value
    if mistake.validator == "pattern" and (meant := mistake.schema.get("description")):
        return f"; write {meant}"
    if mistake.validator == "type" and wanted == "array":
        return f"; write a list: [{given}]"
    if mistake.validator == "type" and wanted in ("number", "integer") and isinstance(given, str):
        with suppress(ValueError):
            return f"; write {float(given):{'.1e' if 'e' in given.lower() else ''}} without quotes"
    return ""


def twice(path: str | Path) -> str | None:
    """Where a file says the same setting twice, of which YAML would drop the first; None if it doesn't."""

    def found(node: Any, place: str) -> str | None:
        if isinstance(node, yaml.SequenceNode):
            return next(filter(None, (found(one, place) for one in node.value)), None)
        if not isinstance(node, yaml.MappingNode):
            return None
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = f"{place}{key.value}", key.start_mark.line + 1
            if name in lines:
                return (
                    f"{path}: {name} stands there twice, in lines {lines[name]} and {line}: join them, for only"
                    " the last one would count"
                )
            lines[name] = line
            if inner := found(value, f"{name}."):
                return inner
        return None

    with open(path, encoding="utf-8") as file:
        return found(yaml.compose(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), "")


def unread() -> str:
    """What may be the matter where settings of one's own are not in the config."""
    if OWN.is_file():
        return ""
    other = OWN.with_suffix(".yml")
    if other.is_file():
        return f"\n{other} is not read: call it {OWN}, or give it by --configfile."
    return f"\nThere is no {OWN} in {Path.cwd()}; other files with settings are given by --configfile."


def refuse(mistakes: Iterable[str]) -> None:
    """Raise PlanError with the mistakes in a config, a line each, if there are any."""
    if mistakes := list(dict.fromkeys(mistakes)):
        raise PlanError("\n  ".join(["The config has mistakes:", *mistakes]))


def merged(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with nested changes over it, later ones last; keys sorted, so that their order is no change."""
    result = dict(copy.deepcopy(base))
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return {
        key: merged(value) if isinstance(value, Mapping) else value
        for key, value in sorted(result.items(), key=lambda item: str(item[0]))
    }


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"model.layers": 1} as {"model": {"layers": 1}}."""
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, key = path.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[key] = value
    return tree
