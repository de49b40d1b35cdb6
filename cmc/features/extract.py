"""Extraction: shards of clips through an extractor, then gathered into one feature file."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import LABELS, files
from cmc.corpus import quarantine
from cmc.corpus.manifest import SPAN
from cmc.features import store
from cmc.features.contract import Features, Unusable
from cmc.features.guard import Turn

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 15.0
# Figures of quality that extraction.csv holds of every clip; an extractor may give others, which follow.
QUALITY = ["seconds", "frames", "faces", "face_pixels", "voiced", "silence", "clipping", "tokens", "unknown"]


def shard(
    modality: str,
    extractor,
    clips: Sequence[str],
    sources: Sequence[str | PathLike],
    path: str | Path,
    costs: str | Path | None = None,
    turn: Turn | None = None,
) -> None:
    """Extract one modality of some clips into a feature file that also lists the clips it couldn't use.

    Parameters
    ----------
    modality : {'text', 'audio', 'vision'}
    extractor : object of `cmc.features`
    clips : sequence of str
        Clip ids.
    sources : sequence of str, Path or Piece
        The transcript of each clip for text, else the path of its video, or of what the extractor reads; or a part
        of a recording.
    path : path
        Of the file to write. Its table of clips holds their figures of quality.
    costs : path, optional
        CSV to write, columns clip_id, cpu_seconds. Of its own, since no two runs cost the same and the feature
        file shall be the same.
    turn : Turn, optional
        Of a guard; see `cmc.features.guard.run`. Transcripts, which are encoded in batches, it is not told.
    """
    usable: list[dict] = []
    refused: list[tuple[str, str, str]] = []
    spent: list[float] = []
    began = told = time.monotonic()
    results = (
        extractor.extract(sources)
        if modality == "text"
        else _one_by_one(extractor, clips, sources, turn or Turn())
    )
    made_by = recipe(extractor)
    with store.create(path) as out:
        out.modality(modality, made_by)
        for clip, result in zip(clips, _timed(results, spent), strict=True):
            reason = str(result) if isinstance(result, Unusable) else fault(result, modality, made_by)
            if reason:
                log.warning("%s can't be used: %s", clip, reason)
                refused.append((clip, modality, reason))
            else:
                out.append(modality, result)
                usable.append({"clip_id": clip, **result.quality})
            del result  # an hour of video is large, and the next one may be, too
            done = len(usable) + len(refused)
            if time.monotonic() - told > PROGRESS_SECONDS or done == len(clips):
                told = time.monotonic()
                left = (told - began) / done * (len(clips) - done)
                more = f", about {math.ceil(left / 60)} min left" if left else ""
                log.info("%d of %d clips, %d unusable%s", done, len(clips), len(refused), more)
        out.finish(
            pd.DataFrame(usable or {"clip_id": []}).astype({"clip_id": str}),
            pd.DataFrame(refused, columns=quarantine.COLUMNS, dtype=str),
        )
    if modality == "text":  # batches: no transcript has a time of its own
        spent = [sum(spent) / len(spent)] * len(spent)
    if costs is not None:
        table = pd.DataFrame({"clip_id": clips, "cpu_seconds": np.round(spent, 4)})
        with files.whole(costs) as partial:
            table.to_csv(partial, index=False, lineterminator="\n")


def recipe(extractor) -> store.Recipe:
    """How an extractor makes features, as a feature file says it."""
    return store.Recipe(
        extractor.name,
        extractor.version,
        extractor.settings,
        extractor.columns,
        extractor.rate,
        extractor.dtype,
    )


def _one_by_one(
    extractor, clips: Sequence[str], sources: Sequence[str | PathLike], turn: Turn
) -> Iterator[Features | Unusable]:
    """What `attempt` gives of each clip, and the reason for those that a guard has refused."""
    for clip, source in zip(clips, sources, strict=True):
        if clip in turn.suspects:  # first, lest the work on the others be lost
            turn.begin(clip)
            attempt(extractor, source)
    for clip, source in zip(clips, sources, strict=True):
        if clip in turn.refused:
            yield Unusable(turn.refused[clip])
        else:
            turn.begin(clip)
            yield attempt(extractor, source)


def _timed(results: Iterable, spent: list[float]) -> Iterator:
    """The same results; the CPU seconds that each took are appended to `spent`."""
    results = iter(results)
    while True:
        start = time.process_time()
        try:
            result = next(results)
        except StopIteration:
            return
        spent.append(time.process_time() - start)
        yield result
        del result


def attempt(extractor, path: str | PathLike) -> Features | Unusable:
    """Features of one video, or why there are none; an extractor's own failure costs one clip, not the run."""
    if not Path(path).exists():
        return Unusable(f"{getattr(extractor, 'source', 'video')} is missing: {path}")
    try:
        return extractor.extract(path)
    except Unusable as reason:
        return reason
    except Exception as error:
        log.exception("the %s extractor failed on %s", extractor.name, path)
        return Unusable(f"the {extractor.name} extractor failed: {type(error).__name__}: {error}")


def fault(features: Features, modality: str, recipe: store.Recipe) -> str | None:
    """Why features can't be stored, if they can't: those that break the contract of `cmc.features`, those whose
    rows are neither finite as the recipe's dtype nor NaN as a whole, and those in which nothing was found."""
    values, times, dtype = features.values, features.times, recipe.dtype
    if values.ndim != 2 or values.shape[1] != len(recipe.columns):
        return f"{recipe.extractor} gave values of shape {values.shape}, expected (frames, {len(recipe.columns)})"
    if not len(values):
        return "no frame could be extracted"
    if (times is None) != (modality == "text") or (features.token_ids is None) == (modality == "text"):
        return f"{recipe.extractor} must give rows of {modality} " + (
            "token_ids and no times" if modality == "text" else "times and no token_ids"
        )
    beside = features.token_ids if modality == "text" else times
    assert beside is not None
    if beside.shape != (len(values),):
        return f"{recipe.extractor} gave {len(values)} rows and times or token_ids of shape {beside.shape}"
    if times is not None and not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        return f"{recipe.extractor} gave times that are not finite and increasing"
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(dtype, copy=False))
    missing = np.isnan(values).all(axis=1)
    bad = ~(finite.all(axis=1) | missing)
    if bad.any():
        row = int(np.argmax(bad))
        return f"row {row} holds {values[row][~finite[row]][0]}, no finite {dtype}"
    return "nothing was found in any frame" if missing.all() else None


def list_refused(manifest_refused: str | Path, shards: Iterable[str | Path], out: str | Path) -> None:
    """List all that can't be used and why, by clip and stage.

    Parameters
    ----------
    manifest_refused : path
        What the manifest refused.
    shards : iterable of path
        Feature files of `shard`, every modality's.
    out : path
        CSV to write, columns clip_id, stage, reason.
    """
    frames = [quarantine.read(manifest_refused)]
    for path in shards:
        with store.Reader(path) as reader:
            frames.append(reader.table("quarantine"))
    refused = pd.concat(frames)
    if len(refused):
        log.warning("%d clips are in the quarantine, see %s", refused["clip_id"].nunique(), out)
    quarantine.write(refused, out)


def list_quality(
    manifest: str | Path, shards: Iterable[str | Path], costs: Iterable[str | Path], out: str | Path
) -> None:
    """Write how good the material of each clip is, and what its extraction cost.

    Parameters
    ----------
    manifest : path
        The table of clips.
    shards, costs : iterable of path
        What `shard` wrote, of every modality.
    out : path
        CSV to write, a row a clip in the manifest's order: clip_id, split; seconds of sound, or of pictures if
        there is none; frames of video looked at, the share of them with a face, the median height of these in
        pixels; the shares of sound, all channels averaged, that are voiced, silent and clipped; tokens, the share
        of them that the text encoder does not know; cpu_seconds of all modalities. What could not be
        found out is empty.
    """
    table = read_csv(manifest)[["clip_id", "split"]].set_index("clip_id")
    figures = []
    for path in shards:
        with store.Reader(path) as reader:
            figures.append(reader.table("clips"))
    found = pd.concat(figures).groupby("clip_id").first()  # of several modalities that tell the same
    more = sorted(set(found) - set(QUALITY))
    spent = pd.concat([read_csv(path, ["cpu_seconds"]) for path in costs]).groupby("clip_id").sum()
    table = table.join(found.reindex(columns=[*QUALITY, *more])).join(spent)
    table = table.astype({"frames": "Int64", "tokens": "Int64"}).round(4)
    with files.whole(out) as partial:
        table.to_csv(partial, lineterminator="\n")


def read_quality(path: str | Path, clips: Iterable[str]) -> pd.DataFrame:
    """Read what `list_quality` wrote of `clips`: ids and splits are text, all else numbers, NaN where nothing is
    known."""
    table = read_csv(path)
    table = read_csv(path, [name for name in table if name not in ("clip_id", "split")])
    return table[table["clip_id"].isin(set(clips))].reset_index(drop=True)


def read_csv(path: str | Path, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """A table whose fields are text (ids keep their zeros, "NA" is a name) but for the columns `numbers`."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(**{name: pd.to_numeric(table[name].where(table[name] != "")) for name in numbers})


def gather(
    manifest_path: str | Path,
    quarantine_path: str | Path,
    shards: dict[str, Sequence[str | Path]],
    path: str | Path,
    max_share: float,
    names: Sequence[str] | None = None,
) -> None:
    """One feature file from the shards of every modality, with the manifest's order and labels.

    A clip that any modality could not use is left out; `refused` lists it with the reason.

    Parameters
    ----------
    manifest_path, quarantine_path : path
        The table of clips from `cmc.corpus.manifest.write`; what `list_refused` wrote.
    shards : dict
        Modality -> its shard files.
    max_share : float
        Of all clips, in [0, 1], that may be refused.
    names : sequence of str, optional
        Of the emotions that labels are; None where they are numbers.

    Raises
    ------
    QuarantineError
        If more are refused, or a split is left without clips.
    """
    numeric = [*(LABELS.values() if names is None else ()), *SPAN]
    numbers = [name for name in read_csv(manifest_path) if name in numeric]
    manifest, refused = read_csv(manifest_path, numbers), quarantine.read(quarantine_path)
    with ExitStack() as stack:
        places: dict[str, dict[str, tuple]] = {}
        for modality, paths in shards.items():
            readers = [stack.enter_context(store.Reader(p)) for p in paths]
            places[modality] = index(modality, readers)
        everywhere = manifest["clip_id"].map(lambda clip: all(clip in found for found in places.values()))
        clips = manifest[everywhere]
        quarantine.check(refused, clips["clip_id"], max_share, quarantine_path)
        quarantine.check_splits(clips["split"], quarantine_path)
        with store.create(path, names) as out:
            for modality, paths in shards.items():
                with store.Reader(paths[0]) as first:
                    out.modality(modality, first.recipe(modality))
                for clip in clips["clip_id"]:
                    reader, start, stop = places[modality][clip]
                    out.append(modality, reader.rows(modality, start, stop))
                log.info("%s: %d clips gathered", modality, len(clips))
            out.finish(clips.reset_index(drop=True))


def index(modality: str, readers: Sequence[store.Reader]) -> dict[str, tuple[store.Reader, int, int]]:
    """Where each clip's rows are: clip -> (reader, start, stop)."""
    found = {}
    for reader in readers:
        if not store.same_recipe(reader.recipe(modality), readers[0].recipe(modality)):
            raise store.StoreError(
                f"{reader.file.filename} and {readers[0].file.filename} were made by different extractors or "
                "settings; delete the older one and run again"
            )
        offsets = reader.offsets(modality)
        for i, clip in enumerate(reader.table("clips")["clip_id"]):
            found[clip] = (reader, int(offsets[i]), int(offsets[i + 1]))
    return found
