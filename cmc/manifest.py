"""The manifest: a data set's label file, checked at the door.

Light on purpose, standard library alone: the workflow reads label files before it plans any job.
"""

import csv
import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from cmc import SPLITS, files

LABEL_FILES = ("label.csv", "meta.csv")
EXTENSIONS = (".mp4", ".mkv", ".avi", ".mov", ".webm")
ENCODINGS = ("utf-8-sig", "gb18030")  # with or without byte order mark; Chinese Windows
REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
UNIMODAL = {"T": "label_T", "A": "label_A", "V": "label_V"}
SEPARATOR = "$_$"  # between video and clip in an id, as in the official feature files


class ManifestError(Exception):
    """A label file that can't be used at all."""


@dataclass(frozen=True)
class Clip:
    """One utterance.

    Attributes
    ----------
    clip : str
        Id, "video$_$clip".
    video, text, split : str
        Source video; transcript; 'train', 'valid' or 'test'.
    M, T, A, V : float
        Labels: multimodal, and of text, audio and vision alone (NaN where there is none).
    """

    clip: str
    video: str
    text: str
    split: str
    M: float
    T: float = math.nan
    A: float = math.nan
    V: float = math.nan


@dataclass
class Manifest:
    """Clips in the label file's order, and the rows that can't be used as (clip, stage, reason)."""

    clips: list[Clip] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)


def label_file(root: str | Path) -> Path | None:
    """The label file in a data set's folder, if there is one."""
    return next((Path(root) / name for name in LABEL_FILES if (Path(root) / name).is_file()), None)


def read(path: str | Path, label_range: tuple[float, float]) -> Manifest:
    """Read a label file, refusing rows that can't be used.

    Parameters
    ----------
    path : path
        CSV with at least the columns video_id, clip_id, text, label, mode; label_T, label_A, label_V where
        there are unimodal labels. Ids stay text: 0001 keeps its zeros.
    label_range : (float, float)
        Lowest and highest label of the data set, inclusive.

    Returns
    -------
    Manifest
        A row is refused for an id that is no plain file name or was seen before, a label that is no number or
        outside the range, an unknown split, an empty transcript.

    Raises
    ------
    ManifestError
        If the file can't be decoded, lacks a column, or has no row.
    """
    manifest, seen = Manifest(), set()
    for line, row in rows(path):
        video, clip = (row[name].strip() for name in ("video_id", "clip_id"))
        name = f"{video}{SEPARATOR}{clip}"
        try:
            entry = check(row, name, label_range)
            if name in seen:
                raise ValueError(f"duplicate id; the first row that has it is kept (line {line} is refused)")
            seen.add(name)
            manifest.clips.append(entry)
        except ValueError as reason:
            manifest.refused.append((name, "manifest", str(reason)))
    if not manifest.clips and not manifest.refused:
        raise ManifestError(f"{path} has a header and no rows")
    return manifest


def rows(path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row."""
    raw = Path(path).read_bytes()
    for encoding in ENCODINGS:
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise ManifestError(f"{path} is neither {' nor '.join(ENCODINGS)} text; save it as UTF-8 CSV")
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        if missing := [name for name in REQUIRED if name not in header]:
            raise ManifestError(
                f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"found {', '.join(header) or 'nothing'}. It must be comma-separated with a header line."
            )
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ManifestError(f"{path}, line {reader.line_num}: {error}") from None


def check(row: dict[str, str], name: str, label_range: tuple[float, float]) -> Clip:
    """A row as a Clip; ValueError says what is wrong with it."""
    for column in ("video_id", "clip_id"):
        plain_name(row[column].strip(), column)
    if None in row:
        raise ValueError(f"the row has {len(row[None])} fields more than the header; quote texts with commas")
    split = row["mode"].strip().lower()
    if split not in SPLITS:
        raise ValueError(f"unknown split {row['mode']!r}; expected {', '.join(SPLITS)}")
    if not row["text"].strip():
        raise ValueError("empty transcript")
    labels = {"M": number(row["label"], "label", label_range)}
    for letter, column in UNIMODAL.items():
        if row.get(column, "").strip():
            labels[letter] = number(row[column], column, label_range)
    return Clip(
        clip=name, video=row["video_id"].strip(), text=" ".join(row["text"].split()), split=split, **labels
    )


def plain_name(value: str, column: str) -> None:
    """Refuse ids that would leave the data set's folder, or that file names or the workflow can't hold."""
    if not value or value in (".", "..") or re.search(r"[/\\{}\x00-\x1f\x7f]", value):
        raise ValueError(f"{column} {value!r} is no plain file name")


def number(text: str, column: str, label_range: tuple[float, float]) -> float:
    low, high = label_range
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is no number") from None
    if not low <= value <= high:
        raise ValueError(f"{column} {value:g} is outside [{low:g}, {high:g}]")
    return value


def video_path(root: str | Path, clip: str) -> Path:
    """Where a clip's video is: <root>/Raw/<video>/<clip>.<extension>; the .mp4 name if there is none.

    Raises
    ------
    ManifestError
        If the file is a link that leads out of the root.
    """
    video, name = clip.split(SEPARATOR, 1)
    stem = Path(root) / "Raw" / video / name
    path = next((p for p in (Path(f"{stem}{ext}") for ext in EXTENSIONS) if p.is_file()), Path(f"{stem}.mp4"))
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise ManifestError(
            f"{path} is a link out of {root}; copy the video in, or make {root} itself the link"
        )
    return path


def shards(clips: list[str], size: int) -> dict[int, list[str]]:
    """Clips of each shard, by its number; on average a shard holds half of `size` to `size` clips.

    A hash of the id chooses the shard and their count is a power of two, so that a row more or less moves no
    other clip until the data set has doubled or halved.
    """
    count = 1 << max(0, math.ceil(math.log2(max(len(clips), 1) / size)))
    parts: dict[int, list[str]] = {}
    for clip in clips:
        parts.setdefault(zlib.crc32(clip.encode()) % count, []).append(clip)
    return dict(sorted(parts.items()))


def write(manifest: Manifest, clips_path: str | Path, refused_path: str | Path) -> None:
    """Write both tables as CSV."""
    columns = [f.name for f in fields(Clip)]
    table = [["" if value != value else value for value in vars(clip).values()] for clip in manifest.clips]
    write_csv(clips_path, columns, table)
    write_csv(refused_path, ["clip", "stage", "reason"], manifest.refused)


def write_csv(path: str | Path, header: list[str], table: list) -> None:
    with files.whole(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])
