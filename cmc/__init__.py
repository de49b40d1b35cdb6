"""Calibrated Multimodal Consensus: from talking-head videos to the tables of a paper, and to anyone's own video.

    import cmc

    model = cmc.load("results/demo/model")
    model.predict("clip.mp4", text="What is said in it.")    # a row of readings; folders and tables work, too
    cmc.extract("clip.mp4", text="What is said in it.")      # its features, a DataFrame a modality
    cmc.open("results/demo").table                           # the results of a run

docs/python.md tells more. What else is in the package is the workflow's: `cmc.corpus`, `cmc.features`,
`cmc.models`, `cmc.training`, `cmc.evaluation`, `cmc.prediction`, `cmc.report`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmc.api import Model, Results, extract, load, open

__version__ = "0.1.0"
__all__ = ["LABELS", "MODALITIES", "SPLITS", "Model", "Results", "extract", "load", "open"]
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
# Whose label -> its column in every table: multimodal, and of text, audio and vision alone
LABELS = {"M": "label", "T": "label_T", "A": "label_A", "V": "label_V"}


def __getattr__(name: str) -> Any:
    """What needs libraries that take seconds to import is imported when it is asked for."""
    if name in __all__:
        return getattr(import_module("cmc.api"), name)
    raise AttributeError(f"module 'cmc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
