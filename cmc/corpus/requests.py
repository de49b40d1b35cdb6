"""What is to be read: clips from a command line, a folder or a table, each with its transcript if there is one."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cmc.corpus import manifest

NAMES = ("path", "clip", "file")  # of a table's column of files


class RequestError(ValueError):
    """Something that can't be read as clips; the message says why and the way out."""


@dataclass(frozen=True)
class Request:
    """A clip to be read.

    Attributes
    ----------
    clip : str
        What its rows are called.
    path : str
    text : str or None
        Its transcript, if there is one.
    start, end : float
        The part of the recording, in seconds; to its end if `end` is infinite.
    """

    clip: str
    path: str
    text: str | None = None
    start: float = 0.0
    end: float = math.inf


def gather(given: Sequence[str | Path | Request], text: str | None = None) -> list[Request]:
    """The clips that are meant, in their order.

    Parameters
    ----------
    given : sequence of path or Request
        A clip; a folder, of which the label file's clips are taken or, if there is none, all videos; or a CSV
        table with a column path (or video_id and clip_id, in the layout of a data set), and perhaps text, start
        and end in seconds. A transcript may also lie beside a clip, under the same name with the suffix .txt.
    text : str, optional
        Transcript of the one clip.

    Raises
    ------
    RequestError
        Nothing is there, a table can't be read, or there is a text for several clips.
    """
    found: list[Request] = []
    for one in given:
        if isinstance(one, Request):
            found.append(one)
        elif Path(one).is_dir():
            found += of_folder(Path(one))
        elif Path(one).suffix.lower() == ".csv":
            found += of_table(Path(one))
        else:
            found.append(with_transcript(Request(str(one), str(one))))
    if not found:
        raise RequestError("no clip is given")
    if text is None:
        return found
    if len(found) > 1:
        raise RequestError(
            f"a text is given for {len(found)} clips: put each beside its clip ({manifest.TRANSCRIPT}), or in a"
            " table with the columns path and text"
        )
    return [replace(found[0], text=text)]


def files_of(given: Sequence[str | Path | Request], found: Iterable[Request]) -> Iterator[Path]:
    """All files that are read: tables, and of the clips that `gather` found in them recordings and transcripts."""
    for one in (Path(one) for one in given if not isinstance(one, Request)):
        if listed := manifest.label_file(one) if one.is_dir() else one:
            yield listed
    for request in found:
        yield Path(request.path)
        yield Path(request.path).with_suffix(manifest.TRANSCRIPT)


def of_folder(folder: Path) -> list[Request]:
    """The clips of a folder's label file, if it has one; else all its videos and those below it, by name."""
    if listed := manifest.label_file(folder):
        return of_table(listed)
    paths = manifest.videos(folder)
    if not paths:
        raise RequestError(f"{folder} holds no video ({' '.join(manifest.EXTENSIONS)})")
    return [with_transcript(Request(str(path.relative_to(folder)), str(path))) for path in paths]


def with_transcript(request: Request) -> Request:
    """The same with the transcript that lies beside it, if one does."""
    if request.text is not None:
        return request
    return replace(request, text=manifest.transcript_beside(Path(request.path)))


def of_table(path: Path) -> list[Request]:
    """The rows of a table; paths are seen from where it lies."""
    try:
        lines = csv.DictReader(manifest.decoded(path).splitlines(keepends=True), strict=True)
        manifest.check_commas(path, lines.fieldnames or [])
        rows = list(lines)
    except manifest.ManifestError as error:
        raise RequestError(str(error)) from None
    except (OSError, csv.Error) as error:
        raise RequestError(f"{path} can't be read as a table: {error}") from None
    if not rows:
        raise RequestError(f"{path} has no rows")
    return list(requests_of(path, rows))


def requests_of(path: Path, rows: Iterable[dict[str, str]]) -> Iterator[Request]:
    for line, row in enumerate(rows, start=2):
        row = {
            (key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)
        }
        named = next((row[name] for name in NAMES if row.get(name)), "")
        if named:
            clip, file = named, path.parent / Path(named).expanduser()
        elif row.get("video_id") and row.get("clip_id"):
            clip = f"{row['video_id']}{manifest.SEPARATOR}{row['clip_id']}"
            file = Path(manifest.video_path(path.parent, clip))
        else:
            raise RequestError(f"{path}, line {line}: no path, nor video_id and clip_id")
        try:
            start, end = float(row.get("start") or 0), float(row.get("end") or math.inf)
        except ValueError:
            raise RequestError(f"{path}, line {line}: start and end are seconds") from None
        if not 0 <= start < end:
            raise RequestError(f"{path}, line {line}: from {start:g} to {end:g} s is no piece of a recording")
        yield with_transcript(Request(clip, str(file), row.get("text") or None, start, end))
