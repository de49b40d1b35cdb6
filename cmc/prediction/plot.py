"""A clip at a glance: features over time and the readings of all models."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from cmc.evaluation.tables import model_logits
from cmc.labels import Scheme

CLASS_COLOURS = ("#d55e00", "#999999", "#0072b2")  # negative, neutral, positive; for colour-blind readers too
EMOTION_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#f0e442", "#999999")
CONSENSUS = "consensus"
SHOWN = 60  # columns of a modality that are drawn: of more, every so many


def clip(
    name: str, features: Mapping[str, pd.DataFrame], predictions: pd.DataFrame, scheme: Scheme
) -> Figure:
    """Features of a clip (modality -> table), and readings if there are predictions of it (a row a seed)."""
    rows = len(features) + (len(predictions) > 0)
    figure = Figure(figsize=(8, 1.9 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, 1))
    figure.suptitle(name, fontsize=11, parse_math=False)  # ids hold dollars
    for axes, (modality, table) in zip(panels, features.items(), strict=False):
        heat(axes, modality, table)
    if len(predictions):
        readings(panels[-1], predictions, scheme)
    return figure


def heat(axes: Axes, modality: str, table: pd.DataFrame) -> None:
    """Each column standardised over the clip; grey where nothing was found."""
    values = table.iloc[:, :: max(1, len(table.columns) // SHOWN)].to_numpy(dtype=np.float64).T
    centre = np.nanmean(values, axis=1, keepdims=True) if values.size else 0.0
    spread = np.nanstd(values, axis=1, keepdims=True)
    scaled = np.ma.masked_invalid((values - centre) / np.where(spread > 0, spread, 1))
    last = float(table.index[-1]) if len(table) else 1.0
    axes.set_facecolor("#dddddd")
    axes.imshow(
        scaled, aspect="auto", cmap="PuOr", vmin=-2.5, vmax=2.5, extent=(0, max(last, 1e-3), 0, len(values))
    )
    axes.set_ylabel(modality)
    axes.set_yticks([])
    axes.set_xlabel(str(table.index.name or ""))


def readings(axes: Axes, predictions: pd.DataFrame, scheme: Scheme) -> None:
    """Mean probabilities over seeds of the consensus and of each unimodal model, stacked; the label's class."""
    logits = model_logits(predictions, CONSENSUS, scheme)
    known = CLASS_COLOURS if scheme.polar else EMOTION_COLOURS
    colours = [known[place % len(known)] for place in range(len(scheme.classes))]
    for place, values in enumerate(logits.values()):
        left = 0.0
        for chance, colour in zip(softmax(values, axis=1).mean(axis=0), colours, strict=True):
            axes.barh(-place, chance, left=left, color=colour)
            left += chance
    axes.set_yticks([-place for place in range(len(logits))], list(logits))
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"probability; label: {scheme.classes[int(predictions['class'].iloc[0])]}")
    for name, colour in zip(scheme.classes, colours, strict=True):
        axes.plot([], [], color=colour, lw=6, label=name)
    axes.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.35), frameon=False)
