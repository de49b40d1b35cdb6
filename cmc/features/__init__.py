"""What every extractor of a modality returns, and how it says that a clip can't be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


class Unusable(Exception):
    """A clip that a stage can't use. The message is the reason that the quarantine list shows."""


@dataclass(frozen=True)
class Features:
    """Features of one clip in one modality.

    Attributes
    ----------
    values : ndarray (frames, dims), float32
        One row a frame or token. A row is all NaN where nothing was found (a frame without a face);
        everything else is finite.
    times : ndarray (frames,), float64, or None
        Seconds from the clip's start at which each row lies; None for text, whose rows are tokens.
    token_ids : ndarray (frames,), int32, or None
        Text only: the tokenizer's id of each row, special tokens included.
    quality : mapping of str to float
        Figures about the clip for extraction.csv, such as the share of frames with a face; see
        `cmc.extract.QUALITY`.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    token_ids: np.ndarray | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
