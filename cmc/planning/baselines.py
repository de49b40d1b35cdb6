"""The baselines of a config: which there are, and how a data set trains them."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from cmc.code import PACKAGE
from cmc.planning import config as configs
from cmc.planning import grid
from cmc.planning.config import merged

SIMPLE = ("late_average", "logistic")  # which nobody trains
SIMPLE_SETTINGS: dict[str, set[str]] = {"late_average": set(), "logistic": {"class_weights"}}
TRAINED = "trained"  # the kind of the others
FOLDER = PACKAGE / "models" / "baselines"


class Architecture(NamedTuple):
    """What its file tells of a network, without being run."""

    settings: list[str]
    only_regresses: bool


@cache
def architectures() -> dict[str, Architecture]:
    """All of them by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        parsed = ast.parse(path.read_bytes()).body
        classes = {node.name: node.body for node in parsed if isinstance(node, ast.ClassDef)}
        if "Settings" in classes:
            fields = [one.target for one in classes["Settings"] if isinstance(one, ast.AnnAssign)]
            says = [ast.unparse(one) for one in classes["Model"]]
            found[path.stem] = Architecture(
                [one.id for one in fields if isinstance(one, ast.Name)], "only_regresses = True" in says
            )
    return found


class Baselines:
    """The baselines of a checked config.

    Attributes
    ----------
    names : list of str
    tuned : list of str
        Those that have a grid for some data set.
    folders : list of str
        Names of all that is trained or evaluated: the baselines, and the points of their grids.

    Raises
    ------
    PlanError
        The config names architectures or settings that there are not, or that contradict each other.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.names = list(config["baselines"])
        places = {"baselines": config["baselines"]}
        places |= {
            f"datasets.{name}.baselines": own["baselines"]
            for name, own in config["datasets"].items()
            if "baselines" in own
        }
        configs.refuse(mistake for place, own in places.items() for mistake in self._mistakes(place, own))
        configs.refuse(
            mistake
            for name in self.names
            for dataset in config["datasets"]
            if (mistake := self._contradiction(dataset, name))
        )
        self._points = {
            (dataset, name): grid.every(
                settings["grid"], "baseline", f"datasets.{dataset}.baselines.{name}.grid", f"{name}_"
            )
            for dataset in config["datasets"]
            for name in self.names
            if (settings := self.settings(dataset, name)).get("grid")
        }
        self.tuned = list(dict.fromkeys(name for _, name in self._points))
        self.folders = list(
            dict.fromkeys([*self.names, *(one for own in self._points.values() for one in own)])
        )

    def _mistakes(self, place: str, own: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        for name, settings in own.items():
            if name not in self._config["baselines"]:
                yield f"{place}: there is no baseline {name}; there are {', '.join(self.names)}"
                continue
            if self.kind(name) != TRAINED:
                if set(settings) - SIMPLE_SETTINGS[name]:
                    yield f"{place}.{name}: has no settings{' but class_weights' * bool(SIMPLE_SETTINGS[name])}"
                continue
            known = architectures().get(self.architecture(name))
            grid_keys = [key.split(".") for key in settings.get("grid") or {}]
            asked = {
                *settings.get("model", {}),
                *(key[1] for key in grid_keys if key[0] == "model" and key[1:]),
            }
            if known is None:
                yield (
                    f"{place}.{name}: no architecture is called {self.architecture(name)}; there are"
                    f" {', '.join(architectures())}, and without settings {', '.join(SIMPLE)}"
                )
            elif unknown := asked - set(known.settings):
                yield (
                    f"{place}.{name}.model: unknown {', '.join(sorted(unknown))}; there are"
                    f" {', '.join(known.settings)}"
                )

    def _contradiction(self, dataset: str, name: str) -> str | None:
        """What a data set's settings of a baseline can't have together."""
        if self.kind(name) != TRAINED:
            return None
        settings = self.settings(dataset, name)
        if self.regresses(dataset, name):
            if settings.get("class_weights", "none") != "none":
                return f"baselines.{name}: class_weights are of classes; a regression has none"
        elif architectures()[self.architecture(name)].only_regresses:
            return f"baselines.{name}: it learns scores, not classes; set objective: regression"
        return None

    def regresses(self, dataset: str, name: str) -> bool:
        """Whether a baseline learns the labels as numbers."""
        return self.settings(dataset, name).get("objective") == "regression"

    def points(self, dataset: str, name: str) -> list[str]:
        """The points of a baseline's grid, of which the best by the validation split is the baseline; or none."""
        return sorted(self._points.get((dataset, name), []))

    def point(self, dataset: str, point: str) -> dict[str, Any]:
        """What a point changes of its baseline."""
        return self._points[dataset, self.owner(dataset, point)][point]

    def owner(self, dataset: str, folder: str) -> str:
        """The baseline that a point is of, or the baseline itself."""
        owners = (name for (of, name), own in self._points.items() if of == dataset and folder in own)
        return next(owners, folder)

    def kind(self, name: str) -> str:
        """late_average, logistic or trained."""
        return name if name in SIMPLE else TRAINED

    def architecture(self, name: str) -> str:
        """That of a baseline: its own name, unless the config says another."""
        return str(self._config["baselines"][name].get("architecture", name))

    def settings(self, dataset: str, name: str) -> dict[str, Any]:
        """All settings of a baseline for a data set."""
        own = self._config["datasets"][dataset].get("baselines", {}).get(name, {})
        return merged(self._config["baselines"][name], own)

    def stage(self, dataset: str, name: str, mask_padding: bool) -> dict[str, Any]:
        """All that the training of a baseline or point depends on, but for its data, seed and fold."""
        owner, own = self.owner(dataset, name), self._config["datasets"][dataset]
        settings = self.settings(dataset, owner)
        if owner != name:
            settings = merged(settings, configs.nested(self.point(dataset, name)))
        others = ("architecture", "model", "grid")
        return {
            "architecture": self.architecture(owner),
            "model": settings.get("model", {}),
            "settings": {k: v for k, v in settings.items() if k not in others},
            "mask_padding": mask_padding,
            "has0": own.get("has0"),
            "text_encoder": own["text_encoder"],
        }
