"""The official feature files (pickles) of CH-SIMS, CH-SIMS v2, CMU-MOSI and CMU-MOSEI, as our feature file."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import LABELS, MODALITIES, SPLITS, files
from cmc.corpus import quarantine
from cmc.corpus.manifest import SEPARATOR, Clip, plain_name
from cmc.exchange import pickles
from cmc.exchange.pickles import kind, plain, shown
from cmc.features import store
from cmc.features.contract import Features, Unusable

log = logging.getLogger(__name__)

PUBLISHED = {  # SHA-256 (from MMSA's README) -> name
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI unaligned_50",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI aligned_50",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI unaligned_50",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI aligned_50",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS unaligned_39",
}
DTYPES = {"text": "float16", "audio": "float32", "vision": "float32"}  # pixels don't fit float16
SPECIAL = ("[CLS]", "[SEP]")
SHOWN = 3  # names in a message
UNIMODAL = {letter: f"regression_labels_{letter}" for letter in "TAV"}
INPUT_IDS, ATTENTION_MASK = 0, 1  # rows of text_bert
MOST_TEXT = 1 << 26  # characters of a split's transcripts or ids; CMU-MOSEI's have a tenth of that
RELEASE = 256  # clips after which memory is given back
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
    encoder: Mapping | None = None,
    modalities: Iterable[str] = MODALITIES,
    trained_by: Sequence[str] = (),
) -> None:
    """Write the splits train, valid and test of an official feature file as one of ours.

    Sequences are cut to their lengths. A frame of audio or vision with a value that is not finite becomes a row
    of NaN, a frame in which nothing was found, as do those that audio_missing and vision_missing of our own
    exports name; the log counts them. Labels stored as float32 become the decimal that they stand for (0.6, not
    0.60000002), as a label file has it.

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
    encoder : mapping, optional
        Facts of the text encoder, see `features.hub.facts`. If the token ids can't be its, that is logged as a
        warning and stands as `doubt` in the settings of the text.
    modalities : iterable of str
        Those to take, text among them; the file need not have the others.
    trained_by : sequence of str
        Variants that finetune the text encoder. If there are any, one that can't have made the text is an error.

    Raises
    ------
    OfficialError
        If the file can't be read, is no such pickle, names anything beyond arrays and plain containers, or lacks
        a split or key; or if the text encoder that is to be finetuned has another width or vocabulary than the
        file's text.
    QuarantineError
        If more clips than allowed can't be used, or a split is left without clips. The CSV is written.
    """
    (splits, release), sha256 = load(path), files.sha256(path)
    recipe = {"version": version(path, sha256), "settings": {"sha256": sha256, "file": Path(path).name}}
    result, tokens = Result(), Tokens(encoder) if encoder else None
    with store.create(out) as writer:
        for name in SPLITS:
            split = Split(path, name, splits.pop(name), modalities, release)
            add(writer, split, recipe, label_range, result, tokens)
        result.check(max_share, quarantine_out)
        if tokens and trained_by and (misfit := tokens.misfit()):
            raise OfficialError(
                f"{path}: {misfit} It is to be finetuned (by {', '.join(trained_by[:SHOWN])}): set text_encoder to"
                " the one that made the file's text, or finetune.train_text_encoder to false"
            )
        if tokens and (doubt := tokens.doubt()):
            log.warning("%s", doubt)
            writer.add_settings("text", doubt=doubt)
        writer.finish(result.table())


def load(path: str | Path) -> tuple[dict, Callable[[], None]]:
    """What `pickles.load` returns, of a file that holds splits."""
    try:
        splits, release = pickles.load(path)
    except pickles.PickleError as error:
        raise OfficialError(f"{error}; {AGAIN}") from None
    check_splits(path, splits)
    return splits, release


def check_splits(path: str | Path, splits: object) -> None:
    if not isinstance(splits, dict):
        raise OfficialError(f"{path}: expected a dict of splits, found {kind(splits)}; {AGAIN}")
    if missing := [name for name in SPLITS if name not in splits]:
        raise OfficialError(f"{path} lacks the split {', '.join(missing)}; found {listed(splits)}. {AGAIN}")
    for name in splits:
        if name not in SPLITS:
            log.info("%s: split %s is skipped, it is none of %s", path, shown(name), ", ".join(SPLITS))


def text_width(path: str | Path) -> int | None:
    """Dimensions of the text's hidden states, without reading them; None if the file does not tell.

    Cheap for a file of any size, so that it can be asked before anything runs: arrays are passed over.
    """
    try:
        splits, _ = pickles.load(path)
        return splits["train"]["text"].shape[2]
    except (pickles.PickleError, LookupError, TypeError, AttributeError):
        return None  # the import says what is wrong with it


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

    def __init__(
        self,
        path: str | Path,
        name: str,
        held: object,
        modalities: Iterable[str] = MODALITIES,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.name, self.held, self.release = path, name, held, release
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
        self.missing = {modality: self.flags(modality) for modality in self.frames}

    def fail(self, key: str, expected: str, found: str) -> None:
        raise OfficialError(
            f"{self.path}, split {self.name}, key {key}: expected {expected}, found {found}; {AGAIN}"
        )

    def get(self, key: str) -> object:
        """A key's value, once; arrays checked."""
        if key not in self.held:
            self.fail(key, "it to be there", f"the keys {listed(self.keys)}")
        value = self.held.pop(key)  # so that nothing is in memory twice
        self.release()
        try:
            return value.values() if isinstance(value, pickles.Array) else value
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
        # one long text may be referred to by every clip, and each would have a copy
        if (size := sum(len(item) for item in value if isinstance(item, str | bytes))) > MOST_TEXT:
            self.fail(key, f"at most {MOST_TEXT} characters in all", str(size))
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

    def flags(self, modality: str) -> np.ndarray:
        """(n, frames), true where nothing was found: files that `cmc.exchange.mmsa` wrote tell."""
        key, shape = f"{modality}_missing", self.frames[modality].shape[:2]
        value = self.get(key) if key in self.held else np.zeros(shape, bool)
        if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != bool:
            self.fail(key, f"an array of shape {shape} and dtype bool", kind(value))
        return value

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
        columns = {LABELS[letter]: value for letter, value in labels.items()}
        return Clip(
            clip_id=self.ids[i], video_id=video, text=self.texts[i].strip(), split=self.name, **columns
        )

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
            missing = ~np.isfinite(values).all(axis=1) | self.missing[modality][i, : len(values)]
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
        # not the list: a job that fails loses what it has written, all but its log
        quarantine.check(refused, self.clips, max_share, "the job's log")
        quarantine.check_splits((clip.split for clip in self.clips.values()), "the job's log")


@dataclass
class Tokens:
    """Whether token ids can be those of the configured text encoder, whose facts `features.hub.facts` gives.

    Attributes
    ----------
    odd : dict
        What is odd -> clips, and the number that is odd there.
    """

    encoder: Mapping
    clips: int = 0
    odd: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def add(self, clip: str, text: Features) -> None:
        self.clips += 1
        ids, dims = text.token_ids, text.values.shape[1]
        first, last, largest = ids[0], ids[-1], ids.max()
        width, size, cls, sep = (self.encoder[key] for key in ("width", "vocabulary", "cls", "sep"))
        for odd, number, what in (
            (dims != width, dims, f"have hidden states of other than its {width} dimensions"),
            (largest >= size, largest, f"hold ids beyond its vocabulary of {size}"),
            (cls not in (None, first), first, f"don't begin with its [CLS], {cls}"),
            (sep not in (None, last), last, f"don't end with its [SEP], {sep}"),
        ):
            if odd:
                self.odd.setdefault(what, []).append((clip, int(number)))

    def misfit(self) -> str:
        """Why this can't be the encoder: what is odd but for the special tokens; "" if nothing is."""
        return self.doubt({what for what in self.odd if not any(token in what for token in SPECIAL)})

    def doubt(self, which: Collection[str] | None = None) -> str:
        """Why this may be the wrong encoder, of all that is odd or `which`; "" if nothing says so."""
        found = [
            f"{len(clips)} of {self.clips} clips {what} ({clips[0][0]}: {clips[0][1]})"
            for what, clips in self.odd.items()
            if which is None or what in which
        ]
        encoder = self.encoder["encoder"]
        return (
            f"Were the token ids made with the text encoder {encoder}? {'; '.join(found)}." if found else ""
        )


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
    tokens: Tokens | None,
) -> None:
    """Append a split's clips."""
    declare(writer, split, recipe)
    missing, frames, before = Counter(), Counter(), len(result.clips)
    for i, name in enumerate(split.ids):
        if i % RELEASE == 0:
            split.release()
        try:
            clip, features = split.clip(i, label_range), split.features(i)
            if name in result.clips:
                raise Unusable(f"duplicate id; the first, in {result.clips[name].split}, is kept")
        except Unusable as reason:
            result.refuse(name, str(reason))
            continue
        result.clips[name] = clip
        if tokens:
            tokens.add(name, features["text"])
        for modality, found in features.items():
            writer.append(modality, found)
            frames[modality] += len(found.values)
            missing[modality] += int(np.isnan(found.values[:, 0]).sum())
    log.info("%s: %d of %d clips imported", split.name, len(result.clips) - before, len(split.ids))
    for modality, count in missing.items():
        if count:
            log.warning("%s: %d of %d %s frames count as missing: nothing found, or a value that is not finite",
                        split.name, count, frames[modality], modality)  # fmt: skip


def listed(keys: Iterable) -> str:
    return ", ".join(shown(key) for key in list(keys)[:20]) or "nothing"
