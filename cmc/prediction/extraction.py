"""Features of clips as a model takes them: several clips at once, long recordings in blocks to cut windows."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cmc.corpus.requests import Request, RequestError
from cmc.features import extract, media
from cmc.features.contract import Absent, Features, Unusable
from cmc.features.media import Piece
from cmc.features.transcription import Segment, Transcriber

BLOCK = 60.0  # s of a long recording that are treated at once
AHEAD = 4  # clips for each job whose features may wait
SLACK = 1e-6  # s by which windows may end beyond a recording
REST = 0.1  # s at a recording's end that need no window of their own: less than a syllable
NO_TEXT = "no transcript"


@dataclass(frozen=True)
class Refused:
    """A clip that can't be read, and why."""

    clip: str
    reason: str


@dataclass
class Sample:
    """What the networks read as one clip: a clip, or a window of a recording.

    Attributes
    ----------
    request : Request
    start, end : float
        Seconds in the recording; `end` is infinite where the clip's length is not known.
    text : str or None
    features : dict
        Modality -> its features.
    missing : dict
        Modality -> why there are none.
    quality : dict
        See `cmc.features.extract.QUALITY`.
    """

    request: Request
    start: float
    end: float
    text: str | None = None
    features: dict[str, Features] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """What is extracted at once: a clip, or a block of a recording with the windows that begin in it.

    Attributes
    ----------
    request : Request
    source : str or Piece
    windows : list of (float, float)
        Seconds from the recording's start; none of a clip as a whole.
    texts : list of str or None
        Of each window.
    """

    request: Request
    source: str | Piece
    windows: list[tuple[float, float]]
    texts: list[str | None]


class Extraction:
    """Extractors, opened when they are first needed and closed in the end; use in a `with` statement.

    Parameters
    ----------
    makers : mapping
        Modality -> function that makes its extractor.
    jobs : int, optional
        Threads that extract sound and pictures; as many as there are cores by default.

    Raises
    ------
    RequestError
        So many threads can't be.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Any]], jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise RequestError(f"jobs is {jobs}: expected 1 or more, or nothing, which means all cores")
        self._makers, self._jobs = makers, jobs or os.cpu_count() or 1
        self._stack, self._own = ExitStack(), threading.local()
        self._opening = {modality: threading.Lock() for modality in makers}
        self._text: Future | None = None

    def __enter__(self) -> "Extraction":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def extractor(self, modality: str) -> Any:
        """This thread's extractor of a modality."""
        if not hasattr(self._own, modality):
            with self._opening[modality]:
                setattr(self._own, modality, self._stack.enter_context(self._makers[modality]()))
        return getattr(self._own, modality)

    def samples(
        self,
        requests: Sequence[Request],
        window: float | None = None,
        hop: float | None = None,
        transcriber: Transcriber | None = None,
    ) -> Iterator[Sample | Refused]:
        """Samples of clips in their order, text yet to be added, or why there are none.

        Parameters
        ----------
        requests : sequence of Request
        window, hop : float, optional
            Seconds; see `spacing`.
        transcriber : Transcriber, optional
            Of clips that come without a transcript.
        """
        units = self._units(requests, window, hop, transcriber)
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="extract") as pool:
            if "text" in self._makers and (transcriber or any(request.text for request in requests)):
                self._text = pool.submit(
                    self.extractor, "text"
                )  # takes as long as a clip's sound and pictures
            waiting: deque[tuple[Unit | Refused, dict[str, Future]]] = deque()
            try:
                for unit in units:
                    waiting.append((unit, self._submit(pool, unit)))
                    if len(waiting) > AHEAD * self._jobs:
                        yield from self._finished(*waiting.popleft())
                while waiting:
                    yield from self._finished(*waiting.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _units(
        self,
        requests: Sequence[Request],
        window: float | None,
        hop: float | None,
        transcriber: Transcriber | None,
    ) -> Iterator[Unit | Refused]:
        for request in requests:
            try:
                length = media.duration(request.path)
                segments = None
                if transcriber and request.text is None:
                    segments = heard(transcriber, request)
                    if window is None:
                        said = " ".join(segment.text for segment in segments)
                        request = replace(request, text=said or None)
                if window is None or hop is None:
                    yield Unit(request, part(request), [], [])
                else:
                    yield from blocks(request, length, window, hop, segments)
            except Unusable as reason:
                yield Refused(request.clip, str(reason))

    def _submit(self, pool: ThreadPoolExecutor, unit: Unit | Refused) -> dict[str, Future]:
        if isinstance(unit, Refused):
            return {}
        return {
            modality: pool.submit(self._attempt, modality, unit.source)
            for modality in self._makers
            if modality != "text"
        }

    def _attempt(self, modality: str, source: str | Piece) -> Features | Unusable:
        """Features of one clip, kept to what a feature file would hold, or why there are none."""
        extractor = self.extractor(modality)
        found = extract.attempt(extractor, source)
        if isinstance(found, Unusable):
            return found
        reason = extract.fault(found, modality, extract.recipe(extractor))
        return Absent(reason) if reason else found

    def _finished(self, unit: Unit | Refused, running: Mapping[str, Future]) -> Iterator[Sample | Refused]:
        if isinstance(unit, Refused):
            yield unit
            return
        found = {modality: future.result() for modality, future in running.items()}
        for result in found.values():
            if isinstance(result, Unusable) and not isinstance(
                result, Absent
            ):  # damaged: no part of it is read
                yield Refused(unit.request.clip, str(result))
                return
        if not unit.windows:
            yield whole(unit, found)
        for window, text in zip(unit.windows, unit.texts, strict=True):
            yield cut(unit, found, window, text)

    def add_text(self, samples: Sequence[Sample]) -> None:
        """Extract the features of the samples' transcripts, all together."""
        if "text" not in self._makers:
            return
        said = [one for one in samples if one.text]
        for one in samples:
            if not one.text:
                one.missing["text"] = NO_TEXT
        if not said:
            return
        extractor = self._text.result() if self._text else self.extractor("text")
        for one, found in zip(said, extractor.extract([s.text for s in said]), strict=True):
            if isinstance(found, Unusable):
                one.missing["text"] = str(found)
            else:
                one.features["text"] = found
                one.quality |= found.quality


def spacing(window: float | None, hop: float | None) -> float | None:
    """Seconds from window to window: by default those of a window; None if there is none.

    Raises
    ------
    RequestError
        They would leave gaps, or are no windows.
    """
    if window is None:
        if hop is not None:
            raise RequestError(f"hop is {hop:g} s, but there is no window")
        return None
    hop = window if hop is None else hop
    if not 0 < hop <= window < math.inf:
        raise RequestError(f"window is {window:g} s and hop {hop:g} s: expected 0 < hop <= window")
    return hop


def part(request: Request) -> str | Piece:
    """The recording, or the part of it that is meant."""
    whole = request.start == 0 and math.isinf(request.end)
    return request.path if whole else Piece(request.path, request.start, request.end)


def blocks(
    request: Request,
    length: float,
    window: float,
    hop: float,
    segments: Sequence[Segment] | None,
) -> Iterator[Unit]:
    """The blocks of a recording; a window belongs to the block that it begins in. If the last leaves more than
    `REST` unread, one more of the same length, in the same block, ends with the recording.

    Raises
    ------
    Unusable
        The recording doesn't say how long it is.
    """
    end = min(request.end, length)
    if not math.isfinite(end):
        raise Unusable("it does not say how long it is, and can't be cut into windows: re-encode the file")
    if segments is None and request.text:
        raise Unusable(
            "a transcript without times can't be cut into windows: let it be transcribed, or give a table with"
            " start, end and text of each part"
        )
    count = max(1, math.floor((end - request.start - window + SLACK) / hop) + 1)
    starts = request.start + hop * np.arange(count)
    last = [end - window] if end - (starts[-1] + window) > REST else []
    per_block = max(1, int(BLOCK // hop))
    for first in range(0, count, per_block):
        own = [*starts[first : first + per_block], *(last if first + per_block >= count else [])]
        windows = [(float(s), min(float(s) + window, end)) for s in own]
        piece = Piece(request.path, windows[0][0], windows[-1][1])
        yield Unit(request, piece, windows, [spoken(segments, *one) for one in windows])


def heard(transcriber: Transcriber, request: Request) -> list[Segment]:
    """What is said in a clip, times from the recording's start; [] if it has no sound."""
    try:
        found = transcriber.segments(part(request))
    except Absent:
        return []
    return [Segment(one.start + request.start, one.end + request.start, one.text) for one in found]


def spoken(segments: Sequence[Segment] | None, start: float, end: float) -> str | None:
    """What is said between two times: the segments whose middle lies there, or that which reaches in furthest."""
    if not segments:
        return None
    if inside := [one.text for one in segments if start <= (one.start + one.end) / 2 < end]:
        return " ".join(inside)

    def shared(one: Segment) -> float:
        return min(one.end, end) - max(one.start, start)

    longest = max(segments, key=shared)
    return longest.text if shared(longest) > 0 else None


def whole(unit: Unit, found: Mapping[str, Features | Unusable]) -> Sample:
    """The sample of a clip as a whole."""
    request = unit.request
    sample = Sample(request, request.start, request.end, request.text)
    for modality, result in found.items():
        if isinstance(result, Unusable):
            sample.missing[modality] = str(result)
        else:
            sample.features[modality] = result
            sample.quality |= result.quality
    if math.isinf(sample.end) and "seconds" in sample.quality:
        sample.end = sample.start + sample.quality["seconds"]
    return sample


def cut(
    unit: Unit, found: Mapping[str, Features | Unusable], window: tuple[float, float], text: str | None
) -> Sample:
    """The sample of a window, cut from the features of its block."""
    assert isinstance(unit.source, Piece)
    sample = Sample(unit.request, *window, text)
    start, end = (seconds - unit.source.start for seconds in window)
    for modality, result in found.items():
        if isinstance(result, Unusable):
            sample.missing[modality] = str(result)
            continue
        assert result.times is not None
        inside = slice(*np.searchsorted(result.times, [start - SLACK, end - SLACK]))
        rows = Features(result.values[inside], times=result.times[inside] - start)
        shown = ~np.isnan(rows.values[:, 0])
        if not shown.any():
            sample.missing[modality] = f"nothing was found in any of {len(rows.values)} frames"
            continue
        sample.features[modality] = rows
        if modality == "vision":
            sample.quality["faces"] = float(shown.mean())
    return sample
