"""The feature file that MMSA and CMC's published code read, made of ours.

It is written piece by piece, opcodes by hand, so that memory does not grow with the data set: Python's own pickler
would want each padded array whole. What it names is known to Python since 3.4 and to every numpy.
"""

import logging
import math
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from cmc import LABELS, MODALITIES, SPLITS, files
from cmc.features import store
from cmc.labels import CLASSES, polarity

log = logging.getLogger(__name__)

FRAMES = ("audio", "vision")  # modalities whose rows may hold nothing


def write(features: str | Path, out: str | Path) -> None:
    """Write a feature file as a pickle of the official layout: split -> key -> one entry a clip.

    Of n clips, these are lists: id, raw_text, annotations (Negative, Neutral, Positive), audio_lengths,
    vision_lengths. float32 arrays: text, audio, vision (n, longest, dims), text_bert (n, 3, longest),
    regression_labels (n,), and regression_labels_T, _A, _V (n,) if the data set has such labels, NaN where a clip
    lacks one. int64: classification_labels (n,), 0, 1 or 2.

    Sequences are filled up with zeros to the longest clip of the data set. Frames in which nothing was found are
    zeros as well, since models for that layout know no gaps. audio_missing and vision_missing (n, longest), bool,
    which MMSA does not read, tell such frames from those that are zero. So `official.import_features` gives back
    all sequences, token ids, transcripts and labels; but not times, names of columns, extractors and settings.

    Parameters
    ----------
    features : path
        Feature file.
    out : path
        Pickle to write; without text_bert if the features have no token ids.

    Raises
    ------
    StoreError
        If the features lack a modality.
    """
    with store.Reader(features) as reader, files.whole(out) as partial, open(partial, "wb") as file:
        if lacking := [modality for modality in MODALITIES if modality not in reader.modalities]:
            raise store.StoreError(
                f"{features} has no {' and no '.join(lacking)}; MMSA's layout needs all three"
            )
        clips = reader.table("clips")
        sequences = {modality: Padded(reader, modality) for modality in MODALITIES}
        unimodal = [letter for letter in "TAV" if clips[LABELS[letter]].notna().any()]
        file.write(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK)
        for split in SPLITS:
            file.write(small(split) + pickle.EMPTY_DICT + pickle.MARK)
            write_split(file, clips[clips["split"] == split], sequences, unimodal)
            file.write(pickle.SETITEMS)
        file.write(pickle.SETITEMS + pickle.STOP)
    shapes = ", ".join(f"{name} {padded.longest} x {padded.dims}" for name, padded in sequences.items())
    log.info("%d clips of %s written to %s", len(clips), shapes, out)


class Padded:
    """A modality of a feature file, clip by clip.

    Attributes
    ----------
    lengths : ndarray (clips,)
    longest, dims : int
    missing, token_ids : list of ndarray (frames,)
        Of the clips that `clips` has last passed: frames in which nothing was found, token ids.
    """

    def __init__(self, reader: store.Reader, modality: str) -> None:
        self.reader, self.modality = reader, modality
        self.offsets = reader.offsets(modality)
        self.lengths = np.diff(self.offsets)
        self.longest, self.dims = int(self.lengths.max()), len(reader.recipe(modality).columns)

    def clips(self, places: Iterable[int]) -> Iterator[np.ndarray]:
        """(longest, dims) of each clip, float32."""
        self.missing, self.token_ids = [], []
        for place in places:
            found = self.reader.rows(self.modality, *self.offsets[place : place + 2])
            self.missing.append(np.isnan(found.values[:, 0]))
            self.token_ids.append(found.token_ids)
            yield filled(np.nan_to_num(found.values), (self.longest, self.dims), "<f4")


def filled(values: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values with zeros behind them."""
    result = np.zeros(shape, dtype)
    result[tuple(map(slice, values.shape))] = values
    return result


def write_split(
    file: BinaryIO, clips: pd.DataFrame, sequences: dict[str, Padded], unimodal: list[str]
) -> None:
    """The keys of a split and their values; `clips` has their places in the feature file as its index."""
    count, classes = len(clips), polarity(clips[LABELS["M"]].to_numpy())
    item(file, "id", clips["clip_id"].tolist())
    item(file, "raw_text", clips["text"].tolist())
    item(file, "annotations", [CLASSES[c].capitalize() for c in classes])
    labels = {"classification_labels": (classes, "<i8"), "regression_labels": (clips[LABELS["M"]], "<f4")}
    labels |= {f"regression_labels_{letter}": (clips[LABELS[letter]], "<f4") for letter in unimodal}
    for key, (values, dtype) in labels.items():
        array(file, key, (count,), dtype, [np.asarray(values, dtype)])
    for modality, padded in sequences.items():
        array(file, modality, (count, padded.longest, padded.dims), "<f4", padded.clips(clips.index))
    for modality in FRAMES:
        padded = sequences[modality]
        item(file, f"{modality}_lengths", padded.lengths[clips.index].tolist())
        flags = (filled(missing, (padded.longest,), "?") for missing in padded.missing)
        array(file, f"{modality}_missing", (count, padded.longest), "?", flags)
    text = sequences["text"]
    if text.token_ids[0] is not None:
        # token ids, attention mask, token types
        rows = (
            filled(np.stack([ids, np.ones_like(ids)]), (3, text.longest), "<f4") for ids in text.token_ids
        )
        array(file, "text_bert", (count, 3, text.longest), "<f4", rows)


def item(file: BinaryIO, key: str, value: object) -> None:
    file.write(small(key) + small(value))


def small(value: object) -> bytes:
    """Opcodes of a value that is small enough to be pickled whole, without its header and STOP."""
    return pickle.dumps(value, 2)[2:-1]  # protocol 2: later ones count on being alone in the memo


def array(file: BinaryIO, key: str, shape: tuple[int, ...], dtype: str, pieces: Iterable[np.ndarray]) -> None:
    """A key and its array, whose bytes come in pieces along the first axis."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    file.write(small(key))
    file.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + small((0,)) + b"C\x01b")
    file.write(pickle.TUPLE3 + pickle.REDUCE + pickle.MARK)
    # version, shape, type, whether in Fortran order, bytes
    file.write(small(1) + small(shape) + small(np.dtype(dtype)) + small(False))
    file.write(pickle.BINBYTES8 + size.to_bytes(8, "little"))
    for piece in pieces:
        file.write(piece)
    file.write(pickle.TUPLE + pickle.BUILD)
