"""Files written whole or not at all, and their checksums. Standard library alone."""

import errno
import glob
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name once the block ends well, and is gone if not.

    A file that has its name is on the disk, and keeps both if the power fails. Otherwise a run that finds the name
    would take an empty file for a result.

    What a killed process left half written is removed. Should that process live on, since only the one that
    watched it was killed, it fails when it wants to rename its file, and spoils nothing.

    Yields
    ------
    Path
        In the same folder (which is made), with the same suffix.
    """
    path = Path(path)
    make_folder(path.parent)
    for abandoned in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{glob.escape(path.suffix)}"):
        abandoned.unlink(missing_ok=True)
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield partial
        to_disk(partial)
        partial.replace(path)
        to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in, if they are not there."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        to_disk(one.parent)


def fault(out: str | Path, read: Iterable[str | Path] = ()) -> str | None:
    """Why no file should be written under a name, if so; to be asked before the work.

    Parameters
    ----------
    out : path
    read : iterable of path
        Files that are to stay as they are, and folders of such files.
    """
    out = Path(out).absolute()
    if os.path.isdir(out):
        return "is a folder: give the name of a file"
    folder = next(one for one in out.parents if os.path.exists(one))
    if not os.path.isdir(folder):
        return f"can't be written: {folder} is no folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"can't be written: you may not write to {folder}"
    if not os.path.exists(out):
        return None
    if not os.path.isfile(out):
        return "is a device: give the name of a file"
    above = set(out.resolve().parents)
    for one in filter(os.path.exists, read):
        if os.path.samefile(out, one) or Path(one).resolve() in above:
            return f"would be written over what is read ({one}): give another name"
    return None


def to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk and not only in memory."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if not (error.errno == errno.EINVAL and path.is_dir()):  # some network file systems know no such call
            raise
    finally:
        os.close(opened)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
