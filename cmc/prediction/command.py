"""The command `cmc predict`: clips in, rows out, a line for each clip that can't be read."""

import argparse
import csv
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from cmc import files
from cmc.corpus import requests
from cmc.features.contract import Unusable
from cmc.features.transcription import Transcriber, TranscriptionError
from cmc.prediction.extraction import Refused
from cmc.prediction.model import Model, ModelError, load
from cmc.training.devices import DeviceError

log = logging.getLogger(__name__)
DIGITS = 6  # of numbers in a file
MISTAKES = (DeviceError, ModelError, OSError, requests.RequestError, TranscriptionError, Unusable)
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def run(asked: argparse.Namespace) -> int:
    """Do what a command line asks for (see `cmc.cli`); its exit status.

    Returns
    -------
    int
        0: every clip was read; 2: the command line has a mistake, the model can't be used, or some clip can't be
        read, each told in a line.
    """
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    try:
        wanted = requests.gather(asked.clips, asked.text)
        check_outputs(asked, wanted)
        model = load(
            asked.model,
            device=asked.device,
            text_encoder=asked.text_encoder,
            download=asked.download,
            other_versions=asked.other_versions,
        )
        transcriber = None
        if asked.transcribe:
            transcriber = Transcriber(asked.transcribe, asked.language, asked.download)
        rows = model.rows(
            wanted, window=asked.window, hop=asked.hop, jobs=asked.jobs, transcriber=transcriber
        )
        if asked.overlay is None:
            return report(rows, model, len(wanted), asked)
        kept = list(rows)
        status = report(kept, model, 1, asked)
        if readings := [row for row in kept if not isinstance(row, Refused)]:
            from cmc.prediction import overlay

            overlay.write(asked.overlay, wanted[0], readings, model.modalities, model.scheme)
        return status
    except MISTAKES as mistake:
        print(f"cmc predict: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cmc predict: stopped", file=sys.stderr)
        return 130


def check_outputs(asked: argparse.Namespace, wanted: Sequence[requests.Request]) -> None:
    """Refuse names under which nothing can be written, or that mean another format; before any work.

    Raises
    ------
    RequestError
    """
    if asked.overlay and (len(wanted) > 1 or asked.overlay.suffix.lower() != ".mp4"):
        raise requests.RequestError("--overlay takes one clip and a name that ends in .mp4")
    folders = filter(None, (asked.model, asked.text_encoder, asked.transcribe))
    read = [*requests.files_of(asked.clips, wanted), *folders]
    for option, path in {"--out": asked.out, "--overlay": asked.overlay}.items():
        if path and (reason := files.fault(path, read)):
            raise requests.RequestError(f"{option} {path} {reason}")
    if asked.out:
        told = FORMATS.get(asked.out.suffix.lower())
        if not (told or asked.format):
            raise requests.RequestError(
                f"--out {asked.out}: give it a name that ends in {', '.join(FORMATS)}, or say its --format"
            )
        if told and asked.format not in (None, told):
            raise requests.RequestError(
                f"--out {asked.out}: a file of this name holds {told}, not --format {asked.format}: leave one out"
            )
        if asked.overlay and asked.out.absolute() == asked.overlay.absolute():
            raise requests.RequestError(f"--out and --overlay are the same file, {asked.out}")


def predict(
    model: str | Path,
    path: str | Path,
    *,
    rows_out: str | Path,
    refused_out: str | Path,
    jobs: int,
    device: str,
    text_encoder: str,
    download: bool,
    window: float | None = None,
    hop: float | None = None,
    transcribe: str | None = None,
    language: str | None = None,
) -> None:
    """Write what a model reads in a folder or table of clips, and a list of those that it can't read.

    Parameters
    ----------
    model, path : path
        Directory of the model; folder or CSV table of clips, see `cmc.corpus.requests.gather`.
    rows_out, refused_out : path
        CSV files to write: the rows of `cmc.prediction.model.Model.predict`; clip, reason.
    jobs, device, text_encoder, download, window, hop, transcribe, language
        See `cmc.prediction.model`.
    """
    wanted = requests.gather([Path(path).expanduser()])
    reader = load(model, device=device, text_encoder=text_encoder, download=download)
    transcriber = Transcriber(transcribe, language, download) if transcribe else None
    rows = reader.rows(wanted, window=window, hop=hop, jobs=jobs, transcriber=transcriber)
    refused, number = [], count(1)
    with writer(Path(rows_out), "csv", reader) as put:
        for row in pour(rows, put, lambda: log.info("%d of %d clips", next(number), len(wanted))):
            refused.append((row.clip, row.reason))
            log.warning("%s can't be read: %s", row.clip, row.reason)
    with files.whole(refused_out) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("clip", "reason"), *refused])


def report(
    rows: Iterable[dict[str, Any] | Refused], model: Model, clips: int, asked: argparse.Namespace
) -> int:
    """Write rows as they come; 2 if a clip can't be read."""
    refused = 0
    with ExitStack() as stack:
        put = stack.enter_context(writer(asked.out, asked.format, model))
        step = stack.enter_context(progress(clips))
        for row in pour(rows, put, step):
            refused += 1
            print(f"{row.clip}: {row.reason}", file=sys.stderr)
    return 2 if refused else 0


def pour(rows: Iterable[dict[str, Any] | Refused], put: Callable, step: Callable) -> Iterator[Refused]:
    """Put each row where it belongs, and say of each clip that it is there; yields those that can't be read."""
    last = None
    for row in rows:
        clip = row.clip if isinstance(row, Refused) else row["clip"]
        if clip != last:
            step()
            last = clip
        if isinstance(row, Refused):
            yield row
        else:
            put(row)


@contextmanager
def progress(clips: int) -> Iterator[Any]:
    """A bar for several clips on a terminal; yields what is to be called for each."""
    if clips < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("clips", total=clips)
        yield lambda: bar.advance(task)


@contextmanager
def writer(out: Path | None, form: str | None, model: Model) -> Iterator[Any]:
    """What writes a row, to a file that appears when it is whole, or to the standard output."""
    form = form or FORMATS.get(out.suffix.lower() if out else "", "" if out is None else "csv")
    with ExitStack() as stack:
        if out is None:
            stream: IO[str] = sys.stdout
            form = form or ("table" if sys.stdout.isatty() else "csv")
        else:
            partial = stack.enter_context(files.whole(out))
            stream = stack.enter_context(open(partial, "w", encoding="utf-8", newline=""))
        if form == "jsonl":
            yield lambda row: print(json.dumps(plain(row), ensure_ascii=False), file=stream, flush=True)
        elif form == "csv":
            lines = csv.DictWriter(stream, model.columns, lineterminator="\n")
            lines.writeheader()
            yield lambda row: lines.writerow(blank(plain(row)))
        else:
            kept: list[Mapping[str, Any]] = []
            yield kept.append
            stream.write(table(kept, model.modalities))


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of Python's own types; None for what is not known."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, float):
            value = round(value, DIGITS) if math.isfinite(value) else None
        found[name] = value
    return found


def blank(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in row.items()}


def table(rows: Sequence[Mapping[str, Any]], modalities: Sequence[str]) -> str:
    """Rows for people: class and its probability, each modality's reading and weight, what dissents or lacks."""
    weighed = [f"{modality} (weight)" for modality in modalities]
    lines = [["clip", "seconds", "class", "", *weighed, "dissents", "missing"]]
    for row in rows:
        end = "" if row["end"] is None or math.isnan(row["end"]) else f"{row['end']:.1f}"
        own = [
            f"{row[f'{m}_class']} ({row[f'router_{m}']:.2f})" if row[f"{m}_class"] else "-"
            for m in modalities
        ]
        lines.append(
            [
                str(row["clip"]),
                f"{row['start']:.1f}-{end}",
                row["class"],
                f"{row[row['class']]:.0%}",
                *own,
                row["dissents"],
                row["missing"],
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    return f"{text}\n"
