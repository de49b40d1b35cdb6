"""Extraction: shards of clips through an extractor, then gathered into one feature file."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import quarantine, store
from cmc.features import Features, Unusable

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 5.0
LABELS = ["M", "T", "A", "V"]
DTYPES = {"text": "float16", "audio": "float32", "vision": "float16"}  # see store.Recipe


def extractor(modality: str, **settings):
    """The extractor of a modality, a context manager; see `cmc.features`.

    Parameters
    ----------
    modality : {'text', 'audio', 'vision'}
    **settings
        What the extractor's constructor takes.
    """
    # imported here because each brings libraries that the other modalities' jobs would only wait for
    if modality == "text":
        from cmc.features.text import HuggingFace as Extractor
    elif modality == "audio":
        from cmc.features.audio import ChSims33 as Extractor
    else:
        from cmc.features.vision import MediaPipe as Extractor
    return Extractor(**settings)


def shard(modality: str, extractor, clips: Sequence[str], sources: Sequence[str], path: str | Path) -> None:
    """Extract one modality of some clips into a feature file that also lists the clips it couldn't use.

    Parameters
    ----------
    modality : {'text', 'audio', 'vision'}
    extractor : object of `cmc.features`
    clips : sequence of str
        Clip ids.
    sources : sequence of str
        The transcript of each clip for text, else the path of its video.
    path : path
        Of the file to write.
    """
    usable, refused, told = [], [], time.monotonic()
    results = (
        extractor.extract(sources)
        if modality == "text"
        else (attempt(extractor, source) for source in sources)
    )
    recipe = store.Recipe(
        extractor.name,
        extractor.version,
        extractor.settings,
        extractor.columns,
        extractor.rate,
        DTYPES[modality],
    )
    with store.create(path) as out:
        out.modality(modality, recipe)
        for clip, result in zip(clips, results, strict=True):
            reason = str(result) if isinstance(result, Unusable) else fault(result)
            if reason:
                log.warning("%s can't be used: %s", clip, reason)
                refused.append((clip, modality, reason))
            else:
                out.append(modality, result)
                usable.append(clip)
            done = len(usable) + len(refused)
            if time.monotonic() - told > PROGRESS_SECONDS or done == len(clips):
                log.info("%d of %d clips, %d unusable", done, len(clips), len(refused))
                told = time.monotonic()
        out.finish(
            pd.DataFrame({"clip": pd.Series(usable, dtype=str)}),
            pd.DataFrame(refused, columns=quarantine.COLUMNS, dtype=str),
        )


def attempt(extractor, path: str) -> Features | Unusable:
    """Features of one video, or why there are none; an extractor's own failure costs one clip, not the run."""
    if not Path(path).exists():
        return Unusable(f"video is missing: {path}")
    try:
        return extractor.extract(path)
    except Unusable as reason:
        return reason
    except Exception as error:
        log.exception("the %s extractor failed on %s", extractor.name, path)
        return Unusable(f"the {extractor.name} extractor failed: {type(error).__name__}: {error}")


def fault(features: Features) -> str | None:
    """Why features can't be stored, if they can't: rows must be finite, or NaN as a whole."""
    if not len(features.values):
        return "no frame could be extracted"
    finite = np.isfinite(features.values)
    missing = np.isnan(features.values).all(axis=1)
    bad = ~(finite.all(axis=1) | missing)
    if bad.any():
        row = int(np.argmax(bad))
        return f"row {row} holds {features.values[row][~finite[row]][0]} among finite values"
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
        CSV to write, columns clip, stage, reason.
    """
    frames = [quarantine.read(manifest_refused)]
    for path in shards:
        with store.Reader(path) as reader:
            frames.append(reader.table("quarantine"))
    refused = pd.concat(frames)
    if len(refused):
        log.warning("%d clips are in the quarantine, see %s", refused["clip"].nunique(), out)
    quarantine.write(refused, out)


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
) -> None:
    """One feature file from the shards of every modality, with the manifest's order and labels.

    A clip that any modality could not use is left out; `refused` lists it with the reason.

    Parameters
    ----------
    manifest_path, quarantine_path : path
        The table of clips from `cmc.manifest.write`; what `list_refused` wrote.
    shards : dict
        Modality -> its shard files.
    max_share : float
        Of all clips, in [0, 1], that may be refused.

    Raises
    ------
    QuarantineError
        If more are refused, or a split is left without clips.
    """
    manifest, refused = read_csv(manifest_path, LABELS), quarantine.read(quarantine_path)
    with ExitStack() as stack:
        places: dict[str, dict[str, tuple]] = {}
        for modality, paths in shards.items():
            readers = [stack.enter_context(store.Reader(p)) for p in paths]
            places[modality] = index(modality, readers)
        everywhere = manifest["clip"].map(lambda clip: all(clip in found for found in places.values()))
        clips = manifest[everywhere]
        quarantine.check(refused, clips["clip"], max_share, quarantine_path)
        quarantine.check_splits(clips["split"], quarantine_path)
        with store.create(path) as out:
            for modality, paths in shards.items():
                with store.Reader(paths[0]) as first:
                    out.modality(modality, first.recipe(modality))
                for clip in clips["clip"]:
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
        for i, clip in enumerate(reader.table("clips")["clip"]):
            found[clip] = (reader, int(offsets[i]), int(offsets[i + 1]))
    return found
