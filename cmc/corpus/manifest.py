"""The manifest: a data set's label file, checked at the door.

Light on purpose, standard library alone: the workflow reads label files before it plans any job.
"""

import csv
import io
import logging
import math
import os
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

from cmc import LABELS, SPLITS, files
from cmc.corpus import folds
from cmc.labels import spelled

log = logging.getLogger(__name__)

LABEL_FILES = ("label.csv", "meta.csv")
# of videos, in any case; of several files of one name the first is taken
EXTENSIONS = tuple(".mp4 .mkv .avi .mov .webm .m4v .mpg .mpeg .3gp .mts .m2ts .ts .wmv .flv .ogv".split())
LONGEST_NAME = 255 - max(map(len, EXTENSIONS))  # bytes that file systems take, less the extension
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # that are not the comma
REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
SPLIT_NAMES = {split: split for split in SPLITS} | dict.fromkeys(("validation", "val", "dev"), "valid")
TRANSCRIPT = ".txt"  # suffix of a transcript that lies beside its video
# that neither ids nor paths may hold: wildcards of Snakemake, control characters, ends of lines
UNFIT = r"{}\x00-\x1f\x7f-\x9f\u2028\u2029"
SPAN = ("start", "end")  # columns: the part of a recording, in seconds
UNIMODAL = tuple(column for letter, column in LABELS.items() if letter != "M")
LEFT_OUT = "left_out"  # stage of rows that the config leaves out on purpose
TORN = "duplicate id in two splits"  # how the reason begins of a row whose clip an earlier row has elsewhere
SEPARATOR = "$_$"  # between video and clip in an id, as in the official feature files


class ManifestError(Exception):
    """A label file that can't be used at all."""


class LeftOut(Exception):
    """A row that the config leaves out on purpose."""


@dataclass(frozen=True)
class Rules:
    """What a label file must be like.

    Attributes
    ----------
    label_range : (float, float) or None
        Lowest and highest label, inclusive; None where labels are names.
    spellings : mapping or None
        Label, as it may be written, in lower case -> name of its class, or None if clips of it are to be left
        out; None where labels are numbers.
    transcribed : bool
        Whether clips without a text are to be transcribed: it may be empty, or no column.
    by : str or None
        Column of what no fold divides, such as speaker; None where the column `mode` names splits.
    folds : int or None
        How many there are; None: each value of `by` is one.
    """

    label_range: tuple[float, float] | None = None
    spellings: Mapping[str, str | None] | None = None
    transcribed: bool = False
    by: str | None = None
    folds: int | None = None

    @property
    def required(self) -> list[str]:
        """Columns that there must be."""
        spared = {"text" if self.transcribed else "", "" if self.by is None else "mode"}
        return [name for name in REQUIRED if name not in spared] + ([] if self.by is None else [self.by])

    def label(self, text: str, column: str) -> float | str:
        """A label of the file; ValueError says what is wrong with it."""
        if self.spellings is None:
            assert self.label_range is not None
            return number(text, column, self.label_range)
        written = spelled(text)
        if written not in self.spellings:
            known = ", ".join(sorted({name for name in self.spellings.values() if name}))
            raise ValueError(f"{column} {text.strip()!r} is no class; there are {known}")
        return self.spellings[written] or ""  # of a modality alone, what is left out is no label

    def leaves_out(self, text: str) -> bool:
        """Whether clips of a label are not wanted."""
        return self.spellings is not None and self.spellings.get(spelled(text), "") is None


@dataclass(frozen=True)
class Clip:
    """One utterance.

    Attributes
    ----------
    clip_id : str
        "video$_$clip", of the label file's video_id and clip_id: unlike the latter it names one clip of all.
    video_id, text, split : str
        Source video; transcript; 'train', 'valid' or 'test', or the fold (see `cmc.corpus.folds`).
    label, label_T, label_A, label_V : float or str
        Multimodal label, and those of text, audio and vision alone: numbers, NaN where there is none; or names of
        emotions, "" where there is none.
    path : str
        Of its video, from the data set's folder on; "" if it lies in Raw/<video_id>/<clip_id>.mp4.
    start, end : float
        The part of that recording, in seconds; `end` is infinite if it is the recording's.
    speaker : str
        Who speaks, "" if the label file does not say.
    """

    clip_id: str
    video_id: str
    text: str
    split: str
    label: float | str
    label_T: float | str = math.nan
    label_A: float | str = math.nan
    label_V: float | str = math.nan
    path: str = ""
    start: float = 0.0
    end: float = math.inf
    speaker: str = ""

    @property
    def cut(self) -> bool:
        """Whether it is a part of a recording."""
        return self.start > 0 or math.isfinite(self.end)


@dataclass
class Manifest:
    """Clips in the label file's order, and the rows that can't be used as (clip_id, stage, reason)."""

    clips: list[Clip] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)


def videos(folder: Path) -> list[Path]:
    """All videos of a folder and those below it, by name."""
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    )


def transcript_beside(video: Path) -> str | None:
    """What the file says that lies beside a video, under its name with the suffix .txt; None if none does."""
    path = video.with_suffix(TRANSCRIPT)
    return " ".join(decoded(path).split()) if path.is_file() else None


def label_file(root: str | Path) -> Path | None:
    """The label file in a data set's folder, if there is one."""
    return next((Path(root) / name for name in LABEL_FILES if (Path(root) / name).is_file()), None)


def known(label: float | str) -> bool:
    """Whether there is a label."""
    return label == label and label != ""


def read(path: str | Path, rules: Rules) -> Manifest:
    """Read a label file, refusing rows that can't be used.

    Parameters
    ----------
    path : path
        CSV with at least the columns video_id, clip_id, text, label, mode; label_T, label_A, label_V where
        there are unimodal labels; path where videos lie elsewhere than Raw/<video_id>/<clip_id>.mp4, and start,
        end in seconds where a clip is a part of one; speaker where it is known. Ids stay text: 0001
        keeps its zeros.
    rules : Rules

    Returns
    -------
    Manifest
        A row is refused for an id that is no plain file name or was seen before, a label that is no number,
        outside the range or no class, an unknown split, an empty transcript, a path that leads out of the folder,
        a start and end that are no part of a recording.

    Raises
    ------
    ManifestError
        If the file can't be decoded, lacks a column, has no row, or can't be divided into folds.
    """
    manifest, seen, groups = Manifest(), dict[str, tuple[int, str]](), []
    for line, row in rows(path, rules):
        video, clip = (row[name].strip() for name in ("video_id", "clip_id"))
        name = f"{video}{SEPARATOR}{clip}"
        try:
            entry = check(row, name, rules)
            if name in seen:
                raise ValueError(duplicate(*seen[name], line, entry.split))
            seen[name] = line, entry.split
            manifest.clips.append(entry)
            groups.append(entry.split)
        except (ValueError, LeftOut) as reason:
            # an id may be refused for line breaks, which the list could not hold
            stage = LEFT_OUT if isinstance(reason, LeftOut) else "manifest"
            manifest.refused.append((escaped(name), stage, str(reason)))
    if not manifest.clips and not manifest.refused:
        raise ManifestError(f"{path} has a header and no rows")
    if rules.by is not None and manifest.clips:
        try:
            divided = folds.assign(groups, rules.folds)
        except folds.FoldError as error:
            raise ManifestError(f"{path}, by its column {rules.by}: {error}") from None
        manifest.clips = [
            replace(clip, split=fold) for clip, fold in zip(manifest.clips, divided, strict=True)
        ]
    return manifest


def duplicate(first: int, split: str, line: int, other: str) -> str:
    """Why the row on `line`, of the split `other`, is refused: the row on `first` has its id."""
    if split == other:
        return f"duplicate id; line {first} is kept and line {line} refused"
    return f"{TORN}; {escaped(split)} on line {first}, {escaped(other)} on line {line}"


def escaped(text: str) -> str:
    """A text of a stranger's file on one line, harmless on a terminal: what can't be printed as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def rows(path: str | Path, rules: Rules) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row, rows of nothing but commas left out."""
    text, line = decoded(path), 0
    # strict: a quote that is never closed would swallow the rows behind it
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    try:
        reader.fieldnames = header = [name.strip() for name in reader.fieldnames or []]
        check_header(path, header, rules)
        line = reader.line_num
        for row in reader:
            line = reader.line_num
            if any(row.values()):
                yield line, row
    except csv.Error as error:
        raise ManifestError(
            f"{path}: the row that begins on line {line + 1} is no CSV ({error}). Put texts that hold quotes, "
            'commas or line breaks in double quotes, and write a quote inside them twice: "he said ""no"""'
        ) from None


def decoded(path: str | Path) -> str:
    """The file's text: UTF-8, with or without byte order mark, or GBK."""
    raw = Path(path).read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {raw[error.start]:#04x} at {error.start}"
    try:
        text = raw.decode("gb18030")  # GBK and all that it lacks
    except UnicodeDecodeError:
        text = None
    if text is None or not chinese(text):
        kind = "UTF-8 CSV" if Path(path).suffix.lower() == ".csv" else "UTF-8"
        raise ManifestError(f"{path} is neither UTF-8 ({place}) nor Chinese in GBK; save it as {kind}")
    log.info("%s is no UTF-8 and was read as GBK", path)
    return text


def chinese(text: str) -> bool:
    """Whether text that was decoded as GBK can be that.

    Western 8-bit text decodes too, to characters that nobody writes: the common ones, which are all of
    GB 2312, need two bytes of 0xa1 or more, so two accented letters in a row.
    """
    beyond_ascii = [character for character in text if not character.isascii()]
    common = len("".join(beyond_ascii).encode("gb2312", errors="ignore")) // 2
    return common > len(beyond_ascii) / 2


def check_header(path: str | Path, header: list[str], rules: Rules) -> None:
    missing = [name for name in rules.required if name not in header]
    if missing:
        check_commas(path, header)
        raise ManifestError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"found {', '.join(header) or 'nothing'}. Its first line must name the columns, with commas between."
            + " Without transcripts, set datasets.<name>.transcribe to a Whisper model."
            * (missing == ["text"])
            + " Without splits of its own, divide it into folds: datasets.<name>.split: {by: speaker, folds: 5}."
            * (missing == ["mode"])
        )
    if twice := [name for name in (*rules.required, *UNIMODAL, "path", *SPAN) if header.count(name) > 1]:
        raise ManifestError(f"{path} has the column {twice[0]} {header.count(twice[0])} times; leave one")


def check_commas(path: str | Path, header: Sequence[str]) -> None:
    """Refuse a header whose columns something else than commas divides."""
    for delimiter, name in DELIMITERS.items():
        if len(header) == 1 and delimiter in header[0]:
            raise ManifestError(
                f"{path} has {name} between its columns; expected commas. Save it as comma-separated CSV; "
                f"its header is {header[0]!r}"
            )


def check(row: dict[str, str], name: str, rules: Rules) -> Clip:
    """A row as a Clip, its split for now what no fold may divide; ValueError says what is wrong with it."""
    for column in ("video_id", "clip_id"):
        plain_name(row[column].strip(), column)
    if name.partition(SEPARATOR)[0] != row["video_id"].strip():
        raise ValueError(f"video_id {row['video_id']!r} runs into the {SEPARATOR!r} that ends it in {name!r}")
    if None in row:
        more = len(row[None])  # type: ignore[index]  # where csv puts fields beyond the header
        raise ValueError(f"the row has {more} fields more than the header; quote texts with commas")
    if rules.leaves_out(row["label"]):
        raise LeftOut(f"label {row['label'].strip()!r} is left out by the config")
    split = SPLIT_NAMES.get(row["mode"].strip().lower()) if rules.by is None else row[rules.by].strip()
    if split is None:
        raise ValueError(f"unknown split {row['mode']!r}; expected {', '.join(SPLITS)}")
    if not split:
        raise ValueError(f"{rules.by} is empty: it says whose clips stay together")
    said = row.get("text", "")
    if not said.strip() and not rules.transcribed:
        raise ValueError("empty transcript")
    if "\0" in said:
        raise ValueError("the transcript holds a NUL character")
    labels = {"label": rules.label(row["label"], "label")}
    for column in UNIMODAL:
        if row.get(column, "").strip():
            labels[column] = rules.label(row[column], column)
        elif rules.spellings is not None:
            labels[column] = ""
    return Clip(
        clip_id=name,
        video_id=row["video_id"].strip(),
        text=" ".join(said.split()),
        split=split,
        **labels,  # type: ignore[arg-type]
        path=inner_path(row.get("path", "").strip()),
        **span(row.get("start", "").strip(), row.get("end", "").strip()),
        speaker=" ".join(row.get("speaker", "").split()),
    )


def inner_path(value: str) -> str:
    """Refuse paths that lead out of the data set's folder, or that the workflow can't hold."""
    if os.path.isabs(value) or ".." in Path(value).parts or re.search(f"[{UNFIT}]", value):
        raise ValueError(f"path {value!r} is no path within the data set's folder")
    return value


def span(start: str, end: str) -> dict[str, float]:
    """start and end in seconds; ValueError if they are no part of a recording."""
    try:
        found = {"start": float(start or 0), "end": float(end or "inf")}
    except ValueError:
        raise ValueError(f"start {start!r} or end {end!r} is no number of seconds") from None
    if not 0 <= found["start"] < found["end"]:
        raise ValueError(f"start {start!r} and end {end!r} are no part of a recording")
    return found


def plain_name(value: str, column: str) -> None:
    """Refuse ids that would leave the data set's folder, or that file names or the workflow can't hold."""
    if value in ("", ".", "..") or re.search(rf"[/\\{UNFIT}]", value):
        raise ValueError(f"{column} {value!r} is no plain file name")
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{column} {value[:20]!r}... has {len(value.encode())} bytes; no file name is that long"
        )


def number(text: str, column: str, label_range: tuple[float, float]) -> float:
    low, high = label_range
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is no number") from None
    if not low <= value <= high:
        raise ValueError(f"{column} {value:g} is outside [{low:g}, {high:g}]")
    return value


def video_path(root: str | Path, clip: str, realpath: Callable[[str], str] = os.path.realpath) -> str:
    """Where a clip's video is: <root>/Raw/<video>/<clip>.<extension>; the .mp4 name if there is none.

    Names that look the same are the same: accented letters may be composed in one and decomposed in the other, as
    archives made on a Mac have them.

    Parameters
    ----------
    root : path
    clip : str
    realpath : callable
        `os.path.realpath`, or one that remembers the root and the folders, where many clips are asked for.

    Raises
    ------
    ManifestError
        If the file or its folder is a link that leads out of the root.
    """
    video, name = clip.split(SEPARATOR, 1)
    root = str(Path(root))  # without ./ and //
    return inside(root, located(os.path.join(root, "Raw"), video, name, EXTENSIONS), realpath)


def recording(root: str | Path, clip: Clip, realpath: Callable[[str], str] = os.path.realpath) -> str:
    """The file that a clip is, or is a part of; see `video_path`."""
    if not clip.path:
        return video_path(root, clip.clip_id, realpath)
    root = str(Path(root))
    return inside(root, os.path.join(root, clip.path), realpath)


def inside(root: str, path: str, realpath: Callable[[str], str]) -> str:
    """The same path; ManifestError if it, or its folder, is a link that leads out of the root."""
    folder = os.path.dirname(path)
    target = os.path.realpath(path) if os.path.islink(path) else os.path.join(realpath(folder), "")
    if not target.startswith(os.path.join(realpath(root), "")):
        raise ManifestError(
            f"{path} leads out of {root}, to {os.path.realpath(path)}; copy the video in, or make {root} "
            "itself the link"
        )
    return path


def clip_path(folder: str | Path, clip: str, suffix: str) -> Path:
    """Where a clip's file of another kind is: <folder>/<video>/<clip><suffix>."""
    video, name = clip.split(SEPARATOR, 1)
    return Path(located(str(Path(folder)), video, name, (suffix,)))


def located(base: str, video: str, name: str, suffixes: Sequence[str]) -> str:
    """Path of <base>/<video>/<name><suffix> as it is on the disk, or, with the first suffix, as it would be."""
    path = os.path.join(base, video, name + suffixes[0])
    if os.path.isfile(path):
        return path
    folder = os.path.join(base, video)
    if not os.path.isdir(folder):
        folder = os.path.join(base, listing(base).get((alike(video), ""), [video])[0])
    there = listing(folder)
    for suffix in suffixes:
        for found in there.get((alike(name), suffix), []):
            if os.path.isfile(found := os.path.join(folder, found)):
                return found
    return path


def alike(name: str) -> str:
    """A name as all that look like it."""
    return unicodedata.normalize("NFC", name)


def listing(folder: str) -> dict[tuple[str, str], list[str]]:
    """Names in a folder by stem and suffix in lower case; by the whole name and "" too, for folders have dots."""
    try:
        return _listing(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@cache
def _listing(folder: str, changed: int) -> dict[tuple[str, str], list[str]]:
    names: dict[tuple[str, str], list[str]] = {}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        for key in dict.fromkeys([(alike(stem), suffix.lower()), (alike(name), "")]):
            names.setdefault(key, []).append(name)
    return names


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
    for optional in ("path", "speaker"):
        if not any(getattr(clip, optional) for clip in manifest.clips):
            columns.remove(optional)
    if not any(clip.cut for clip in manifest.clips):
        columns = [name for name in columns if name not in SPAN]
    table = [[shown(getattr(clip, name)) for name in columns] for clip in manifest.clips]
    write_csv(clips_path, columns, table)
    write_csv(refused_path, ["clip_id", "stage", "reason"], manifest.refused)


def shown(value: float | str) -> float | str:
    """A value as the table has it: nothing for what is not known, or not limited."""
    return "" if value != value or value == math.inf else value


def write_csv(path: str | Path, header: list[str], table: list) -> None:
    with files.whole(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])
