"""The clip explorer's data: what is known of each test clip, and what was said of it."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from scipy.special import softmax

from cmc import MODALITIES
from cmc.corpus.consistency import UNIMODAL
from cmc.evaluation import consensus, tables
from cmc.features import store
from cmc.labels import Scheme

# what a timeline shows: name -> columns of which the first that is there counts, or the mean of several
TIMELINES: dict[str, tuple[str, list[list[str]]]] = {
    "sound": ("audio", [["Loudness_sma3"], ["mfcc_00"]]),
    "mouth": ("vision", [["jawOpen"], ["AU25_r"]]),
    "smile": ("vision", [["mouthSmileLeft", "mouthSmileRight"], ["AU12_r"]]),
    "brows": ("vision", [["browInnerUp"], ["AU01_r"]]),
}
POINTS, LEVELS = 40, 35  # of a timeline
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
GAP = "-"  # in a timeline: nothing was found
QUALITY = ("seconds", "faces", "voiced", "silence")


def together(predictions: Sequence[pd.DataFrame], variant: str, scheme: Scheme) -> pd.DataFrame:
    """What all seeds say of each test clip: means of probabilities and router weights.

    Returns
    -------
    DataFrame
        clip_id, class, label and those of modalities where there are any, dissents where it is known,
        {model}_{class} probabilities, router_{modality}, said (class by the mean probability), right (how
        many seeds are).
    """
    first = predictions[0]
    found = first[["clip_id", "class", *(c for c in ("label", *UNIMODAL.values()) if c in first)]].copy()
    logits = [tables.model_logits(own, variant, scheme) for own in predictions]
    for model in logits[0]:
        chances = np.mean([softmax(own[model], axis=1) for own in logits], axis=0)
        for place, name in enumerate(scheme.classes):
            found[f"{model}_{name}"] = chances[:, place]
    for modality in tables.routed(first):
        found[f"router_{modality}"] = np.mean([own[f"router_{modality}"] for own in predictions], axis=0)
    found["said"] = found[[f"{variant}_{name}" for name in scheme.classes]].to_numpy().argmax(axis=1)
    found["right"] = sum((own["prediction"] == own["class"]).astype(int) for own in predictions)
    dissents = consensus.dissenting(first, tables.routed(first), scheme)
    return found if dissents is None else found.assign(dissents=dissents)


def timelines(features: str | Path, clips: Sequence[str]) -> dict[str, dict[str, str]]:
    """How some features go through each clip: name -> clip id -> up to `POINTS` digits of base 36, over the whole
    range of the clips; `GAP` where nothing was found."""
    found: dict[str, dict[str, str]] = {}
    with store.Reader(features) as reader:
        places = {clip: place for place, clip in enumerate(reader.table("clips")["clip_id"])}
        for modality in reader.modalities:
            columns = columns_of(modality, reader.recipe(modality).columns)
            drawn: dict[str, dict[str, np.ndarray]] = {name: {} for name in columns}
            offsets = reader.offsets(modality) if columns else np.array([])
            for clip in clips if columns else ():
                values = reader.rows(modality, *offsets[places[clip] : places[clip] + 2]).values
                for name, wanted in columns.items():
                    drawn[name][clip] = thinned(values[:, wanted].astype(np.float64).mean(axis=1))
            for name, own in drawn.items():
                every = np.concatenate(list(own.values()))
                low, high = np.nanpercentile(every, [1, 99]) if np.isfinite(every).any() else (0.0, 1.0)
                found[name] = {clip: digits(series, low, high) for clip, series in own.items()}
    return found


def columns_of(modality: str, known: Sequence[str]) -> dict[str, list[int]]:
    """Places of the columns of each timeline that a modality's features can show."""
    found = {}
    for name, (own, choices) in TIMELINES.items():
        columns = next((choice for choice in choices if set(choice) <= set(known)), None)
        if own == modality and columns:
            found[name] = [known.index(column) for column in columns]
    return found


def thinned(values: np.ndarray) -> np.ndarray:
    """Means of at most `POINTS` parts of a series, NaN where a part has no value."""
    parts = np.array_split(values, min(POINTS, len(values)))
    return np.array([part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts])


def digits(values: np.ndarray, low: float, high: float) -> str:
    """A series as digits of base 36."""
    scaled = np.clip((values - low) / ((high - low) or 1), 0, 1) * LEVELS
    return "".join(GAP if np.isnan(one) else DIGITS[round(one)] for one in scaled)


def rows(
    found: pd.DataFrame,
    variant: str,
    scheme: Scheme,
    *,
    transcripts: Mapping[str, str],
    subsets: Mapping[str, Sequence[str]],
    quality: pd.DataFrame | None,
    lines: Mapping[str, Mapping[str, str]],
    links: Mapping[str, str],
    faces: Mapping[str, bytes],
    seeds: int,
) -> dict[str, Any]:
    """All that the explorer shows, small: lists instead of names, wrong and sure clips first.

    Parameters
    ----------
    found : DataFrame
        See `together`.
    variant, scheme
    transcripts : mapping
        Clip id -> text.
    subsets : mapping
        msc, msi -> clip ids.
    quality : DataFrame, optional
        What extraction found out of each clip, with clip_id.
    lines : mapping
        See `timelines`.
    links : mapping
        Clip id -> where its recording is, relative to the page.
    faces : mapping
        Clip id -> JPEG.
    seeds : int
        How many models spoke.
    """
    models = [variant, *(m for m in MODALITIES if f"{m}_{scheme.classes[0]}" in found)]
    modalities = [name for name in MODALITIES if f"router_{name}" in found]
    within = {clip: name for name, clips in subsets.items() for clip in clips}
    measured = {} if quality is None else quality.set_index("clip_id").to_dict("index")
    known = [name for name in QUALITY if quality is not None and name in quality]
    own_labels = [name for name in UNIMODAL.values() if name in found]
    sure = found[[f"{variant}_{name}" for name in scheme.classes]].max(axis=1)
    order = sorted(range(len(found)), key=lambda i: (found["right"].iloc[i], -sure.iloc[i]))
    clips = []
    for row in found.iloc[order].to_dict("records"):
        clip = str(row["clip_id"])
        clips.append(
            {
                "id": clip,
                "text": transcripts.get(clip, ""),
                "label": plain(row.get("label")),
                "own": [plain(row[name]) for name in own_labels],
                "class": int(row["class"]),
                "said": int(row["said"]),
                "right": int(row["right"]),
                "subset": within.get(clip, ""),
                "dissents": row.get("dissents", ""),
                "chances": [
                    [round(100 * float(row[f"{model}_{name}"])) for name in scheme.classes]
                    for model in models
                ],
                "router": [round(100 * float(row[f"router_{name}"])) for name in modalities],
                "quality": [plain(measured.get(clip, {}).get(name)) for name in known],
                "lines": [own.get(clip, "") for own in lines.values()],
                "link": links.get(clip, ""),
                "face": base64.b64encode(faces[clip]).decode() if clip in faces else "",
            }
        )
    return {
        "clips": clips,
        "classes": list(scheme.classes),
        "models": models,
        "modalities": modalities,
        "labels": own_labels,
        "quality": known,
        "lines": list(lines),
        "seeds": seeds,
    }


def plain(value: Any) -> Any:
    """A number or a text as JSON has it; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return round(number, 3) if np.isfinite(number) else None


def embedded(data: Any) -> str:
    """JSON that may stand in a <script> of a page, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def link(source: str | tuple[str, float, float], folder: str | Path) -> str:
    """Where a clip's recording is, seen from a folder; of a part of one with its seconds, which players know."""
    path = source if isinstance(source, str) else source[0]
    part = "" if isinstance(source, str) else f"#t={source[1]:g},{source[2]:g}"
    return quote(os.path.relpath(path, folder)) + part
