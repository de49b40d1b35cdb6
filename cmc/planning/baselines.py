"""The baselines of a config: which there are, and how a data set trains them."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cmc.code import PACKAGE
from cmc.planning import config as configs
from cmc.planning.config import merged

SIMPLE = ("late_average", "logistic")  # which nobody trains
SIMPLE_SETTINGS: dict[str, set[str]] = {"late_average": set(), "logistic": {"class_weights"}}
TRAINED = "trained"  # the kind of the others
FOLDER = PACKAGE / "models" / "baselines"


@cache
def architectures() -> dict[str, list[str]]:
    """Name of each architecture -> the settings that it has, read from its file without running it."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and node.name == "Settings":
                fields = (one for one in node.body if isinstance(one, ast.AnnAssign))
                found[path.stem] = [one.target.id for one in fields if isinstance(one.target, ast.Name)]
    return found


class Baselines:
    """The baselines of a checked config.

    Attributes
    ----------
    names : list of str

    Raises
    ------
    PlanError
        The config names architectures or settings that there are not.
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
            if known is None:
                yield (
                    f"{place}.{name}: no architecture is called {self.architecture(name)}; there are"
                    f" {', '.join(architectures())}, and without settings {', '.join(SIMPLE)}"
                )
            elif unknown := set(settings.get("model", {})) - set(known):
                yield f"{place}.{name}.model: unknown {', '.join(sorted(unknown))}; there are {', '.join(known)}"

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
        """All that its training depends on, but for its data, seed and fold."""
        settings, own = self.settings(dataset, name), self._config["datasets"][dataset]
        return {
            "architecture": self.architecture(name),
            "model": settings.get("model", {}),
            "settings": {k: v for k, v in settings.items() if k not in ("architecture", "model")},
            "mask_padding": mask_padding,
            "has0": own.get("has0"),
            "text_encoder": own["text_encoder"],
        }
