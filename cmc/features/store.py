"""The feature file: the one reader and writer of our HDF5 layout.

    classes           attribute, JSON: names of the emotions that labels are; absent where labels are numbers
    clips/            id and the manifest's columns, one row a clip
    <modality>/       values (frames, dims), offsets (clips + 1), columns (dims);
                      times (frames) for audio and vision, token_ids (frames) for text;
                      attributes: extractor, version, settings (JSON), rate
    quarantine/       clip, stage, reason: what an extraction could not use

Sequences are ragged: clip i has the rows offsets[i]:offsets[i + 1]. Nothing is padded. A row of NaN is a frame
in which nothing was found.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from cmc import MODALITIES, files
from cmc.features.contract import Features

FORMAT = "cmc-features-1"
SUFFIX = ".h5"  # of all feature files that runs make
CHUNK_BYTES = 1 << 18  # of one compressed piece of `values`
BUFFER_BYTES = 1 << 23  # rows kept back until they fill whole chunks
STRING = h5py.string_dtype()
EXTRA = {"times": "float64", "token_ids": "int32"}


class StoreError(Exception):
    """A feature file that is not one of ours, or is damaged."""


@dataclass(frozen=True)
class Recipe:
    """How the features of one modality were made; stands as attributes beside them.

    Attributes
    ----------
    extractor, version : str
        Such as 'mediapipe', 'mediapipe 0.10.31'.
    settings : dict
    columns : list of str
        Name of each dimension.
    rate : float or None
        Rows a second; None for tokens.
    dtype : {'float32', 'float16'}
        Of the stored values. float16 keeps 3 decimal digits: enough for hidden states and landmarks,
        too few for MFCC or pixels.
    """

    extractor: str
    version: str
    settings: Mapping
    columns: Sequence[str]
    rate: float | None
    dtype: str = "float32"


class Writer:
    """Appends clips to a new feature file; see `create`."""

    def __init__(self, file: h5py.File, disk: "Disk") -> None:
        self.file = file
        self.disk = disk
        self.offsets: dict[str, list[int]] = {}
        self.shapes: dict[str, tuple[int, str]] = {}  # width and type of the values
        self.buffers: dict[str, list[Features]] = {}
        self.buffered: dict[str, int] = {}  # bytes

    def modality(self, name: str, recipe: Recipe) -> None:
        """Declare a modality before its first clip."""
        dims = len(recipe.columns)
        rows = max(1, CHUNK_BYTES // (dims * np.dtype(recipe.dtype).itemsize))
        group = self.file.create_group(name)
        group.create_dataset(
            "values",
            (0, dims),
            recipe.dtype,
            maxshape=(None, dims),
            chunks=(rows, dims),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        group["columns"] = np.array(recipe.columns, dtype=STRING)
        group.attrs["extractor"], group.attrs["version"] = recipe.extractor, recipe.version
        group.attrs["settings"] = json.dumps(dict(recipe.settings), sort_keys=True)
        group.attrs["rate"] = np.nan if recipe.rate is None else recipe.rate
        self.shapes[name] = dims, recipe.dtype
        self.offsets[name], self.buffers[name], self.buffered[name] = [0], [], 0

    def add_settings(self, name: str, **known_later) -> None:
        """Add to the settings in a modality's recipe."""
        attributes = self.file[name].attrs
        attributes["settings"] = json.dumps(json.loads(attributes["settings"]) | known_later, sort_keys=True)

    def append(self, name: str, features: Features) -> None:
        """Add the next clip's features to a modality; each modality must get the same clips in one order."""
        frames, dims = features.values.shape
        width, dtype = self.shapes[name]
        if frames == 0 or dims != width:
            raise ValueError(
                f"{name}: {frames} frames of {dims} dimensions; need at least 1 frame of {width}"
            )
        # no np.abs: an hour of video would be copied
        peak = max(np.nanmax(features.values, initial=0), -np.nanmin(features.values, initial=0))
        if peak > np.finfo(dtype).max:
            raise ValueError(f"{name}: a value of {peak:g} does not fit {dtype}")
        self.offsets[name].append(self.offsets[name][-1] + frames)
        self.buffers[name].append(replace(features, values=features.values.astype(dtype, copy=False)))
        self.buffered[name] += features.values.nbytes
        if self.buffered[name] > BUFFER_BYTES:
            self.flush(name)

    def flush(self, name: str) -> None:
        group, buffered = self.file[name], self.buffers[name]
        if not buffered:
            return
        grow(group["values"], joined([f.values for f in buffered]))
        for extra, dtype in EXTRA.items():
            if getattr(buffered[0], extra) is not None:
                if extra not in group:
                    group.create_dataset(
                        extra, (0,), dtype, maxshape=(None,), chunks=(4096,), compression="gzip"
                    )
                grow(group[extra], joined([getattr(f, extra) for f in buffered]))
        self.buffers[name], self.buffered[name] = [], 0
        self.disk.check()

    def finish(self, clips: pd.DataFrame, quarantine: pd.DataFrame | None = None) -> None:
        """Write what is buffered, the offsets and the tables: `clips`, a row for each clip appended, and the
        quarantine."""
        for name, offsets in self.offsets.items():
            if len(offsets) != len(clips) + 1:
                raise ValueError(f"{name} has {len(offsets) - 1} clips, the table has {len(clips)}")
            self.flush(name)
            self.file[name]["offsets"] = np.array(offsets, dtype=np.int64)
        for table, frame in {"clips": clips, "quarantine": quarantine}.items():
            if frame is not None:
                for column, values in frame.items():
                    dtype = np.float64 if pd.api.types.is_numeric_dtype(values) else STRING
                    self.file[f"{table}/{column}"] = values.to_numpy().astype(dtype)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays after one another; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def grow(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    start = len(dataset)
    dataset.resize(start + len(rows), axis=0)
    dataset[start:] = rows


class Disk(io.FileIO):
    """The file under HDF5, which crashes if it can't write what it holds, or read it again, when it is closed.

    Here no write fails: the first error, a full disk for one, is kept until `check` raises it, and so is, in
    memory, what comes after it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None
        self.kept: dict[int, bytes] = {}  # place -> what the disk did not take

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        place, view = self.tell(), memoryview(data).cast("B")
        rest = view
        try:
            while self.error is None and rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        if self.error:
            self.kept.pop(place, None)  # so that it stands last
            self.kept[place] = bytes(view)
            self.seek(place + len(view))
        return len(view)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place, view = self.tell(), memoryview(buffer).cast("B")
        count = super().readinto(view)
        if self.error is None:
            return count
        view[count:] = bytes(len(view) - count)
        for start, piece in self.kept.items():
            low, high = max(start, place), min(start + len(piece), place + len(view))
            if low < high:
                view[low - place : high - place] = piece[low - start : high - start]
        return self.seek(place + len(view)) - place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = super().seek(offset, whence)
        if whence != io.SEEK_END or self.error is None:
            return end
        return super().seek(max(end, *(start + len(piece) for start, piece in self.kept.items())))

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            self.kept.setdefault(size or 0, b"")
            return size or 0

    def check(self) -> None:
        if self.error:
            raise OSError(self.error.errno, self.error.strerror, str(self.name))


@contextmanager
def create(path: str | Path, names: Sequence[str] | None = None) -> Iterator[Writer]:
    """A new feature file, under its name only when it is whole.

    Parameters
    ----------
    path : path
    names : sequence of str, optional
        Of the emotions that the clips' labels are; None where they are numbers.

    Yields
    ------
    Writer
        Call `modality` for each modality, `append` for each clip, and `finish` last.
    """
    with files.whole(path) as partial, Disk(partial) as disk:
        with h5py.File(disk, "w") as file:
            file.attrs["format"] = FORMAT
            if names is not None:
                file.attrs["classes"] = json.dumps(list(names))
            yield Writer(file, disk)
        disk.check()


class Reader:
    """An open feature file; use as a context manager.

    Raises
    ------
    StoreError
        If the file is not there, can't be read, or is not a feature file of this version.
    """

    def __init__(self, path: str | Path) -> None:
        if not os.path.isfile(path):
            raise StoreError(f"{path}: no such file")
        again = "if a run has made it, delete it and run again"
        try:
            self.file = h5py.File(path, "r")
        except PermissionError:
            raise StoreError(f"{path} can't be read: its owner does not let you") from None
        except OSError:
            if h5py.is_hdf5(path):
                raise StoreError(f"{path} is damaged: get it again or, {again}") from None
            way = f"; {again}" if Path(path).suffix == SUFFIX else ""
            raise StoreError(f"{path} is no feature file, such as a run's features.h5{way}") from None
        if self.file.attrs.get("format") != FORMAT:
            self.file.close()
            raise StoreError(f"{path} is not a {FORMAT} file; {again}")

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the emotions that labels are, in the order of their classes; None where they are numbers."""
        text = self.file.attrs.get("classes")
        return None if text is None else tuple(json.loads(text))

    @property
    def modalities(self) -> list[str]:
        """Those that the file holds, in the order text, audio, vision."""
        return [name for name in MODALITIES if name in self.file]

    def table(self, name: str) -> pd.DataFrame:
        """The table `clips` or `quarantine`."""
        columns = {}
        for column, data in self.file[name].items():
            columns[column] = data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]
        return pd.DataFrame(columns)

    def offsets(self, modality: str) -> np.ndarray:
        """(clips + 1,) int64."""
        return self.file[modality]["offsets"][:]

    def recipe(self, modality: str) -> Recipe:
        group = self.file[modality]
        rate = float(group.attrs["rate"])
        return Recipe(
            extractor=group.attrs["extractor"],
            version=group.attrs["version"],
            settings=json.loads(group.attrs["settings"]),
            columns=list(group["columns"].asstr()[:]),
            rate=None if np.isnan(rate) else rate,
            dtype=str(group["values"].dtype),
        )

    def rows(self, modality: str, start: int, stop: int) -> Features:
        """The rows start:stop of a modality, as one Features with values in their stored type."""
        group = self.file[modality]
        extras = {name: group[name][start:stop] for name in EXTRA if name in group}
        return Features(group["values"][start:stop], **extras)


def same_recipe(a: Recipe, b: Recipe) -> bool:
    """Whether features made by both can stand in one file."""
    return json.dumps(asdict(a), default=list, sort_keys=True) == json.dumps(
        asdict(b), default=list, sort_keys=True
    )
