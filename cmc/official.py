"""The official feature files (pickles) of CH-SIMS, CH-SIMS v2, CMU-MOSI and CMU-MOSEI, as our feature file.

A pickle is a program: Python's own loader calls whatever the file names. `Machine` below reads these files
without being able to call anything. No function or class ever reaches its stack, arrays stay records until
`Array.values` has checked them, and large ones are views of the mapped file, so a file of many gigabytes needs
little memory.
"""

import enum
import hashlib
import logging
import math
import mmap
import os
import pickle
import re
import reprlib
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import MODALITIES, SPLITS, quarantine, store
from cmc.features import Features, Unusable
from cmc.manifest import SEPARATOR, Clip, plain_name

log = logging.getLogger(__name__)

PUBLISHED = {  # SHA-256 (from MMSA's README) -> name
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI unaligned_50",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI aligned_50",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI unaligned_50",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI aligned_50",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS unaligned_39",
}
DTYPES = {"text": "float16", "audio": "float32", "vision": "float32"}  # pixels don't fit float16
UNIMODAL = {letter: f"regression_labels_{letter}" for letter in "TAV"}
INPUT_IDS, ATTENTION_MASK = 0, 1  # rows of text_bert
AGAIN = "obtain it again from the data set's owners and compare its SHA-256 with theirs"


class OfficialError(Exception):
    """An official feature file that can't be used at all."""


def import_features(
    path: str | Path,
    out: str | Path,
    quarantine_out: str | Path,
    *,
    label_range: tuple[float, float],
    max_share: float,
    vocabulary: int | None = None,
    modalities: Iterable[str] = MODALITIES,
) -> None:
    """Write the splits train, valid and test of an official feature file as one of ours.

    Sequences are cut to their lengths. A frame of audio or vision with a value that is not finite becomes a row
    of NaN, a frame in which nothing was found; the log counts them. Labels stored as float32 become the decimal
    that they stand for (0.6, not 0.60000002), as a label file has it.

    Parameters
    ----------
    path : path
        Pickle of protocol 2 to 5: split -> key -> one entry a clip. Needed are id ("video$_$clip"), raw_text,
        text (n, tokens, dims), text_bert (n, 3, tokens), audio (n, frames, dims), vision (n, frames, dims),
        regression_labels; audio_lengths and vision_lengths unless both are aligned with the text. CH-SIMS adds
        regression_labels_T, _A, _V.
    out : path
        Feature file to write: text as float16, audio and vision as float32.
    quarantine_out : path
        CSV to write, columns clip, stage, reason: the clips that can't be used, the second of two equal ids
        among them.
    label_range : (float, float)
        Lowest and highest label of the data set, inclusive.
    max_share : float
        Of all clips, in [0, 1], that may be unusable.
    vocabulary : int, optional
        Of the text encoder; a token id beyond it is logged as a warning.
    modalities : iterable of str
        Those to take, text among them; the file need not have the others.

    Raises
    ------
    OfficialError
        If the file can't be read, is no such pickle, names anything beyond arrays and plain containers, or lacks
        a split or key. Neither output is touched.
    QuarantineError
        If more clips than allowed can't be used, or a split is left without clips. The CSV is written.
    """
    splits, sha256 = load(path)
    recipe = {"version": version(path, sha256), "settings": {"sha256": sha256, "file": Path(path).name}}
    result, tokens = Result(), Tokens(vocabulary)
    with store.create(out) as writer:
        for name in SPLITS:
            add(writer, Split(path, name, splits.pop(name), modalities), recipe, label_range, result, tokens)
        tokens.check()
        result.check(max_share, quarantine_out)
        writer.finish(result.table())


def load(path: str | Path) -> tuple[dict, str]:
    """What the file holds, split -> key -> value with arrays as `Array`, and the file's SHA-256."""
    if not Path(path).is_file():
        raise OfficialError(f"{path} is no file; give the path of the official pickle")
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise OfficialError(f"{path} is empty; {AGAIN}")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OfficialError(
            f"{path} can't be read: {error.strerror or error}; see its permissions and disk"
        ) from None
    return content(path, data), sha256


def content(path: str | Path, data: memoryview) -> dict:
    splits = unpickle(path, data)
    if not isinstance(splits, dict):
        raise OfficialError(f"{path}: expected a dict of splits, found {kind(splits)}; {AGAIN}")
    if missing := [name for name in SPLITS if name not in splits]:
        raise OfficialError(f"{path} lacks the split {', '.join(missing)}; found {listed(splits)}. {AGAIN}")
    for name in splits:
        if name not in SPLITS:
            log.info("%s: split %s is skipped, it is none of %s", path, shown(name), ", ".join(SPLITS))
    return splits


def version(path: str | Path, sha256: str) -> str:
    if sha256 in PUBLISHED:
        return f"official {PUBLISHED[sha256]}"
    log.info("%s is none of the files whose SHA-256 is published: %s", path, ", ".join(PUBLISHED.values()))
    return f"unknown file {sha256[:12]}"


# ------------------------------------------------------------------------------------------ a split and its clips


class Split:
    """One split, each key checked as it is read.

    Attributes
    ----------
    ids : list of str
    text : ndarray (n, tokens, dims)
        Numbers, or objects that may be numbers.
    frames : dict
        'audio', 'vision' -> the same, of those that are taken.
    bert : ndarray (n, 3, tokens)
        Token ids, attention mask, token types.
    """

    def __init__(self, path: str | Path, name: str, held: object, modalities: Iterable[str]) -> None:
        self.path, self.name, self.held = path, name, held
        if not isinstance(held, dict):
            raise OfficialError(f"{path}, split {name}: expected a dict, found {kind(held)}; {AGAIN}")
        self.keys = list(held)
        if "text" not in held and "text_bert" in held:
            raise OfficialError(
                f"{path}, split {name}: text_bert is there but not text. Hidden states are needed; "
                "use a file that holds both"
            )
        self.ids = [as_text(value) for value in self.series("id", None)]
        self.texts = [as_text(value) for value in self.series("raw_text", len(self.ids))]
        self.text, self.bert = self.array("text"), self.array("text_bert")
        self.frames = {modality: self.array(modality) for modality in modalities if modality != "text"}
        tokens = self.text.shape[1]
        if self.bert.shape[1:] != (3, tokens):
            self.fail("text_bert", f"shape {(len(self.ids), 3, tokens)}, as text has", f"{self.bert.shape}")
        self.labels = {"M": self.numbers("regression_labels")}
        for letter, key in UNIMODAL.items():
            self.labels[letter] = self.numbers(key) if key in held else [math.nan] * len(self.ids)
        self.lengths = {modality: self.length(modality) for modality in self.frames}

    def fail(self, key: str, expected: str, found: str) -> None:
        raise OfficialError(
            f"{self.path}, split {self.name}, key {key}: expected {expected}, found {found}; {AGAIN}"
        )

    def get(self, key: str) -> object:
        """A key's value, once; arrays checked."""
        if key not in self.held:
            self.fail(key, "it to be there", f"the keys {listed(self.keys)}")
        value = self.held.pop(key)  # so that nothing is in memory twice
        try:
            return value.values() if isinstance(value, Array) else value
        except ValueError as reason:
            raise OfficialError(f"{self.path}, split {self.name}, key {key}: {reason}; {AGAIN}") from None

    def series(self, key: str, count: int | None) -> list:
        """One plain value a clip, from a list or an array (n,) or (n, 1)."""
        value = self.get(key)
        if isinstance(value, np.ndarray) and (value.ndim == 1 or value.shape[1:] == (1,)):
            value = list(value.reshape(-1))
        if not isinstance(value, list | tuple):
            self.fail(key, "a list or one-dimensional array", kind(value))
        if count is not None and len(value) != count:
            self.fail(key, f"{count} entries, as id has", str(len(value)))
        if not all(map(plain, value)):
            self.fail(key, "plain values", kind(next(item for item in value if not plain(item))))
        return list(value)

    def numbers(self, key: str) -> list[float]:
        values = self.series(key, len(self.ids))
        try:
            # str: the shortest decimal that is this float32
            return [float(str(v)) if isinstance(v, np.float32) else float(v) for v in values]
        except (TypeError, ValueError) as error:
            self.fail(key, "numbers", shown(str(error)))

    def array(self, key: str) -> np.ndarray:
        """(n, ., .) of numbers."""
        value = self.get(key)
        if not isinstance(value, np.ndarray) or value.ndim != 3:
            self.fail(key, "a three-dimensional array", kind(value))
        if len(value) != len(self.ids):
            self.fail(key, f"{len(self.ids)} clips, as id has", str(len(value)))
        if value.dtype.kind not in "biufO" or 0 in value.shape:
            self.fail(key, "numbers, at least one", kind(value))
        return value

    def length(self, modality: str) -> list[float] | None:
        """Frames of each clip; None where they are as many as the text's tokens."""
        key, array = f"{modality}_lengths", self.frames[modality]
        if key in self.held:
            return self.numbers(key)
        if array.shape[1] != self.text.shape[1]:
            frames = f"{modality} has {array.shape[1]} frames, text {self.text.shape[1]}"
            self.fail(key, f"it to be there, as {frames}", "none")
        return None

    def clip(self, i: int, label_range: tuple[float, float]) -> Clip:
        """The row of the table `clips`; Unusable says what is wrong with it."""
        video, separator, name = self.ids[i].partition(SEPARATOR)
        if not separator:
            raise Unusable(f"the id has no {SEPARATOR} between video and clip")
        try:
            plain_name(video, "video")
            plain_name(name, "clip")
        except ValueError as reason:
            raise Unusable(str(reason)) from None
        if "\0" in self.texts[i]:
            raise Unusable("raw_text holds a NUL character")
        labels = {letter: values[i] for letter, values in self.labels.items()}
        for letter, value in labels.items():
            missing = letter in UNIMODAL and math.isnan(value)  # not annotated
            if not missing and not label_range[0] <= value <= label_range[1]:
                key = UNIMODAL.get(letter, "regression_labels")
                raise Unusable(f"{key} {value:g} is outside [{label_range[0]:g}, {label_range[1]:g}]")
        return Clip(clip=self.ids[i], video=video, text=self.texts[i].strip(), split=self.name, **labels)

    def features(self, i: int) -> dict[str, Features]:
        """Features of a clip in each modality; Unusable says why there are none."""
        ids = self.token_ids(i)
        states = cut("text", self.text[i], len(ids))
        # a token's state and its id must stay a pair, so no row of the text may be missing
        if not np.isfinite(states).all() or np.abs(states).max() > np.finfo(DTYPES["text"]).max:
            raise Unusable(f"text holds a hidden state that is not finite or does not fit {DTYPES['text']}")
        result = {"text": Features(states.astype(DTYPES["text"]), token_ids=ids)}
        for modality, lengths in self.lengths.items():
            values = cut(modality, self.frames[modality][i], len(ids) if lengths is None else lengths[i])
            missing = ~np.isfinite(values).all(axis=1)
            if missing.all():
                raise Unusable(f"{modality} holds no frame of finite values")
            values[missing] = np.nan
            result[modality] = Features(values)
        return result

    def token_ids(self, i: int) -> np.ndarray:
        """(tokens,) int32, without padding."""
        bert = as_numbers("text_bert", self.bert[i], np.float64)
        ids, mask = bert[INPUT_IDS], bert[ATTENTION_MASK]
        length = int(np.count_nonzero(mask))
        if not np.array_equal(mask, np.arange(len(mask)) < length):
            raise Unusable("text_bert's attention mask is not ones followed by zeros")
        if not length:
            raise Unusable("text has no token")
        ids = ids[:length]
        if not np.array_equal(ids, np.clip(np.trunc(ids), 0, np.iinfo(np.int32).max)):
            raise Unusable("text_bert holds token ids that are no whole numbers of at least 0")
        return ids.astype(np.int32)


def cut(modality: str, values: np.ndarray, length: float) -> np.ndarray:
    """The first `length` rows (length, dims) as new float32."""
    if not float(length).is_integer() or length < 0:
        raise Unusable(f"{modality} has the length {length:g}")
    if not length:
        raise Unusable(f"{modality} has no frame")
    if length > len(values):
        raise Unusable(f"{modality} has the length {length:g}, but its array ends after {len(values)}")
    return as_numbers(modality, values[: int(length)], np.float32)


def as_numbers(key: str, values: np.ndarray, dtype: type) -> np.ndarray:
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f"{key} holds something other than numbers") from None


def as_text(value: object) -> str:
    """Text of text or bytes; what can't be decoded shows as backslashes, which no id may have."""
    raw = value if isinstance(value, bytes) else str(value).encode(errors="backslashreplace")
    return raw.decode(errors="backslashreplace")


# ------------------------------------------------------------------------------------------ what becomes of them


@dataclass
class Result:
    """Clips taken, and those that can't be used as (clip, stage, reason)."""

    clips: dict[str, Clip] = field(default_factory=dict)
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    def refuse(self, clip: str, reason: str) -> None:
        log.warning("%s can't be used: %s", shown(clip), reason)
        self.refused.append((clip, "import", reason))

    def table(self) -> pd.DataFrame:
        columns = [f.name for f in fields(Clip)]
        return pd.DataFrame([vars(clip) for clip in self.clips.values()], columns=columns)

    def check(self, max_share: float, path: str | Path) -> None:
        """Write the quarantine; QuarantineError if too much is lost."""
        refused = pd.DataFrame(self.refused, columns=quarantine.COLUMNS, dtype=str)
        quarantine.write(refused, path)
        total = len(set(refused["clip"]) | set(self.clips))
        quarantine.check(refused, total, max_share, path)
        quarantine.check_splits((clip.split for clip in self.clips.values()), path)


@dataclass
class Tokens:
    """What the token ids show about the tokenizer: [CLS] first, [SEP] last, all below the vocabulary."""

    vocabulary: int | None
    first: Counter = field(default_factory=Counter)
    last: Counter = field(default_factory=Counter)
    beyond: list[str] = field(default_factory=list)

    def add(self, clip: str, ids: np.ndarray) -> None:
        self.first[int(ids[0])] += 1
        self.last[int(ids[-1])] += 1
        if self.vocabulary is not None and ids.max() >= self.vocabulary:
            self.beyond.append(clip)

    def check(self) -> None:
        for name, seen in {"first": self.first, "last": self.last}.items():
            if len(seen) > 1:
                common = ", ".join(f"{token} in {count}" for token, count in seen.most_common(3))
                log.warning("the %s token is not the same in all clips (%s): special tokens?", name, common)
        if self.beyond:
            log.warning(
                "%d clips, %s first, hold token ids beyond the encoder's vocabulary of %d: "
                "is text_encoder the one that made these features?",
                len(self.beyond), self.beyond[0], self.vocabulary,
            )  # fmt: skip


def declare(writer: store.Writer, split: Split, recipe: dict) -> None:
    """Declare the modalities at the first split; the others must have the same dimensions."""
    for modality, array in {"text": split.text, **split.frames}.items():
        dims = array.shape[2]
        if modality in writer.offsets:
            if dims != (first := writer.file[modality]["values"].shape[1]):
                split.fail(modality, f"{first} dimensions, as in {SPLITS[0]}", str(dims))
        else:
            columns = [f"{modality}_{i:03d}" for i in range(dims)]
            made = store.Recipe("official", columns=columns, rate=None, dtype=DTYPES[modality], **recipe)
            writer.modality(modality, made)


def add(
    writer: store.Writer,
    split: Split,
    recipe: dict,
    label_range: tuple[float, float],
    result: Result,
    tokens: Tokens,
) -> None:
    """Append a split's clips."""
    declare(writer, split, recipe)
    missing, frames, before = Counter(), Counter(), len(result.clips)
    for i, name in enumerate(split.ids):
        try:
            clip, features = split.clip(i, label_range), split.features(i)
            if name in result.clips:
                raise Unusable(f"duplicate id; the first, in {result.clips[name].split}, is kept")
        except Unusable as reason:
            result.refuse(name, str(reason))
            continue
        result.clips[name] = clip
        tokens.add(name, features["text"].token_ids)
        for modality, found in features.items():
            writer.append(modality, found)
            frames[modality] += len(found.values)
            missing[modality] += int(np.isnan(found.values[:, 0]).sum())
    log.info("%s: %d of %d clips imported", split.name, len(result.clips) - before, len(split.ids))
    for modality, count in missing.items():
        if count:
            log.warning("%s: %d of %d %s frames hold a value that is not finite and count as missing",
                        split.name, count, frames[modality], modality)  # fmt: skip


# ------------------------------------------------------------------------------------------ reading a pickle


class Refused(Exception):
    """Something in a pickle that data never need."""


class Name(enum.Enum):
    """The globals that may be named. They stand for themselves on the stack; none is the real thing."""

    RECONSTRUCT = enum.auto()
    FROMBUFFER = enum.auto()
    SCALAR = enum.auto()
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()
    ORDERED_DICT = enum.auto()


ADMITTED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Name.RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Name.FROMBUFFER for core in ("core", "_core")},  # protocol 5
    **{(f"numpy.{core}.multiarray", "scalar"): Name.SCALAR for core in ("core", "_core")},
    ("numpy", "ndarray"): Name.NDARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    ("_codecs", "encode"): Name.ENCODE,  # bytes in protocol 2
    **{(module, "bytes"): Name.BYTES for module in ("__builtin__", "builtins")},  # b"" in protocol 2
    ("collections", "OrderedDict"): Name.ORDERED_DICT,
}
NUMERIC_OR_TEXT = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}|O[48]?")
SMALL = 1 << 12  # bytes; longer pieces stay views of the file
PROTOCOLS = range(2, 6)
LONGEST_INTEGER = 16  # bytes; no label or length needs more, and longer ones can be too slow to print
LONGEST_NAME = 256
MOST_DIMENSIONS = 4


@dataclass(repr=False, eq=False)
class Dtype:
    """A pickled numpy.dtype, such as 'f4' and '<'."""

    kind: str
    order: str = "="

    def numpy(self) -> np.dtype:
        """The real one, if it is of numbers, text or objects; else ValueError."""
        if not NUMERIC_OR_TEXT.fullmatch(self.kind) or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"dtype {shown(self.order + self.kind)} is none of numbers, text and objects")
        return np.dtype(object if self.kind[0] == "O" else self.order + self.kind)


@dataclass(repr=False, eq=False)
class Array:
    """A pickled numpy.ndarray, all of it as the file claims."""

    shape: tuple = ()
    dtype: Dtype | None = None
    fortran: bool = False
    data: object = None

    def values(self) -> np.ndarray:
        """The real one, read-only and, for numbers, without a copy.

        Raises
        ------
        ValueError
            If the data are not what shape and dtype claim, or objects aren't plain. Nothing is allocated first.
        """
        if self.dtype is None:
            raise ValueError("an array without a state")
        if len(self.shape) > MOST_DIMENSIONS or not all(map(is_size, self.shape)):
            raise ValueError(f"an array claims the shape {shown(self.shape)}")
        dtype, count = self.dtype.numpy(), math.prod(self.shape)
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not isinstance(data, list if dtype.kind == "O" else bytes | memoryview):
            raise ValueError(f"an array of {dtype} holds its data as {kind(data)}")
        if len(data) != (claimed := count if dtype.kind == "O" else count * dtype.itemsize):
            raise ValueError(f"an array of shape {self.shape} and {dtype} needs {claimed} bytes or objects, "
                             f"found {len(data)}")  # fmt: skip
        if dtype.kind == "U" and np.frombuffer(data, self.dtype.order + "u4").max(initial=0) > sys.maxunicode:
            raise ValueError("an array of text holds code points beyond Unicode")  # numpy would not check
        flat = objects(data) if dtype.kind == "O" else np.frombuffer(data, dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def objects(items: list) -> np.ndarray:
    if (strange := next((item for item in items if not plain(item)), plain)) is not plain:
        raise ValueError(f"an object array holds {kind(strange)}; expected text and numbers alone")
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat


def is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def plain(value: object) -> bool:
    return value is None or isinstance(value, str | bytes | int | float | np.generic)


def unpickle(path: str | Path, data: memoryview) -> object:
    """What a pickle holds, with `Array` for arrays; OfficialError if it is none or wants more than data."""
    if data[0] != pickle.PROTO[0] or len(data) < 2 or data[1] not in PROTOCOLS:
        raise OfficialError(
            f"{path} is no pickle of protocol 2 to 5: it begins with {bytes(data[:16])!r}. Check that the "
            f"download is not a web page or an archive; else {AGAIN}"
        )
    machine = Machine(data)
    try:
        return machine.run()
    except Refused as reason:
        raise OfficialError(
            f"{path} is refused: at byte {machine.start} it {reason}. No feature file needs that and it could run "
            f"code; don't open it with other programs, and {AGAIN}"
        ) from None
    except (LookupError, TypeError, ValueError, OverflowError, MemoryError, struct.error) as error:
        raise OfficialError(
            f"{path} is damaged: at byte {machine.start}, {shown(str(error))}; {AGAIN}"
        ) from None


class Machine:
    """Interpreter of the pickle opcodes that plain data and numpy arrays need.

    Each opcode is a method or an entry of a table below; one that is in none is refused. Memory stays
    proportional to the file: a piece longer than the file is refused before it is read, and `spend` bounds what
    copies of memoized pieces may add up to.
    """

    def __init__(self, data: memoryview) -> None:
        self.data, self.at, self.start = data, 0, 0
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below each mark
        self.memo: dict[int, object] = {}
        self.spent = 0

    def run(self) -> object:
        while True:
            self.start = self.at
            code = self.data[self.at]
            self.at += 1
            if code == STOP:
                return self.stack.pop()
            if code in CONSTANTS:
                self.stack.append(CONSTANTS[code])
            elif code in NUMBERS:
                self.stack.append(self.number(NUMBERS[code]))
            elif code in PIECES:
                size, convert = PIECES[code]
                self.stack.append(convert(self.piece(self.number(size))))
            elif code in EMPTY:
                self.stack.append(EMPTY[code]())
            elif code in ACTIONS:
                ACTIONS[code](self)
            else:
                raise Refused(f"uses the opcode {chr(code)!a}, which arrays and containers don't")

    def number(self, layout: struct.Struct) -> int | float:
        [value] = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value

    def piece(self, length: int) -> memoryview:
        if length > (left := len(self.data) - self.at):
            raise ValueError(f"the next piece has {length} bytes but {left} are left: the file is cut off")
        self.at += length
        return self.data[self.at - length : self.at]

    def line(self) -> str:
        text, newline, _ = bytes(self.data[self.at : self.at + LONGEST_NAME]).partition(b"\n")
        if not newline:
            raise ValueError("a name does not end")
        self.at += len(text) + 1
        return text.decode()

    def spend(self, length: int) -> None:
        self.spent += length
        if self.spent > len(self.data):
            raise Refused("unfolds to more bytes than it has")

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def tuple_since_mark(self) -> None:
        items = tuple(self.since_mark())
        self.stack.append(items)

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise ValueError("too few items for a tuple")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError(f"items are added to {kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def update(self, items: list) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise ValueError(f"{len(items)} keys and values are added to {kind(self.stack[-1])}")
        for key in items[::2]:
            if type(key) not in (str, bytes):  # others can be made slow to hash
                raise Refused(f"has {kind(key)} as a key")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def name(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise ValueError(f"a name is {kind(name)}")
        if (module, name) not in ADMITTED:
            raise Refused(f"names {shown(f'{module}.{name}')}")
        self.stack.append(ADMITTED[module, name])

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def reduce(self) -> None:
        """Where Python's machine calls a function: here, the few that are known by name and arguments."""
        arguments, name = self.stack.pop(), self.stack.pop()
        match name, arguments:
            case Name.RECONSTRUCT, (Name.NDARRAY, tuple(), bytes() | str()):
                made = Array()
            case Name.FROMBUFFER, (data, Dtype() as dtype, tuple(shape), "C" | "F" as order):
                made = Array(shape, dtype, order == "F", data)
            case Name.DTYPE, (str(code), *_):
                made = Dtype(code)
            case Name.SCALAR, (Dtype() as dtype, bytes() | memoryview() | str() as data):
                made = self.scalar(dtype, data)
            case Name.ENCODE, (str(text), "latin1"):
                made = self.encode(text)
            case Name.BYTES, ():
                made = b""
            case Name.ORDERED_DICT, ():
                made = {}
            case _:
                called = name.name.lower() if isinstance(name, Name) else kind(name)
                raise Refused(f"calls {called} with {shown(arguments)}")
        self.stack.append(made)

    def scalar(self, dtype: Dtype, data: bytes | memoryview | str) -> np.generic:
        made = Array((), dtype, data=data).values()
        self.spend(made.nbytes)
        return made[()]

    def encode(self, text: str) -> bytes | str:
        """Large ones stay text until `Array.values`: two forms of the whole file would double its memory."""
        if len(text) > SMALL:
            return text
        self.spend(len(text))
        return text.encode("latin1")

    def build(self) -> None:
        """Where Python's machine sets an object's state: here, an array's or a dtype's."""
        state = self.stack.pop()
        match self.stack[-1], state:
            case Array() as made, (int(), tuple(shape), Dtype() as dtype, fortran, data):
                made.shape, made.dtype, made.data = shape, dtype, data
                made.fortran = fortran in (True, 1)
            case Dtype() as made, (int(), str(order), None, None, None, *_):
                made.order = order
            case target, _:
                raise Refused(f"sets {shown(state)} as the state of {kind(target)}")


def integer(piece: memoryview) -> int:
    if len(piece) > LONGEST_INTEGER:
        raise ValueError(f"an integer has {len(piece)} bytes")
    return int.from_bytes(piece, "little", signed=True)


def byte_string(piece: memoryview) -> bytes | memoryview:
    return bytes(piece) if len(piece) <= SMALL else piece


def unicode(piece: memoryview) -> str:
    return str(piece, "utf-8")


def python2_string(piece: memoryview) -> str:
    return str(piece, "latin1")


UINT1, UINT2, UINT4, UINT8 = (struct.Struct(f"<{code}") for code in "BHIQ")
STOP = pickle.STOP[0]
CONSTANTS = {
    pickle.NONE[0]: None,
    pickle.NEWTRUE[0]: True,
    pickle.NEWFALSE[0]: False,
    pickle.EMPTY_TUPLE[0]: (),
}
NUMBERS = {
    pickle.BININT[0]: struct.Struct("<i"),
    pickle.BININT1[0]: UINT1,
    pickle.BININT2[0]: UINT2,
    pickle.BINFLOAT[0]: struct.Struct(">d"),
}
PIECES: dict[int, tuple[struct.Struct, Callable[[memoryview], object]]] = {
    pickle.LONG1[0]: (UINT1, integer),
    pickle.LONG4[0]: (UINT4, integer),
    pickle.SHORT_BINSTRING[0]: (UINT1, python2_string),
    pickle.BINSTRING[0]: (UINT4, python2_string),
    pickle.SHORT_BINBYTES[0]: (UINT1, byte_string),
    pickle.BINBYTES[0]: (UINT4, byte_string),
    pickle.BINBYTES8[0]: (UINT8, byte_string),
    pickle.BYTEARRAY8[0]: (UINT8, byte_string),
    pickle.SHORT_BINUNICODE[0]: (UINT1, unicode),
    pickle.BINUNICODE[0]: (UINT4, unicode),
    pickle.BINUNICODE8[0]: (UINT8, unicode),
}
EMPTY = {pickle.EMPTY_LIST[0]: list, pickle.EMPTY_DICT[0]: dict}
ACTIONS: dict[int, Callable[[Machine], object]] = {
    pickle.PROTO[0]: lambda m: m.number(UINT1),
    pickle.FRAME[0]: lambda m: m.number(UINT8),  # a hint for buffering
    pickle.MARK[0]: Machine.mark,
    pickle.TUPLE[0]: Machine.tuple_since_mark,
    pickle.TUPLE1[0]: lambda m: m.tuple_of(1),
    pickle.TUPLE2[0]: lambda m: m.tuple_of(2),
    pickle.TUPLE3[0]: lambda m: m.tuple_of(3),
    pickle.APPEND[0]: lambda m: m.extend([m.stack.pop()]),
    pickle.APPENDS[0]: lambda m: m.extend(m.since_mark()),
    pickle.SETITEM[0]: lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS[0]: lambda m: m.update(m.since_mark()),
    pickle.BINPUT[0]: lambda m: m.put(m.number(UINT1)),
    pickle.LONG_BINPUT[0]: lambda m: m.put(m.number(UINT4)),
    pickle.MEMOIZE[0]: lambda m: m.put(len(m.memo)),
    pickle.BINGET[0]: lambda m: m.stack.append(m.memo[m.number(UINT1)]),
    pickle.LONG_BINGET[0]: lambda m: m.stack.append(m.memo[m.number(UINT4)]),
    pickle.GLOBAL[0]: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL[0]: Machine.stack_name,
    pickle.REDUCE[0]: Machine.reduce,
    pickle.BUILD[0]: Machine.build,
}


def shown(value: object) -> str:
    """A value from a file, short and printable."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return ascii(text)[1:-1][:200]


def kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a {type(value).__name__}"


def listed(keys: Iterable) -> str:
    return ", ".join(shown(key) for key in list(keys)[:20]) or "nothing"
