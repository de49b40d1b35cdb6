"""What is said in a clip, and when, by a Whisper-like model through transformers."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmc import hub
from cmc.features import media
from cmc.features.contract import Unusable
from cmc.features.guard import Turn

log = logging.getLogger(__name__)
SAMPLE_RATE = 16000  # Hz, Whisper's
BLOCK = 300.0  # s of sound that are held at once; a word across two blocks may be lost
SHORT = 30.0  # s that the model hears at once
SILENT = 1e-4  # peak of a sound in which nothing is said: models invent words there


class TranscriptionError(Exception):
    """A model that can't transcribe; the message says why and the way out."""


@dataclass(frozen=True)
class Segment:
    """Something said: seconds from the start of what was read, and the words."""

    start: float
    end: float
    text: str


class Transcriber:
    """Transcribes sound with a Whisper model.

    Parameters
    ----------
    model : str
        Hub name or directory, see `cmc.hub.resolve`.
    language : str, optional
        Of what is said, such as "en" or "zh"; the model guesses it by default.
    download : bool
        May the model be fetched from the hub?

    Raises
    ------
    TranscriptionError
        It isn't here, or is no Whisper.
    """

    def __init__(self, model: str, language: str | None = None, download: bool = False) -> None:
        try:
            directory = hub.resolve(model, download)
        except FileNotFoundError as error:
            raise TranscriptionError(
                f"{error} A model that transcribes is, for example, openai/whisper-small (1 GB):"
                " `hf download openai/whisper-small`, then give that name."
            ) from None
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if (kind := hub.kind(model)) != "whisper":
            raise TranscriptionError(
                f"{model} is a model of the kind {kind}: give one of Whisper's, such as openai/whisper-small"
            )
        self._model = transformers.WhisperForConditionalGeneration.from_pretrained(
            directory, **hub.OPTIONS
        ).eval()
        self._processor = transformers.AutoProcessor.from_pretrained(directory, **hub.OPTIONS)
        many = getattr(self._model.generation_config, "is_multilingual", False)
        self._options: dict[str, Any] = {"task": "transcribe"} if many else {}
        if many and language:
            self._options["language"] = language

    def segments(self, source: media.Source) -> list[Segment]:
        """What is said in a clip; [] in silence.

        Raises
        ------
        Unusable
            See `cmc.features.media.sound`.
        """
        found: list[Segment] = []
        for start, wave in blocks(media.sound(source, SAMPLE_RATE)):
            found += [Segment(start + said.start, start + said.end, said.text) for said in self.of_wave(wave)]
        return found

    def of_wave(self, wave: np.ndarray) -> list[Segment]:
        """What is said in sound (samples,), float32, at 16 kHz."""
        import torch

        length = len(wave) / SAMPLE_RATE
        if not len(wave) or np.abs(wave).max() < SILENT:
            return []
        long = {"truncation": False, "padding": "longest"} if length > SHORT else {}
        inputs = self._processor(
            wave, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True, **long
        )
        with torch.inference_mode():
            said = self._model.generate(
                **inputs, return_timestamps=True, return_segments=True, temperature=0.0, **self._options
            )["segments"][0]
        found = []
        for one in said:
            text = " ".join(self._processor.decode(one["tokens"], skip_special_tokens=True).split())
            start, end = float(one["start"]), min(float(one["end"]), length)
            if text and start < end:
                found.append(Segment(start, end, text))
        return found


def of_clips(model: Transcriber, recordings: Mapping[str, Any], turn: Turn) -> dict[str, str]:
    """Clip -> what is said in it; nothing where that can't be found out, of which the log tells why.

    Parameters
    ----------
    model : Transcriber
    recordings : mapping
        Clip -> what `cmc.features.media.source` takes.
    turn : Turn
        Of a guard; see `cmc.features.guard.run`.
    """
    said = {}
    for clip in [
        *turn.suspects,
        *recordings,
    ]:  # the suspects before the others, whose work would be lost with them
        try:
            if clip in turn.refused:
                raise Unusable(turn.refused[clip])
            turn.begin(clip)
            segments = model.segments(media.source(recordings[clip]))
        except Unusable as reason:
            log.warning("%s can't be transcribed: %s", clip, reason)
            segments = []
        said[clip] = " ".join(segment.text for segment in segments)
        log.info("%d of %d clips", len(said), len(recordings))
    return said


def blocks(pieces: Iterator[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Sound in blocks of `BLOCK` seconds, each with its start in seconds."""
    size, start, held, length = round(BLOCK * SAMPLE_RATE), 0, [np.zeros(0, np.float32)], 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        while length >= size:
            wave = np.concatenate(held)
            yield start / SAMPLE_RATE, wave[:size]
            held, length, start = [wave[size:]], length - size, start + size
    if length:
        yield start / SAMPLE_RATE, np.concatenate(held)
