"""The points of the config's tuning grid, and what they are called."""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cmc.planning import config as configs

TUNED = ("tuned_on_validation", "tuned_on_test")  # variants: the grid's best point
# the part of `model` that stage 2 alone uses; stage 1 fixes the rest, and it travels with the weights
STAGE2_MODEL = ("fusion", "router", "top_k", "temperature")
LONGEST_NAME = 181  # characters of a point's: it is part of the names of logs

Point = dict[str, Any]  # "model.layers" -> value


class Grid:
    """The points of a tuning grid.

    Attributes
    ----------
    points : dict
        Name -> settings of each point, in the order of the names.
    stage1 : dict
        Name -> the part of their settings that stage 1 depends on. Points that differ in stage 2 alone share it.

    Raises
    ------
    PlanError
        If a value of a setting is not allowed, no point is left, or a name is none of a file.
    """

    def __init__(self, tuning: Mapping[str, Any]) -> None:
        self._keys = list(tuning["grid"])
        found = every(tuning["grid"], "variant", "tuning.grid")
        without = set(tuning["without"])
        configs.refuse(f"tuning.without: the grid has no {name}" for name in without - set(found))
        if not set(found) - without:
            configs.refuse(["tuning.without: it leaves no point of the grid"])
        self.points: dict[str, Point] = {name: found[name] for name in sorted(set(found) - without)}
        parts = map(of_stage1, self.points.values())
        self.stage1: dict[str, Point] = {self.name(part): part for part in parts if part}

    def name(self, point: Point) -> str:
        """Name of a point, that of its folder: heads4-layers5."""
        return name_of(point, self._keys)


def every(grid: Mapping[str, Any], part: str, place: str, prefix: str = "") -> dict[str, Point]:
    """All points of a grid, by name.

    Parameters
    ----------
    grid : mapping
        Setting -> its values, or None.
    part : str
        Of the config's schema, that a point must fit.
    place : str
        Where the grid stands in the config, for messages.
    prefix : str
        Of the names.

    Raises
    ------
    PlanError
        See `Grid`.
    """
    used = {key: values for key, values in grid.items() if values is not None}
    if not used:
        configs.refuse([f"{place}: all settings are null"])
    fitting = configs.part(part)
    configs.refuse(
        f"{place}.{configs.told(mistake)}"
        for key, values in used.items()
        for value in values
        for mistake in fitting.iter_errors(configs.nested({key: value}))
    )
    points = [dict(zip(used, values, strict=True)) for values in itertools.product(*used.values())]
    found = {prefix + name_of(point, grid): point for point in points}
    bad = [name for name in found if not re.fullmatch(variant_pattern(), name) or len(name) > LONGEST_NAME]
    configs.refuse(f"{place}: {name} is no file name" for name in bad)
    return found


def name_of(point: Point, keys: Iterable[str]) -> str:
    """Name of a point by the last part of its settings, or by all where two of `keys` end alike."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return "-".join(
        f"{key if last.count(short) > 1 else short}{value}"
        for key, value in sorted(point.items())
        if (short := key.rsplit(".", 1)[-1])
    )


def variant_pattern() -> str:
    """Regular expression of what variants and points may be called: a folder, and part of the names of logs."""
    return configs.schema()["$defs"]["variant_name"]["pattern"].strip("^$")


def of_stage1(point: Point) -> Point:
    """The part of a point's settings that stage 1 depends on."""
    others = {f"model.{key}" for key in STAGE2_MODEL}
    return {
        key: value for key, value in point.items() if not key.startswith("finetune.") and key not in others
    }
