"""Acoustic features of one clip."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Any

from cmc.features.extractors import numba_cache  # isort: split

import librosa
import numpy as np

from cmc.features import media
from cmc.features.contract import Features
from cmc.features.extractors import constant_q, quality

SETTINGS = {"f0": {"enum": ["zcr", "pyin", "autocorrelation"], "default": "zcr"}}
FRAME = 2048  # samples in an analysis frame, librosa's default
MFCC = 20
PITCH_CLASSES = ("c", "c_sharp", "d", "d_sharp", "e", "f", "f_sharp", "g", "g_sharp", "a", "a_sharp", "b")
F0_MIN, F0_MAX = 65.0, 600.0  # Hz; from a low male voice to an excited high one
BLOCK = 60.0  # s of sound treated at once
KEPT = 600.0  # s of sound kept in memory; longer ones are decoded a second time
TOP_DB = 80.0  # range below the loudest mel band that librosa keeps
VOICED = 0.45  # normalised autocorrelation from which a frame is voiced, Praat's default

# librosa says so of every clip under 2 s and of silence; it pads, and the values are finite.
EXPECTED_WARNINGS = ("n_fft=.* is too large", "Trying to estimate tuning from empty")


class ChSims33:
    """The 33 acoustic features of CH-SIMS [1]_, as its authors' code computes them with librosa.

    One column of F0, 20 MFCC and 12 constant-Q chroma. The authors' "log F0" is librosa's zero-crossing rate;
    the default keeps it, for parity with published numbers. In digital silence chroma are 0, where librosa
    scales its rounding errors up. Frame t is centred on its time, t * hop /
    sample_rate; the ends are padded, so that a clip of any length has frames, and silence has finite ones.

    Parameters
    ----------
    f0 : {"zcr", "pyin", "autocorrelation"}
        First column: zero-crossing rate, in [0, 1]; or the natural logarithm of F0 in Hz, 0 where unvoiced,
        by pYIN (slow, robust) or by YIN with voicing from the autocorrelation (ten times as fast).
    sample_rate : int
        Hz to which the sound is resampled.
    hop : int
        Samples from frame to frame.

    References
    ----------
    .. [1] Yu et al., "CH-SIMS: a Chinese multimodal sentiment analysis dataset", ACL 2020.
    """

    name = "chsims33"
    version = f"librosa {librosa.__version__}"
    dtype = "float32"

    def __init__(self, f0: str = "zcr", sample_rate: int = media.SAMPLE_RATE, hop: int = 512) -> None:
        if f0 not in F0:
            raise ValueError(f"f0 is {f0!r}: choose one of {', '.join(F0)}")
        self.settings: dict[str, Any] = {"f0": f0, "sample_rate": sample_rate, "hop": hop}
        self._mel = librosa.filters.mel(sr=sample_rate, n_fft=FRAME, htk=True)
        self.rate = sample_rate / hop
        self.columns = [
            f0 if f0 == "zcr" else f"log_f0_{f0}",
            *(f"mfcc_{i:02d}" for i in range(MFCC)),
            *(f"chroma_{pitch_class}" for pitch_class in PITCH_CLASSES),
        ]

    def __enter__(self) -> "ChSims33":
        noise = np.random.default_rng(0).normal(size=self.settings["sample_rate"]).astype(np.float32)
        numba_cache.compile_once(self.settings["f0"], lambda: self.of_wave(noise))
        return self

    def __exit__(self, *_exception) -> None:
        """Nothing is held."""

    def extract(self, path: str | Path) -> Features:
        """Features of a clip's sound.

        Returns
        -------
        Features
            values (frames, 33), finite.

        Raises
        ------
        Unusable
            See `cmc.features.media.audio`.
        """
        sample_rate = self.settings["sample_rate"]
        found = quality.Sound(sample_rate)
        pieces, kept = [], True

        def first_time() -> Iterator[np.ndarray]:
            nonlocal kept
            for piece in media.sound(path, sample_rate, found.cancels):
                found.add(piece)
                kept = kept and found.samples <= KEPT * sample_rate
                pieces.append(piece) if kept else pieces.clear()
                yield piece

        values = self._of_sound(first_time(), lambda: pieces if kept else media.sound(path, sample_rate))
        times = np.arange(len(values)) / self.rate
        return Features(values, times=times, quality=found.figures())

    def of_wave(self, wave: np.ndarray) -> np.ndarray:
        """Features (frames, 33), float32, of sound (samples,), float32, at the settings' sample rate."""
        return self._of_sound([wave], lambda: [wave])

    def _of_sound(
        self, pieces: Iterable[np.ndarray], again: Callable[[], Iterable[np.ndarray]]
    ) -> np.ndarray:
        """Features (frames, 33) of a sound in pieces, which `again` gives a second time: its tuning, on which
        every chroma depends, is known at its end."""
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message)
            f0, mel, peaks = zip(*starmap(self._first_pass, self._blocks(pieces)), strict=True)
            floor = max(block.max() for block in mel) - TOP_DB
            mfcc = [_mfcc(np.maximum(block, floor)) for block in mel]
            del mel
            tuning = _tuning(np.concatenate(peaks, axis=1))
            chroma = [self._chroma(*block, tuning) for block in self._blocks(again())]
        columns = [
            np.concatenate(f0)[np.newaxis],
            np.concatenate(mfcc, axis=1),
            np.concatenate(chroma, axis=1),
        ]
        return np.ascontiguousarray(np.vstack(columns, dtype=np.float32, casting="same_kind").T)

    def _blocks(self, pieces: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, slice]]:
        """Blocks (samples,) of a sound, and which of their frames count: they overlap by what frames reach."""
        hop = self.settings["hop"]
        size, margin = (round(seconds * self.rate) * hop for seconds in (BLOCK, constant_q.REACH))
        held, length, lead = [], 0, 0
        for piece in pieces:
            held.append(piece)
            length += len(piece)
            while length > lead + size + margin:
                wave = np.concatenate(held)
                yield wave[: lead + size + margin], slice(lead // hop, (lead + size) // hop)
                held = [wave[lead + size - margin :]]
                length, lead = len(held[0]), margin
        yield np.concatenate(held), slice(lead // hop, None)

    def _first_pass(self, wave: np.ndarray, counted: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First column (frames,), mel spectrum (bands, frames) in dB, and spectral peaks (2, peaks), of a block:
        their frequencies in Hz and their magnitudes."""
        sample_rate, hop = self.settings["sample_rate"], self.settings["hop"]
        f0 = F0[self.settings["f0"]](wave, sample_rate, hop)[counted]
        magnitude = np.abs(librosa.stft(wave, n_fft=FRAME, hop_length=hop))[:, counted]
        mel = self._mel @ np.square(magnitude)
        frequencies, sizes = librosa.piptrack(S=magnitude, sr=sample_rate)
        there = frequencies > 0
        peaks = np.stack([frequencies[there], sizes[there]])
        return f0, librosa.power_to_db(mel, top_db=None), peaks

    def _chroma(self, wave: np.ndarray, counted: slice, tuning: float) -> np.ndarray:
        """Chroma (12, frames) of a block."""
        return constant_q.chroma(wave, self.settings["sample_rate"], self.settings["hop"], tuning)[:, counted]


def _mfcc(mel: np.ndarray) -> np.ndarray:
    """MFCC (coefficients, frames) of a mel spectrum (bands, frames) in dB; a copy, lest all bands be held."""
    return librosa.feature.mfcc(S=mel, n_mfcc=MFCC).copy()


def _tuning(peaks: np.ndarray) -> float:
    """Tuning of spectral peaks (2, peaks) as `librosa.estimate_tuning` finds it, from the larger half of them."""
    frequencies, sizes = peaks
    strong = sizes >= (np.median(sizes) if len(sizes) else 0)
    return librosa.pitch_tuning(frequencies[strong], bins_per_octave=constant_q.PER_OCTAVE)


def zero_crossing_rate(wave: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Zero crossings a sample, (frames,), in [0, 1]: the published "log F0" of CH-SIMS."""
    return librosa.feature.zero_crossing_rate(wave, frame_length=FRAME, hop_length=hop)[0]


def log_f0_pyin(wave: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Natural logarithm of F0 in Hz, (frames,), 0 where unvoiced, by pYIN with its hidden Markov model."""
    f0, voiced, _ = librosa.pyin(
        wave, fmin=F0_MIN, fmax=F0_MAX, sr=sample_rate, frame_length=FRAME, hop_length=hop, fill_na=None
    )
    return np.where(voiced, np.log(f0), 0.0)


def log_f0_autocorrelation(wave: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Natural logarithm of F0 in Hz, (frames,), by YIN; 0 where the sound hardly repeats at that lag."""
    f0 = librosa.yin(wave, fmin=F0_MIN, fmax=F0_MAX, sr=sample_rate, frame_length=FRAME, hop_length=hop)
    padded = np.pad(wave, FRAME // 2)
    lags = np.round(sample_rate / f0).astype(int)
    voiced = [_periodicity(padded[i * hop : i * hop + FRAME], lag) >= VOICED for i, lag in enumerate(lags)]
    return np.where(voiced, np.log(f0), 0.0)


def _periodicity(frame: np.ndarray, lag: int) -> float:
    early, late = frame[:-lag], frame[lag:]
    energy = np.sqrt((early @ early) * (late @ late))
    return early @ late / energy if energy > 0 else 0.0


F0 = {"zcr": zero_crossing_rate, "pyin": log_f0_pyin, "autocorrelation": log_f0_autocorrelation}
