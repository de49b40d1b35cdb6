"""Work on clips that may kill its process: a child does it, and what a clip did to the child is known here.

A clip can abort native code, break it, take all memory, or keep it busy for ever. The child says which clip it
begins with. If it dies on one, another child begins with that clip; a clip on which two have died is left out, and
the work goes on with the others. Once is not enough: whoever kills processes, for want of memory for one, may hit
any. A clip that takes too long is left out at once.

No clip is to blame if the work was asked to end (Ctrl-C, SIGTERM, a cluster's time limit), or if this process died
with it (power, `kill -9` of all): nothing is kept on the disk that a later run could misread. Standard library
alone, so that this process stays small and has no thread when it forks.
"""

import logging
import math
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

log = logging.getLogger(__name__)
FORK = multiprocessing.get_context("fork")
OF_ITSELF = {  # signals by which a process dies that nobody asked to end
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGSYS,
    signal.SIGTRAP,
}  # fmt: skip
TO_END = (signal.SIGINT, signal.SIGTERM)
DEATHS = 2  # of children on a clip, after which it is left out
MOST = 20  # clips left out so; of more, the clips are not the cause
ROUND = 1.0  # s between two looks at a child that says nothing
PROBE = 30.0  # s that reading a header may take
GRACE = 10.0  # s that a child has to end
BYTES_A_SECOND = 1000  # of a clip, at least: a header can promise any length


class GuardError(Exception):
    """Work that no clip can be blamed for, and that can't go on."""


@dataclass
class Turn:
    """One child's go at the work; the default is that of work without a guard.

    Attributes
    ----------
    refused : dict
        Clip -> why it is not to be touched.
    suspects : list of str
        Clips to try first, since an earlier child died on them.
    begin : callable
        To be told each clip before it is worked on.
    """

    refused: dict[str, str] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)
    begin: Callable[[str], None] = lambda clip: None


def run(
    work: Callable[[Turn], None], sources: Mapping[str, Any], limit: float, shortest: float = 1.0
) -> None:
    """Do work in a child process, again without the clips that kill it.

    Parameters
    ----------
    work : callable
        Writes its results to files, whole or not at all.
    sources : mapping
        Clip -> the path that is read, or the path, start and end of a part of it, in s.
    limit : float
        Seconds that a clip may take for each second of it.
    shortest : float
        Seconds that a clip counts as, at least.

    Raises
    ------
    GuardError
        The child died, but not on a clip, or on so many that they are not the cause.
    SystemExit
        The work failed, and has said why.
    """
    deaths: Counter[str] = Counter()
    refused: dict[str, str] = {}
    least = limit * shortest

    def patience(clip: str) -> float:
        return max(least, limit * _seconds(sources[clip]))

    while True:
        suspects = [clip for clip in deaths if clip not in refused]
        exit_code, clip, late = _child(work, Turn(refused, suspects), least, patience)
        if exit_code == 0:
            return
        if exit_code > 0:
            sys.exit(1)
        killer = signal.Signals(-exit_code)
        if clip is None or not (late or killer in OF_ITSELF):
            memory = ", perhaps for want of memory" if killer == signal.SIGKILL else ""
            raise GuardError(f"the process that does the work was ended by {killer.name}{memory}")
        deaths[clip] += 1
        if late:
            refused[clip] = f"it took longer than {late:g} s: re-encode it, or raise quarantine.time_limit"
        elif deaths[clip] >= DEATHS:
            memory = ", or give the job more memory" if killer == signal.SIGKILL else ""
            refused[clip] = f"the extractor died on it ({killer.name}): re-encode the file{memory}"
        log.warning("%s: %s", clip, refused.get(clip, f"a process died on it ({killer.name}); once more"))
        if len(refused) > MOST:
            reasons = "\n".join(f"{one}: {reason}" for one, reason in refused.items())
            raise GuardError(
                f"more than {MOST} clips killed the extractor or took too long: look at the installation and the"
                f" memory first\n{reasons}"
            )


def _child(
    work: Callable[[Turn], None], turn: Turn, least: float, patience: Callable[[str], float]
) -> tuple[int, str | None, float | None]:
    """Exit code of a child that did the work, the clip it was at, and the seconds that this had if it took more
    and the child was killed for it."""
    reports, sender = FORK.Pipe(duplex=False)

    def begin(clip: str) -> None:
        try:
            sender.send_bytes(os.fsencode(clip))
        except BrokenPipeError:
            sys.exit(1)  # the process that watched this one was killed, and another run may do the work

    def target() -> None:
        reports.close()  # so that the pipe breaks when its only reader is gone
        try:
            work(Turn(turn.refused, turn.suspects, begin))
        except (Exception, KeyboardInterrupt):
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            sys.exit(1)

    with _ends_once(), reports:
        process = FORK.Process(target=target)
        process.start()
        sender.close()
        try:
            clip, late = _watched(process, reports, least, patience)
            process.join()
        except KeyboardInterrupt:
            _end(process)
            if process.exitcode == 1:
                sys.exit(1)  # the child has said that it was stopped
            raise
        return process.exitcode or 0, clip, late


def _watched(
    process: BaseProcess, reports: Connection, least: float, patience: Callable[[str], float]
) -> tuple[str | None, float | None]:
    """The clip that a child was at when it ended, and the seconds it had if it took more and the child was killed.

    Rounds are counted, no clock is read: neither a stopped job nor a sleeping machine takes a clip's time.

    Parameters
    ----------
    process, reports
        The child, and the pipe through which it says what it begins with.
    least : float
        Seconds that any clip may take.
    patience : callable
        Clip -> seconds that it may take; asked only of those that need more, for it takes a while.
    """
    clip, spent, allowed = None, 0.0, least
    while True:
        if reports.poll(ROUND):
            try:
                clip = os.fsdecode(reports.recv_bytes())
            except EOFError:
                return clip, None
            spent, allowed = 0.0, least
        elif not process.is_alive():
            return clip, None
        elif clip is not None and (spent := spent + ROUND) > allowed:
            allowed = patience(clip)
            if spent > allowed:
                process.kill()
                return clip, allowed


def _seconds(source: Any) -> float:
    """Seconds that a clip has, as far as its bytes bear that out; 0 if it is gone."""
    path, start, end = (source, 0.0, math.inf) if isinstance(source, str) else source
    try:
        plausible = os.stat(path).st_size / BYTES_A_SECOND
    except OSError:
        return 0.0
    return min(plausible, end - start if math.isfinite(end) else _header(path))


def _header(path: str) -> float:
    """Seconds that a file's header promises, infinite if it can't be read. A child reads it, for that may be
    what the clip breaks."""
    answer, sender = FORK.Pipe(duplex=False)

    def read() -> None:
        from cmc.features import media

        with suppress(media.Unusable):
            sender.send_bytes(str(media.duration(path)).encode())

    process = FORK.Process(target=read)
    process.start()
    sender.close()
    try:
        told = float(answer.recv_bytes()) if answer.poll(PROBE) else math.nan
    except EOFError:
        told = math.nan
    finally:
        process.kill()
        process.join()
        answer.close()
    return math.inf if math.isnan(told) else told


@contextmanager
def _ends_once() -> Iterator[None]:
    """The first signal that asks this process or its child to end is raised in it, and no other while it ends."""

    def end(number: int, _frame: Any) -> None:
        for one in TO_END:
            signal.signal(one, lambda *_: None)  # not SIG_IGN: of one that is under way Python would complain
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    before = [signal.signal(one, end) for one in TO_END]
    try:
        yield
    finally:
        for one, handler in zip(TO_END, before, strict=True):
            signal.signal(one, handler)


def _end(process: BaseProcess) -> None:
    """End a child that is still there; it may be deep in native code."""
    process.terminate()
    process.join(GRACE)
    process.kill()
    process.join()
