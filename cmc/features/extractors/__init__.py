"""Which extractors there are, by modality, and which settings each takes.

A new one is a file in `cmc/features` and a line in `EXTRACTORS`; see docs/features.md. This module is no part of
what a stage computes, so that a new extractor makes nothing be done again.
"""

import ast
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

EXTRACTORS = {  # modality -> file in cmc/features -> class
    "text": {
        "hugging_face": "HuggingFace",
    },
    "audio": {
        "chsims33": "ChSims33",
        "egemaps25": "Egemaps25",
        "hugging_face_speech": "HuggingFaceSpeech",
    },
    "vision": {
        "mediapipe": "MediaPipe",
        "openface": "OpenFace",
    },
}
NONE = "none"  # instead of an extractor: the data set lacks the modality
FOLDER = Path(__file__).parent


def make(modality: str, name: str, **settings: Any) -> Any:
    """The extractor of this name, a context manager.

    Parameters
    ----------
    modality : {'text', 'audio', 'vision'}
    name : str
        Of `EXTRACTORS`.
    **settings
        What its constructor takes.
    """
    module = import_module(f"cmc.features.extractors.{name}")
    return getattr(module, EXTRACTORS[modality][name])(**settings)


@cache
def declared(name: str, constant: str) -> dict[str, Any]:
    """A constant of an extractor's file, {} if it has none; the file is not imported."""
    for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(node, ast.Assign | ast.AnnAssign) and [ast.unparse(one) for one in targets] == [
            constant
        ]:
            return ast.literal_eval(node.value or "None")
    return {}


def schema() -> dict[str, dict]:
    """Modality -> JSON schema of its part of the config: an extractor's name, and settings under their names."""

    def closed(properties: dict) -> dict:
        return {"type": "object", "additionalProperties": False, "properties": properties}

    return {
        modality: closed(
            {"extractor": {"enum": [*names, NONE]}}
            | {name: closed(declared(name, "SETTINGS")) for name in names}
        )
        for modality, names in EXTRACTORS.items()
    }


def chosen(sections: Mapping[str, Mapping]) -> dict[str, tuple[str, dict]]:
    """Modality -> its extractor and all settings of that, of the modalities that are not left out.

    Parameters
    ----------
    sections : mapping
        Modality -> its part of a config of `schema`.

    Raises
    ------
    ValueError
        If a setting that has no default is missing, or only one modality would be left.
    """
    picked = {}
    for modality in EXTRACTORS:
        name = sections[modality]["extractor"]
        if name == NONE and modality == "text":
            raise ValueError(
                "features.text: none is no choice, since text carries the method: label files need transcripts, "
                "and stage 2 finetunes their language model"
            )
        if name == NONE:
            continue
        settings = declared(name, "SETTINGS")
        values = {
            key: properties["default"] for key, properties in settings.items() if "default" in properties
        }
        values |= sections[modality].get(name, {})
        if missing := [key for key in settings if key not in values]:
            raise ValueError(f"features.{modality}: the extractor {name} needs {name}.{missing[0]}")
        picked[modality] = name, dict(sorted(values.items()))
    if len(picked) < 2:
        raise ValueError("features: audio and vision can't both be none; a consensus takes two modalities")
    return picked
