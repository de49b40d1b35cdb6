"""Constant-Q chroma as librosa computes it, several times as fast: filters are built once, not at every call.

librosa builds its filters anew for each clip and octave. An octave lower means the same filters on sound of half
the rate, so one octave of them serves all; and they depend on the clip through its tuning alone, which has a
hundred values.
"""

from functools import lru_cache

import librosa
import numpy as np
from scipy import fft, sparse

OCTAVES = 7
PER_OCTAVE = 36  # filters
PITCH_CLASSES = 12
SPARSITY = 0.01  # share of a filter's magnitude that is dropped, librosa's default
FLOOR = 1e-4  # magnitude up to which a frame is silent: that of noise 107 dB below full scale
REACH = 2.5  # s of sound before and after a frame that can change its chroma; the longest filter lasts 3 s


def chroma(wave: np.ndarray, sample_rate: int, hop: int, tuning: float) -> np.ndarray:
    """Share of each pitch class in the sound, relative to the strongest.

    Equals `librosa.feature.chroma_cqt(y=wave, sr=sample_rate, hop_length=hop, tuning=tuning)` where that doesn't
    halve the rate before it begins, as it does from about 34 kHz on; but for digital silence, where librosa scales
    up what rounding leaves and this gives zeros (`FLOOR`).

    Parameters
    ----------
    wave : ndarray (samples,), float32
    sample_rate : int
        Hz, at least 10000: the highest filter lies beyond 4 kHz.
    hop : int
        Samples from frame to frame, a multiple of 64: from octave to octave it is halved.
    tuning : float in [-0.5, 0.5)
        How far the sound is from 440 Hz for A, in thirds of a semitone.

    Returns
    -------
    ndarray (12, frames), float32, in [0, 1]; the largest of a frame is 1, or 0 in silence
        From C to B; frame t is centred on sample t * hop.

    Raises
    ------
    ValueError
        `hop` is no multiple of 64.
    """
    if hop % 2 ** (OCTAVES - 1):
        raise ValueError(f"hop is {hop}: it must be a multiple of {2 ** (OCTAVES - 1)}")
    filters = top_octave(sample_rate, tuning)
    width = 2 * (filters.shape[1] - 1)
    frames = 1 + len(wave) // hop
    magnitude = np.zeros((PER_OCTAVE, frames), np.float32)  # summed over octaves
    for octave in range(OCTAVES):
        if octave:
            wave = librosa.resample(wave, orig_sr=2, target_sr=1, res_type="soxr_hq", scale=True)
            hop //= 2
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, width // 2), width)[::hop]
        spectra = fft.rfft(windows[:frames], axis=1)  # rounded lengths may give a frame too many
        magnitude += np.abs(filters.dot(spectra.T))
    classes = _to_pitch_classes() @ magnitude
    classes[:, classes.max(axis=0) <= FLOOR] = 0
    return librosa.util.normalize(classes, norm=np.inf, axis=0)


@lru_cache(maxsize=128)
def top_octave(sample_rate: int, tuning: float) -> sparse.csr_matrix:
    """Spectra (filters, frequencies), complex64, of the highest octave's filters, sparse."""
    lowest = float(librosa.note_to_hz("C1")) * 2 ** (tuning / PER_OCTAVE)
    frequencies = librosa.cqt_frequencies(OCTAVES * PER_OCTAVE, fmin=lowest, bins_per_octave=PER_OCTAVE)
    basis, lengths = librosa.filters.wavelet(freqs=frequencies[-PER_OCTAVE:], sr=sample_rate, gamma=0)
    width = basis.shape[1]
    spectra = fft.fft(basis * (lengths[:, np.newaxis] / width), axis=1)[:, : width // 2 + 1]
    kept = librosa.util.sparsify_rows(spectra, quantile=SPARSITY, dtype=np.complex64)
    return sparse.csr_matrix(kept.multiply(1 / np.sqrt(lengths)[:, np.newaxis]), dtype=np.complex64)


@lru_cache(maxsize=1)
def _to_pitch_classes() -> np.ndarray:
    return librosa.filters.cq_to_chroma(PER_OCTAVE, bins_per_octave=PER_OCTAVE, n_chroma=PITCH_CLASSES)
