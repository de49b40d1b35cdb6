"""A clip with what was read in it: landmarks on the face, the three readings and the consensus over time."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from cmc import files
from cmc.corpus.requests import Request
from cmc.features import media
from cmc.features.contract import Absent, Unusable
from cmc.features.extractors.mediapipe import MediaPipe
from cmc.labels import NEGATIVE, POSITIVE, Scheme
from cmc.prediction.extraction import part

RATE = 25.0  # pictures a second at most
SAMPLE_RATE = 44100  # Hz
TICKS = 1000  # a second
SMALLEST = 480  # pixels of width: smaller pictures are enlarged, so that the writing fits
STRIP = 0.32  # height of what is below the picture, of its own
CONSENSUS = "consensus"
COLOURS = {  # red, green, blue; as in the report
    "text": (0, 114, 178),
    "audio": (213, 94, 0),
    "vision": (0, 158, 115),
    CONSENSUS: (34, 34, 34),
}
FONT = cv2.FONT_HERSHEY_SIMPLEX
PAPER = 255


def write(
    out: str | Path,
    request: Request,
    rows: Sequence[Mapping[str, Any]],
    modalities: Sequence[str],
    scheme: Scheme,
) -> None:
    """Write a film of a clip with its readings; it appears whole or not at all. Memory does not grow with length.

    Parameters
    ----------
    out : path
        .mp4 file (H.264, AAC).
    request : Request
    rows : sequence of mapping
        Its readings, see `cmc.prediction.model.Model.predict`: one, or one a window.
    modalities : sequence of str
        Those of the model.

    Raises
    ------
    Unusable
        It has no pictures, or can't be read to its end.
    """
    source = part(request)
    with files.whole(out) as partial, av.open(str(partial), "w", format="mp4") as film, MediaPipe() as finder:
        video, sound = None, Sound(film, source)
        for seconds, rgb in media.frames(source, RATE):
            picture = enlarged(rgb)
            if video is None:
                tall = round(picture.shape[0] * STRIP)
                below = Strip(rows, modalities, picture.shape[1], tall, request.start, scheme)
                video = film.add_stream("libx264", rate=round(RATE), options={"crf": "23"})
                video.width, video.height = (side // 2 * 2 for side in below.size(picture))
                video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, TICKS)
            mark(picture, finder.largest(rgb), picture.shape[1] / rgb.shape[1])
            whole = np.vstack([picture, below.at(request.start + seconds)])[: video.height, : video.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(whole), format="rgb24")
            frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
            film.mux(video.encode(frame))
            sound.until(seconds)
        if video is None:
            raise Unusable("it has no pictures to draw on")
        film.mux(video.encode())
        sound.until(float("inf"))


def enlarged(rgb: np.ndarray) -> np.ndarray:
    """A copy of a picture, no smaller than `SMALLEST` pixels across."""
    width = rgb.shape[1]
    if width >= SMALLEST:
        return rgb.copy()
    factor = SMALLEST / width
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def mark(picture: np.ndarray, face: Any, factor: float) -> None:
    """Draw a face's landmarks, if there is one."""
    if face is not None:
        for x, y in np.rint(face.points[:, :2] * factor).astype(int):
            cv2.circle(picture, (int(x), int(y)), 1, COLOURS["vision"], -1, cv2.LINE_AA)


def height(row: Mapping[str, Any], name: str, scheme: Scheme) -> float:
    """What is drawn of a reading; NaN where a modality is missing.

    Of polarity the probability of positive less that of negative, in [-1, 1]. Of emotions by name, how sure the
    reading is of the class that the consensus reads: -1 if not at all, 1 if wholly.
    """
    prefix = "" if name == CONSENSUS else f"{name}_"
    if not scheme.polar:
        return 2 * float(row[f"{prefix}{row['class']}"]) - 1
    return float(row[f"{prefix}{scheme.classes[POSITIVE]}"]) - float(
        row[f"{prefix}{scheme.classes[NEGATIVE]}"]
    )


class Strip:
    """What is below the picture: each reading over time (see `height`), and in words what is read now."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        modalities: Sequence[str],
        width: int,
        height: int,
        start: float,
        scheme: Scheme,
    ) -> None:
        self.rows, self.names, self.scheme = rows, [*modalities, CONSENSUS], scheme
        self.start, self.width, self.height = start, width, height
        self.middles = np.array([(row["start"] + row["end"]) / 2 for row in rows])
        self.end = max(float(row["end"]) for row in rows)
        self.scale = max(0.35, height / 300)
        self.left, self.top, self.bottom = round(width * 0.42), round(height * 0.12), round(height * 0.88)
        self.graph = self._graph()

    def size(self, picture: np.ndarray) -> tuple[int, int]:
        """Width and height of the film."""
        return self.width, picture.shape[0] + self.height

    def at(self, seconds: float) -> np.ndarray:
        """The strip (height, width, 3) at a time of the recording."""
        strip = self.graph.copy()
        x = self._across(seconds)
        cv2.line(strip, (x, self.top), (x, self.bottom), (150, 150, 150), 1, cv2.LINE_AA)
        row = self.rows[int(np.abs(self.middles - seconds).argmin())]
        for place, name in enumerate(self.names):
            prefix = "" if name == CONSENSUS else f"{name}_"
            said = row[f"{prefix}class"]
            words = f"{said} {float(row[f'{prefix}{said}']):.0%}" if said else "missing"
            y = self.top + round((place + 0.5) * (self.bottom - self.top) / len(self.names))
            self._write(strip, f"{name}: {words}", (round(self.width * 0.02), y), COLOURS[name])
        return strip

    def _graph(self) -> np.ndarray:
        strip = np.full((self.height, self.width, 3), PAPER, np.uint8)
        signs = ("+", "0", "-") if self.scheme.polar else ("1", "", "0")
        for value, label in zip((1, 0, -1), signs, strict=True):
            y = self._up(value)
            cv2.line(strip, (self.left, y), (self.width - 8, y), (225, 225, 225), 1)
            self._write(strip, label, (self.left - round(22 * self.scale) - 4, y + 4), (120, 120, 120))
        for name in self.names:
            values = [(row["start"], row["end"], height(row, name, self.scheme)) for row in self.rows]
            points = [
                (self._across((start + end) / 2), self._up(value))
                for start, end, value in values
                if value == value
            ]
            if len(self.rows) == 1 and points:
                points = [(self.left, points[0][1]), (self.width - 8, points[0][1])]
            thick = 3 if name == CONSENSUS else 2
            cv2.polylines(
                strip,
                [np.array(points, np.int32).reshape(-1, 1, 2)],
                False,
                COLOURS[name],
                thick,
                cv2.LINE_AA,
            )
        return strip

    def _across(self, seconds: float) -> int:
        share = (seconds - self.start) / max(self.end - self.start, 1e-3)
        return round(self.left + min(max(share, 0), 1) * (self.width - 8 - self.left))

    def _up(self, value: float) -> int:
        return round((self.top + self.bottom) / 2 - value * (self.bottom - self.top) / 2)

    def _write(
        self, strip: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]
    ) -> None:
        cv2.putText(strip, text, place, FONT, self.scale, colour, 1, cv2.LINE_AA)


class Sound:
    """The clip's sound, passed on as far as the pictures are; nothing if it has none."""

    def __init__(self, film: av.container.OutputContainer, source: media.Source) -> None:
        self.film, self.written = film, 0
        self.pieces: Iterator[np.ndarray] = media.sound(source, SAMPLE_RATE)
        self.next: np.ndarray | None = None
        try:
            self.next = next(self.pieces)
        except (Absent, StopIteration):
            return
        self.stream = film.add_stream("aac", rate=SAMPLE_RATE)
        self.stream.layout = "mono"

    def until(self, seconds: float) -> None:
        """Write all that is heard up to a time; the rest and the end if it is infinite."""
        while self.next is not None and self.written <= seconds * SAMPLE_RATE:
            frame = av.AudioFrame.from_ndarray(np.clip(self.next, -1, 1)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = (
                SAMPLE_RATE,
                self.written,
                Fraction(1, SAMPLE_RATE),
            )
            self.film.mux(self.stream.encode(frame))
            self.written += len(self.next)
            self.next = next(self.pieces, None)
            if self.next is None:
                self.film.mux(self.stream.encode())
