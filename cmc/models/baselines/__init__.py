"""The models that papers of this field compare with, one a file; docs/models.md says how to add one.

A file holds `Settings`, a dataclass, and `Model`, a `cmc.models.baselines.parts.Baseline`.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cmc import MODALITIES
from cmc.models.baselines.parts import Baseline

ARCHITECTURES = tuple(
    sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__", "parts"})
)


def build(name: str, features: Mapping[str, int], outputs: int, settings: Mapping[str, Any]) -> Baseline:
    """A baseline with random weights.

    Parameters
    ----------
    name : str
        Of `ARCHITECTURES`.
    features : mapping
        Modality -> width of its features.
    outputs : int
        Classes, or 1 for a regression.
    settings : mapping
        Fields of its `Settings` that are not the defaults.

    Raises
    ------
    ValueError
        There is no such baseline, it needs a modality that is not there, or it can't learn classes.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no baseline is called {name}; there are {', '.join(ARCHITECTURES)}")
    if set(features) != set(MODALITIES):
        raise ValueError(f"{name} needs text, audio and vision; there are {', '.join(features)}")
    module = import_module(f"{__name__}.{name}")
    if module.Model.only_regresses and outputs != 1:
        raise ValueError(f"{name} learns scores, not classes; set objective: regression")
    return module.Model(features, outputs, module.Settings(**settings))
