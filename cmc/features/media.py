"""Sound and pictures of one clip, decoded with PyAV (it brings its own FFmpeg), timed from the clip's start.

The clip starts where the container says its earliest stream does (FFmpeg's own convention). What the
container signals is honoured: edit lists, encoder priming, a late stream, gaps. Delays that it doesn't signal
(AVI, MP4 without edit lists: some 20 to 60 ms between sound and picture) can't be seen.

A damaged clip is refused, not half read: a packet that doesn't decode or a picture with errors in it (of those
that are decoded), or a file that ends well before its header says, makes the clip unusable, for what is left would
be an unnoticed part of what was said. A video that simply is short is fine. Damage is seen where the decoder
notices it: a flipped bit may leave a valid stream of wrong pictures, and FFmpeg's HEVC decoder tells hardly any.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from cmc.features.contract import Absent, Unusable

SAMPLE_RATE = 22050  # Hz
TIME_TOLERANCE = 1e-3  # s; Matroska rounds time stamps to milliseconds
GAP = 0.05  # s; a shorter hole or overlap in the sound's time stamps is rounding
LONGEST_GAP = 60.0  # s; a longer one is a broken time stamp
SHORTFALL = 0.25  # s by which a whole file may end before its header says
SKIPPING = ("h264", "hevc")  # decoders that can leave out frames which no other frame needs
HEADER_HOLDS_DURATION = ("mp4", "matroska")  # elsewhere FFmpeg estimates it, from the bit rate
JUMPS = (0.0, 5.0, 20.0, 60.0)  # s by which a piece is aimed at too early, until a key picture lies before it
CANCELLED = 0.01  # of the energy that unlike channels keep when they are averaged; like ones keep more
CANCELLED_OVER = 0.1  # s of sound by which that is judged, the latest counting most
CLEARLY = 2.0  # times the energy that makes another channel the loudest; a change is a jump in the sound
LONGEST_SIDE = 16384  # pixels; OpenCV under MediaPipe ends the process at a picture of 32,767
PREROLL = 1.0  # s decoded before a piece's sound: the first packets after a jump lack what came before them


@dataclass(frozen=True)
class Piece(os.PathLike):
    """Part of a recording, read as if it were a clip of its own; what lies before it is jumped over.

    Attributes
    ----------
    path : str
        The recording.
    start, end : float
        Seconds from the recording's start.
    """

    path: str
    start: float
    end: float

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"{self.path}, {self.start:g} to {self.end:g} s"


Source = str | Path | Piece


def source(planned: str | tuple[str, float, float]) -> str | Piece:
    """What a plan names: a file, or a recording and the seconds between which a piece of it lies."""
    return planned if isinstance(planned, str) else Piece(*planned)


def duration(path: Source) -> float:
    """Seconds that a file's header promises; NaN where it doesn't.

    Raises
    ------
    Unusable
        The file can't be read.
    """
    with _opened(path) as container:
        return math.nan if container.duration is None else container.duration / av.time_base


def _unheard(samples: int) -> None:
    """Nobody wants to know."""


def audio(
    path: Source, sample_rate: int = SAMPLE_RATE, cancelled: Callable[[int], None] = _unheard
) -> np.ndarray:
    """Sound of a clip, all channels averaged, as a whole; see `sound`, which holds one piece at a time.

    Returns
    -------
    ndarray (samples,), float32
    """
    return np.concatenate(list(sound(path, sample_rate, cancelled)))


def sound(
    path: Source, sample_rate: int = SAMPLE_RATE, cancelled: Callable[[int], None] = _unheard
) -> Iterator[np.ndarray]:
    """Sound of a clip, all channels averaged, in pieces that follow each other without a gap.

    Where channels cancel each other when they are averaged (one is the other turned over, as a wrongly wired
    microphone makes it), the loudest is taken. Sample 0 lies at the clip's start: sound that starts late, or stops
    for a while, is filled with zeros.

    Parameters
    ----------
    path : str, Path or Piece
        Any file that FFmpeg reads.
    sample_rate : int
        Hz of the result, whatever the file's.
    cancelled : callable, optional
        To be told of how many samples the loudest channel was taken.

    Yields
    ------
    ndarray (samples,), float32
        Mostly in [-1, 1]: a lossy codec overshoots a little.

    Raises
    ------
    Unusable
        No audio track, no sample in it, or a file that can't be read to its end (raised where the damage is).
    """
    samples, (start, end) = 0, _span(path)
    with _opened(path) as container:
        stream = _best(container, "audio")
        _jump(container, stream, start - PREROLL)
        for piece in _mono(container, stream, _Mixer(sample_rate, cancelled), start, end):
            if not np.isfinite(piece).all():
                raise Unusable("the audio track holds samples that are not finite numbers")
            samples += len(piece)
            yield piece
    if not samples:
        raise Unusable("no sound could be decoded from the audio track")


def frames(path: Source, rate: float) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures of a clip, upright, sampled by presentation time stamp.

    For each instant 0, 1/rate, 2/rate, ... the first frame at or after it, each frame at most once: the rows
    keep the times of real frames, at any and at a variable frame rate. Of the frames between only those are
    decoded that others need, and none is converted.

    Parameters
    ----------
    path : str, Path or Piece
        Any file that FFmpeg reads.
    rate : float
        Samples per second; above the video's own rate every frame comes once.

    Yields
    ------
    seconds : float
        From the clip's start.
    rgb : ndarray (height, width, 3), uint8, C-contiguous
        Square pixels, turned and mirrored as the file asks.

    Raises
    ------
    Unusable
        No video track, no frame in it, or a file that can't be read to its end (raised where the damage is).
    """
    with _opened(path) as container:
        stream = _best(container, "video")
        start, end = _span(path)
        _jump(container, stream, start)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        reformatter = VideoReformatter()  # one for all: setting it up costs more than a picture
        sampler = _Sampler(rate)
        found = False
        for frame in _decoded(container, stream, _needed(path, rate), whole=end == math.inf):
            seconds = _seconds(frame, container) - start
            if seconds < -TIME_TOLERANCE:
                continue
            if seconds >= end - start - TIME_TOLERANCE:
                break
            found = True
            if frame.is_corrupt:
                raise Unusable(f"damaged: an error in the picture at {seconds:.2f} s: replace the file")
            if sampler.takes(seconds):
                yield max(0.0, seconds), _upright(frame, aspect, reformatter)
        if not found:
            raise Unusable("no picture could be decoded from the video track")


class _Mixer:
    """Averages the channels of sound that arrives in pieces, or takes the loudest where these cancel each other.

    Parameters
    ----------
    sample_rate : int
        Hz.
    cancelled : callable
        To be told of how many samples the loudest was taken.
    """

    def __init__(self, sample_rate: int, cancelled: Callable[[int], None]) -> None:
        self.sample_rate, self.cancelled = sample_rate, cancelled
        self.averaged, self.each = 0.0, np.zeros(1)  # energies, of late
        self.taken: int | None = None

    def mix(self, channels: np.ndarray) -> np.ndarray:
        """One channel (samples,) of a piece (channels, samples)."""
        average, (count, samples) = channels.mean(axis=0), channels.shape
        if count == 1:
            return average
        fade = math.exp(-samples / (CANCELLED_OVER * self.sample_rate))
        self.averaged = fade * self.averaged + float(average @ average)
        self.each = fade * self.each + np.square(channels).sum(axis=1)
        if not self.averaged < CANCELLED * self.each.sum() / count**2:
            return average
        self.cancelled(samples)
        if self.taken is None or self.each.max() > CLEARLY * self.each[self.taken]:
            self.taken = int(self.each.argmax())
        return channels[self.taken]


class _Sampler:
    """Chooses, of increasing times in seconds, the first at or after each multiple of 1/rate."""

    def __init__(self, rate: float) -> None:
        self.rate, self.due = rate, 0

    def takes(self, seconds: float) -> bool:
        if seconds + TIME_TOLERANCE < self.due / self.rate:
            return False
        self.due = int((seconds + TIME_TOLERANCE) * self.rate) + 1
        return True


def _needed(path: Source, rate: float) -> set[int] | None:
    """Presentation times, in the stream's ticks, of the frames that sampling takes: read from the packets, without
    decoding. None where these don't tell, or the decoder can't leave out any."""
    with _opened(path) as container:
        stream = _best(container, "video")
        if stream.codec_context.name not in SKIPPING or not _header_holds_duration(container):
            return None
        origin, (start, end) = _origin(container), _span(path)
        _jump(container, stream, start)
        # the times alone: packets hold the whole compressed video
        ticks = []
        for packet in container.demux(stream):
            if packet.dts is not None and float(packet.dts * stream.time_base) - origin > end:
                break  # pictures are decoded before they are shown: those that follow come later still
            if packet.size and not packet.is_discard:
                ticks.append(packet.pts)
        if None in ticks or len(set(ticks)) < len(ticks):
            return None
        sampler = _Sampler(rate)
        seconds = ((t, float(t * stream.time_base) - origin - start) for t in sorted(ticks))
        return {t for t, s in seconds if -TIME_TOLERANCE <= s < end - start and sampler.takes(s)}


def _span(path: Source) -> tuple[float, float]:
    """Seconds from the recording's start at which what is read begins and ends."""
    return (path.start, path.end) if isinstance(path, Piece) else (0.0, math.inf)


def _jump(container: av.container.InputContainer, stream: av.stream.Stream, seconds: float) -> None:
    """Go on at a packet of `stream` before a time from which decoding can start, if that is not the start.

    Some containers (MPEG-TS) have no index, and land anywhere: then further back, at last at the beginning.
    """
    if seconds <= 0:
        return
    for earlier in (seconds - back for back in JUMPS if back < seconds):
        target = int((earlier + _origin(container)) * av.time_base)
        container.seek(target)
        key = next((p for p in container.demux(stream) if p.is_keyframe and p.pts is not None), None)
        if key and float(key.pts * key.time_base) - _origin(container) <= seconds + TIME_TOLERANCE:
            container.seek(target)
            return
    container.seek(container.start_time or 0)


@contextmanager
def _opened(path: Source) -> Iterator[av.container.InputContainer]:
    source, path = path, Path(path).absolute()
    if path.is_file() and not path.stat().st_size:
        raise Unusable("the file is empty (0 bytes)")
    try:
        # "file:", so that a name with a colon isn't taken for a protocol
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            if isinstance(source, Piece) and container.duration is not None:
                length = container.duration / av.time_base
                last = source.start if math.isinf(source.end) else source.end
                if not (0 <= source.start < source.end and last <= length + SHORTFALL):
                    raise Unusable(
                        f"the piece from {source.start:g} to {source.end:g} s is not in the recording, which has"
                        f" {length:.2f} s"
                    )
            yield container
    except FileNotFoundError as error:
        raise Unusable("no such file") from error
    except av.FFmpegError as error:
        reason = f"can't be read to its end ({error.strerror}): replace or re-encode the file"
        raise Unusable(reason) from error


def _best(container: av.container.InputContainer, kind: str) -> av.stream.Stream:
    """The track that FFmpeg would take, of those that it can decode: phones put another beside it."""
    stream = container.streams.best(kind)
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise Absent(f"no {kind} track")
    if stream.codec_context is None:
        tracks = [one for one in container.streams if one.type == kind and _decodable(one)]
        if not tracks:
            raise Unusable(f"FFmpeg knows no decoder for the {kind} track: re-encode the file")
        stream = max(tracks, key=lambda one: bool(one.disposition & av.stream.Disposition.default))
    stream.codec_context.thread_count = 1  # the workflow runs one clip a core
    return stream


def _decodable(stream: av.stream.Stream) -> bool:
    return stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic


def _decoded(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    needed: set[int] | None = None,
    whole: bool = True,
) -> Iterator[av.frame.Frame]:
    """Every frame of `stream`, but perhaps for those that are not `needed` and that no other frame needs; the
    other streams are only demuxed, to see where the file ends, which is judged of a `whole` one."""
    end, decodable = 0.0, whole  # a piece's first packets may need some that were jumped over
    for packet in container.demux():
        if packet.pts is not None:
            end = max(end, (packet.pts + (packet.duration or 0)) * float(packet.time_base))
        if packet.is_corrupt:
            raise Unusable("truncated or damaged (a corrupt packet): replace or re-encode the file")
        if packet.stream.index == stream.index:
            decodable = decodable or packet.is_keyframe or not packet.size
            if not decodable:
                continue
            if needed is not None:
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            yield from packet.decode()
    if not whole or not _header_holds_duration(container):
        return
    promised = (container.duration or 0) / av.time_base
    if (
        promised - end > SHORTFALL
    ):  # `end` counts from 0, not from the clip's start, as Matroska's duration does
        raise Unusable(f"truncated: ends at {end:.1f} s of the {promised:.1f} s that its header promises")


def _header_holds_duration(container: av.container.InputContainer) -> bool:
    return any(name in container.format.name for name in HEADER_HOLDS_DURATION)


def _origin(container: av.container.InputContainer) -> float:
    return (container.start_time or 0) / av.time_base


def _seconds(frame: av.frame.Frame, container: av.container.InputContainer) -> float:
    ticks = frame.dts if frame.pts is None else frame.pts  # AVI stores no presentation times
    if ticks is None:
        raise Unusable("the video track has no time stamps: re-encode the file")
    # not below 0, which FFmpeg rounds to a microsecond
    return max(0.0, float(ticks * frame.time_base) - _origin(container))


def _mono(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    mixer: "_Mixer",
    begin: float,
    end: float,
) -> Iterator[np.ndarray]:
    """Pieces (samples,) that follow each other without a gap, between two times: of sound, or of silence where it
    has a hole."""
    sample_rate = mixer.sample_rate
    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    origin = _origin(container) + begin
    last = math.inf if end == math.inf else round((end - begin) * sample_rate)
    first = position = None  # of samples; negative before the beginning
    for frame in chain(_decoded(container, stream, whole=end == math.inf), [None]):
        for piece in _resampled(resampler, frame):
            start = position or 0 if piece.pts is None else round((piece.time - origin) * sample_rate)
            if first is None or position is None:
                first = position = min(start, 0) if begin else 0
            silence = _silence(start - position, sample_rate, begun=position > first)
            for part in (silence, mixer.mix(piece.to_ndarray())):
                position += len(part)
                kept = part[len(part) - min(len(part), max(position, 0)) :]
                if position > last:
                    kept = kept[: max(0, len(kept) - int(position - last))]
                if len(kept):
                    yield kept
            if position is not None and position >= last:
                return


def _resampled(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
    try:
        return resampler.resample(frame)
    except ValueError as error:  # PyAV's, for a frame unlike the first
        raise Unusable("the sound changes rate or channels midway: re-encode the file") from error


def _silence(samples: int, sample_rate: int, begun: bool) -> np.ndarray:
    """Silence (samples,) for a hole of so many samples, none if that is mere rounding of time stamps; for an
    overlap, which is negative, there is none, for either sound would be lost or all that follows come late."""
    seconds = samples / sample_rate
    if seconds < -GAP:
        raise Unusable(f"the sound's time stamps jump back by {-seconds:.2f} s: re-encode the file")
    if seconds > LONGEST_GAP:
        raise Unusable(f"the sound's time stamps jump by {seconds:.0f} s: re-encode the file")
    filled = seconds > (GAP if begun else 0)
    return np.zeros(samples if filled else 0, np.float32)


def _upright(frame: av.VideoFrame, aspect: Fraction, reformatter: VideoReformatter) -> np.ndarray:
    width = max(1, round(frame.width * aspect))
    if max(width, frame.height) > LONGEST_SIDE:
        raise Unusable(
            f"a picture of {width} x {frame.height} pixels, more than {LONGEST_SIDE} to a side: re-encode the file"
        )
    rgb = reformatter.reformat(frame, width=width, height=frame.height, format="rgb24").to_ndarray()
    # Contiguous: PyAV pads rows of some widths, and MediaPipe would misread them without a word.
    return np.ascontiguousarray(np.rot90(rgb[::-1] if _mirrored(frame) else rgb, round(frame.rotation / 90)))


def _mirrored(frame: av.VideoFrame) -> bool:
    """Whether the file asks for a reflection: upside down, before it is turned."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).astype(float)  # x' = ax + cy, y' = bx + dy
    return a * d < b * c
