"""Speech features of one clip, from a frozen Hugging Face encoder."""

import json
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cmc import hub
from cmc.features import media
from cmc.features.contract import Features, Unusable
from cmc.features.extractors import quality

SETTINGS = {
    "encoder": {"type": "string", "minLength": 1, "format": "encoder"},
    "layer": {"type": "integer", "not": {"const": 0}, "default": -1},
    "chunk": {"type": "number", "minimum": 1, "default": 20.0},
}
SAMPLE_RATE = 16000  # Hz, what these encoders were trained on
CONTEXT = 5.0  # s to either side of a chunk that its frames still hear
READER = "preprocessor_config.json"


class HuggingFaceSpeech:
    """Hidden states of a speech encoder such as wav2vec2, HuBERT or WavLM, one row every 20 ms.

    A row's time is the middle of the 25 ms that the encoder's convolutions see of it.

    Parameters
    ----------
    encoder : str
        See `cmc.hub.resolve`.
    layer : int
        Whose hidden states: 1 is the encoder's first transformer layer, -1 its last. Voice and emotion often show
        best in the middle.
    chunk : float
        Seconds encoded at once, which bounds memory. In longer clips a frame hears `CONTEXT` s beyond its chunk,
        no longer all of the clip: its row changes a little.
    download : bool
        May the encoder be fetched from the hub?

    Raises
    ------
    FileNotFoundError, ValueError
        See `cmc.hub.load`; or the encoder is of another kind, or for another sample rate.
    """

    name = "hugging_face_speech"
    version = f"transformers {version('transformers')}"
    dtype = "float16"

    def __init__(self, encoder: str, layer: int = -1, chunk: float = 20.0, download: bool = False) -> None:
        directory = hub.resolve(encoder, download)
        self._normalises = normalises(directory)
        self._model = hub.load(encoder, layer, download)
        config = self._model.config
        if not hasattr(config, "conv_stride"):
            raise ValueError(
                f"{encoder} is of the kind {config.model_type}, which takes no wave; give a wav2vec2, HuBERT, "
                "WavLM or one built like them"
            )
        self._hop = math.prod(config.conv_stride)  # samples from frame to frame
        self._width = receptive_field(config.conv_kernel, config.conv_stride)
        self._chunk, self._context = (round(s * SAMPLE_RATE / self._hop) for s in (chunk, CONTEXT))  # frames
        self.rate = SAMPLE_RATE / self._hop
        self.columns = [f"hidden_{i:04d}" for i in range(config.hidden_size)]
        self.settings = {
            "encoder": encoder,
            "layer": layer,
            "chunk": chunk,
            "model_sha256": hub.model_sha256(directory),
        }

    def __enter__(self) -> "HuggingFaceSpeech":
        return self

    def __exit__(self, *_exception) -> None:
        del self._model

    def extract(self, path: str | Path) -> Features:
        """Features of a clip's sound.

        Returns
        -------
        Features
            values (frames, hidden), finite; float16 from the start, since those of an hour are large.

        Raises
        ------
        Unusable
            The sound is shorter than a frame; and see `cmc.features.media.audio`.
        """
        found = quality.Sound(SAMPLE_RATE)
        wave = media.audio(path, SAMPLE_RATE, found.cancels)
        found.add(wave)
        values = self.of_wave(wave)
        times = (np.arange(len(values)) * self._hop + self._width / 2) / SAMPLE_RATE
        return Features(values, times=times, quality=found.figures())

    def of_wave(self, wave: np.ndarray) -> np.ndarray:
        """Features (frames, hidden), float16, of sound (samples,), float32, at 16 kHz."""
        import torch

        frames = 1 + (len(wave) - self._width) // self._hop
        if frames < 1:
            shortest = 1000 * self._width / SAMPLE_RATE
            raise Unusable(
                f"{1000 * len(wave) / SAMPLE_RATE:.0f} ms of sound; a frame takes {shortest:.0f} ms"
            )
        # of the whole clip, as the encoder's own feature extractor does
        mean, scale = (wave.mean(), np.sqrt(wave.var() + 1e-7)) if self._normalises else (0.0, 1.0)
        values = np.empty((frames, len(self.columns)), self.dtype)
        for start in range(0, frames, self._chunk):
            stop = min(start + self._chunk, frames)
            first, last = max(0, start - self._context), stop + self._context
            end = (last - 1) * self._hop + self._width if last < frames else len(wave)
            samples = ((wave[first * self._hop : end] - mean) / scale).astype(np.float32, copy=False)
            with torch.inference_mode():
                states = self._model(torch.from_numpy(samples)[None]).last_hidden_state[0]
            values[start:stop] = states[start - first : stop - first].numpy()
        return values


def normalises(directory: Path) -> bool:
    """Whether an encoder takes waves of mean 0 and variance 1, as its feature extractor says.

    Raises
    ------
    ValueError
        If it takes another sample rate, or something else than waves.
    """
    if not (directory / READER).is_file():
        raise FileNotFoundError(
            f"The encoder in {directory} lacks {READER}, which says how to prepare the sound."
        )
    reader = json.loads((directory / READER).read_text())
    rate = reader.get("sampling_rate")
    if rate != SAMPLE_RATE:
        raise ValueError(
            f"the encoder in {directory} takes sound of {rate} Hz by its {READER}; need {SAMPLE_RATE}"
        )
    return bool(reader.get("do_normalize", True))


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Samples that one frame of a stack of convolutions sees."""
    width, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        width += (kernel - 1) * step
        step *= stride
    return width
