"""A split of a feature file in memory, and batches of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmc import LABELS
from cmc.corpus import consistency, folds
from cmc.features import store
from cmc.features.contract import Features
from cmc.labels import Scheme, given
from cmc.models.sequences import Sequences, move

COLUMNS = {"M": LABELS["M"], **consistency.UNIMODAL}  # whose label -> its column


@dataclass(frozen=True)
class Ragged:
    """All clips of a split in one modality.

    Attributes
    ----------
    values : Tensor (frames, width) or (frames,)
    offsets : ndarray (clips + 1,), int64
        Clip i has the rows offsets[i]:offsets[i + 1].
    """

    values: Tensor
    offsets: np.ndarray

    def batch(self, clips: np.ndarray) -> Sequences:
        """The clips of these places, as float32 or as the integers they are."""
        lengths = np.diff(self.offsets)[clips]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        (rows,) = move([np.repeat(self.offsets[clips], lengths) + within], self.values.device)
        values = self.values[rows]
        if values.dtype == torch.float16:
            values = values.float()
        return Sequences.ragged(values, torch.from_numpy(lengths))

    def padded(self, length: int) -> "Ragged":
        """The same clips, each with rows of 0 behind it up to `length`: what publications train on."""
        lengths = np.diff(self.offsets)
        if lengths.max() > length:
            raise ValueError(f"a clip has {lengths.max()} frames, more than {length}")
        values = self.values.new_zeros(len(lengths), length, *self.values.shape[1:])
        kept = torch.from_numpy(np.arange(length) < lengths[:, None]).to(values.device)
        values[kept] = self.values
        return Ragged(values.flatten(0, 1), np.arange(len(lengths) + 1) * length)


@dataclass(frozen=True)
class Split:
    """One split, whole, on a device.

    Attributes
    ----------
    clips : DataFrame
        clip_id, video_id, labels.
    features : dict
        Modality -> Ragged.
    tokens : Ragged or None
        Token ids of the transcripts, int64.
    text_length : int or None
        Tokens to which each transcript is filled up; None if padding is masked.
    text_layer : int
        Layer of the language model whose hidden states the text features are; -1: its last.
    names : tuple of str or None
        Of the emotions that labels are; None of polarity. See `cmc.labels.Scheme`.
    """

    clips: pd.DataFrame
    features: dict[str, Ragged]
    tokens: Ragged | None = None
    text_length: int | None = None
    text_layer: int = -1
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> width of its features."""
        return {modality: ragged.values.shape[1] for modality, ragged in self.features.items()}

    def classes(self, whose: str) -> Tensor:
        """(clips,) int64 classes of the label of 'M' or of a modality.

        Raises
        ------
        ValueError
            If a clip has no such label.
        """
        labels = self.clips[COLUMNS[whose]].to_numpy()
        absent = ~given(labels)
        if absent.any():
            first = self.clips["clip_id"].iloc[int(absent.argmax())]
            raise ValueError(
                f"{first} has no {COLUMNS[whose]}; {absent.sum()} of {len(labels)} clips lack it. "
                "Annotated unimodal labels exist for CH-SIMS and CH-SIMS v2 only; use labels: pseudo"
            )
        return torch.from_numpy(Scheme(self.names).numbers(labels))

    def annotated(self, whose: str) -> bool:
        """Whether all clips have the label of a modality."""
        column = COLUMNS[whose]
        return column in self.clips and bool(given(self.clips[column].to_numpy()).all())

    def batch(self, clips: np.ndarray) -> dict[str, Sequences]:
        """Modality -> ragged batch of the clips at these places."""
        return {modality: ragged.batch(clips) for modality, ragged in self.features.items()}


def load(
    path: str | Path,
    split: str,
    device: torch.device | str = "cpu",
    mask_padding: bool = True,
    fold: int | None = None,
) -> Split:
    """Read one split of a feature file onto a device.

    Parameters
    ----------
    path : path
    split : {'train', 'valid', 'test'}
    device : torch.device
    mask_padding : bool
        True: clips keep their own lengths and frames in which nothing was found are left out, which is what
        masking means for a model without positional encoding. False, as published: every clip is filled up
        with rows of 0 to the longest of the file, and those rows count as frames.
    fold : int, optional
        Of a data set in folds: the one that is tested. See `cmc.corpus.folds`.
    """
    with store.Reader(path) as reader:
        table, names = reader.table("clips"), reader.names
        places = np.flatnonzero(folds.members(table["split"], split, fold))
        if not len(places):
            raise ValueError(f"{path} has no clip in split {split}")
        rows, recipes, lengths = {}, {}, {}
        for modality in reader.modalities:
            offsets = reader.offsets(modality)
            rows[modality] = select(reader, modality, offsets, places)
            recipes[modality] = reader.recipe(modality)
            lengths[modality] = int(np.diff(offsets).max())
    clips = table.iloc[places].reset_index(drop=True)
    return replace(arranged(clips, rows, recipes, None if mask_padding else lengths, device), names=names)


def assemble(
    clips: pd.DataFrame,
    features: Mapping[str, Sequence[Features]],
    recipes: Mapping[str, store.Recipe],
    lengths: Mapping[str, int] | None = None,
    device: torch.device | str = "cpu",
) -> Split:
    """The split of clips whose features are in memory: what `load` would read of them from a file.

    Parameters
    ----------
    clips : DataFrame
    features : mapping
        Modality -> features of each clip.
    recipes : mapping
        Modality -> how they were made.
    lengths : mapping, optional
        Modality -> frames to which every clip is filled up; None if padding is masked.
    device : torch.device

    Raises
    ------
    ValueError
        A clip is longer than `lengths`.
    """
    rows: dict[str, tuple[Ragged, Ragged | None]] = {}
    for modality, parts in features.items():
        offsets = np.cumsum([0, *(len(part.values) for part in parts)])
        values = np.concatenate([part.values.astype(recipes[modality].dtype, copy=False) for part in parts])
        ids = [part.token_ids for part in parts if part.token_ids is not None]
        tokens = Ragged(torch.from_numpy(np.concatenate(ids).astype(np.int64)), offsets) if ids else None
        rows[modality] = Ragged(torch.from_numpy(values), offsets), tokens
    return arranged(clips, rows, recipes, lengths, device)


def arranged(
    clips: pd.DataFrame,
    rows: Mapping[str, tuple[Ragged, Ragged | None]],
    recipes: Mapping[str, store.Recipe],
    lengths: Mapping[str, int] | None,
    device: torch.device | str,
) -> Split:
    """A split of the rows and token ids of each modality, as models take them: see `load` and `assemble`."""
    features, tokens, text_length, text_layer = {}, None, None, -1
    for modality in (m for m in COLUMNS if m in rows):
        ragged, ids = rows[modality]
        ragged = drop_missing(ragged) if lengths is None else fill(ragged, lengths[modality])
        features[modality] = replace(ragged, values=ragged.values.to(device))
        if ids is not None:
            tokens = replace(ids, values=ids.values.to(device))
            text_length = None if lengths is None else lengths[modality]
            text_layer = recipes[modality].settings.get("layer", -1)
    return Split(clips, features, tokens, text_length, text_layer)


def load_classes(path: str | Path, split: str, fold: int | None = None) -> np.ndarray:
    """Classes (clips,) of a split's multimodal labels, without its features."""
    with store.Reader(path) as reader:
        table, scheme = reader.table("clips"), Scheme(reader.names)
    return scheme.numbers(table.loc[folds.members(table["split"], split, fold), LABELS["M"]].to_numpy())


def select(
    reader: store.Reader, modality: str, offsets: np.ndarray, places: np.ndarray
) -> tuple[Ragged, Ragged | None]:
    """The rows of the clips at `places`, and their token ids if there are any."""
    parts = [reader.rows(modality, *offsets[[first, last + 1]]) for first, last in runs(places)]
    lengths = np.diff(offsets)[places]
    chosen = np.concatenate([[0], np.cumsum(lengths)])
    ragged = Ragged(torch.from_numpy(np.concatenate([p.values for p in parts])), chosen)
    if parts[0].token_ids is None:
        return ragged, None
    ids = np.concatenate([p.token_ids for p in parts]).astype(np.int64)
    return ragged, Ragged(torch.from_numpy(ids), chosen)


def runs(places: np.ndarray) -> list[tuple[int, int]]:
    """First and last of each run of neighbours in sorted places, so that a file is read in few long pieces."""
    pieces = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(int(piece[0]), int(piece[-1])) for piece in pieces]


def drop_missing(ragged: Ragged) -> Ragged:
    found = ~ragged.values[:, 0].isnan()
    if bool(found.all()):
        return ragged
    kept = np.concatenate([[0], np.cumsum(found.numpy())])
    return Ragged(ragged.values[found], kept[ragged.offsets])


def fill(ragged: Ragged, length: int) -> Ragged:
    return replace(ragged, values=ragged.values.nan_to_num(0.0)).padded(length)


def shuffled(count: int, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Batches of an epoch as places in a split, in an order that depends on seed and epoch alone."""
    batches = in_order(np.random.default_rng([seed, epoch]).permutation(count), size)
    if (
        len(batches) > 1 and len(batches[-1]) == 1
    ):  # a lone clip has nobody to be contrasted with or normalised by
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def in_order(places: np.ndarray, size: int) -> list[np.ndarray]:
    return [places[i : i + size] for i in range(0, len(places), size)]
