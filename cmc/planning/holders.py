"""Which runs are at work in a folder, and on which files: no two may write the same.

Snakemake has locks for that, but the end of any run removes those of all others. Here each run has a file, which
it keeps locked as long as it lives; the system frees it, however the run ends.
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cmc.planning.config import PlanError

RUNS = Path(".snakemake/runs")
kept: dict[Path, int] = {}  # this run's file, open for the lock on it


def begin(command: str, read: Iterable[str], written: Iterable[str]) -> None:
    """Write down that this run is at work, until `end` is called or the process is gone.

    Parameters
    ----------
    command : str
    read, written : iterable of str
        Files that its jobs read and write.

    Raises
    ------
    PlanError
        Another run writes one of these files, or reads one that this run writes.
    """
    mine = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": f"{datetime.now():%F %T}",
        "command": command,
        "read": sorted(set(read)),
        "written": sorted(set(written)),
    }
    with _gate():
        for path, other in _runs():
            if not _lives(path, other):
                path.unlink()
            elif shared := _shared(mine, other):
                more = f" and {len(shared) - 1} more files" if len(shared) > 1 else ""
                raise PlanError(
                    f"{_whose(other)} is at work on {shared[0]}{more}, which this run needs for itself.\n"
                    f"Wait for it to end, or end it. If it is long gone, delete {path.resolve()}"
                )
        path = RUNS / f"{platform.node()}-{os.getpid()}.json"
        kept[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        _lock(kept[path], fcntl.LOCK_NB)
        os.write(kept[path], json.dumps(mine).encode())


def end() -> None:
    """Write down that this run has ended."""
    while kept:
        path, opened = kept.popitem()
        path.unlink(missing_ok=True)
        os.close(opened)


def told(locks: Sequence[Path]) -> str:
    """Whose Snakemake's locks are, and the way out; what a killed run left behind may be older than they."""
    newest = max(lock.stat().st_mtime for lock in locks)
    runs = [(path, run) for path, run in _runs() if path.stat().st_mtime >= newest or _lives(path, run)]
    if not runs:
        return "This folder has a lock of a run that is planning its jobs, or was killed while it did."
    lines = []
    for path, run in runs:
        if _lives(path, run):
            way_out = "Wait for it to end, or end it; its files are not to be written twice."
        else:
            way_out = (
                "It no longer runs: `snakemake --unlock` frees the folder, and the same command goes on."
                " Jobs that it gave to a cluster may still run: end them first."
            )
        lines.append(f"This folder has a lock of {_whose(run)}.\n{way_out}")
    return "\n".join(lines)


def _whose(run: dict[str, Any]) -> str:
    return f"process {run['process']} on {run['machine']}, since {run['since']} ({run['command']})"


def _shared(mine: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Files that one of two runs writes and the other writes or reads."""
    ours, theirs = set(mine["written"]), set(other["written"])
    return sorted(ours & theirs | ours & set(other["read"]) | theirs & set(mine["read"]))


def _runs() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(RUNS.glob("*.json")):
        try:
            yield path, json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # it has just ended, or was killed while it wrote


def _lives(path: Path, run: dict[str, Any]) -> bool:
    """Whether a run still has its file locked; where files can't be locked, whether its process is there."""
    if path in kept:
        return True
    opened = os.open(path, os.O_RDWR)
    try:
        locked = _lock(opened, fcntl.LOCK_NB)
    finally:
        os.close(opened)
    if locked is None:
        return run["machine"] != platform.node() or Path(f"/proc/{run['process']}").exists()
    return not locked


def _lock(opened: int, how: int = 0) -> bool | None:
    """Lock a file; False if another process has, None if the file system knows no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def _gate() -> Iterator[None]:
    """Only one run at a time looks whether it may begin."""
    RUNS.mkdir(parents=True, exist_ok=True)
    opened = os.open(RUNS / "gate", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(opened)
        yield
    finally:
        os.close(opened)
