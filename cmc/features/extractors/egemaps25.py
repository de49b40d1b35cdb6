"""The 25 low-level descriptors of eGeMAPS of one clip, by openSMILE."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from cmc.features import media
from cmc.features.contract import Features, Unusable
from cmc.features.extractors import quality

try:
    import opensmile
except ImportError as error:
    raise ImportError(
        'the extractor egemaps25 needs openSMILE, which is not installed: pip install -e ".[opensmile]". '
        "audEERING's licence allows private, educational and research use of it, no commercial use"
    ) from error

SETTINGS: dict[str, dict] = {}
NEEDS = {"opensmile": 'pip install -e ".[opensmile]"'}  # package -> how one gets it
SAMPLE_RATE = 16000  # Hz; mel bands and formants reach up to 8 and 5.5 kHz
STEP, WINDOW = 0.01, 0.02  # s
SHORTEST = 0.06  # s; the window of F0, jitter and shimmer


class Egemaps25:
    """eGeMAPSv02's low-level descriptors [1]_, 100 rows a second: what CH-SIMS v2 has for audio.

    Loudness, spectral balance and flux, 4 MFCC, F0, jitter, shimmer, harmonics and formants, each smoothed over
    three frames. A row's time is the middle of its 20 ms window.

    References
    ----------
    .. [1] Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and affective
       computing", IEEE Transactions on Affective Computing, 2016.
    """

    name = "egemaps25"
    version = f"opensmile {version('opensmile')}"
    dtype = "float32"
    rate = 1 / STEP

    def __init__(self) -> None:
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        self.columns = list(self._smile.feature_names)
        self.settings = {"sample_rate": SAMPLE_RATE}

    def __enter__(self) -> "Egemaps25":
        return self

    def __exit__(self, *_exception) -> None:
        del self._smile

    def extract(self, path: str | Path) -> Features:
        """Features of a clip's sound.

        Returns
        -------
        Features
            values (frames, 25), finite.

        Raises
        ------
        Unusable
            The sound is shorter than 60 ms; and see `cmc.features.media.audio`.
        """
        found = quality.Sound(SAMPLE_RATE)
        wave = media.audio(path, SAMPLE_RATE, found.cancels)
        found.add(wave)
        values = self.of_wave(wave)
        times = np.arange(len(values)) * STEP + WINDOW / 2
        return Features(values, times=times, quality=found.figures())

    def of_wave(self, wave: np.ndarray) -> np.ndarray:
        """Features (frames, 25), float32, of sound (samples,), float32, at 16 kHz."""
        if len(wave) < SHORTEST * SAMPLE_RATE:
            raise Unusable(f"{1000 * len(wave) / SAMPLE_RATE:.0f} ms of sound; openSMILE's pitch takes 60 ms")
        return self._smile.process_signal(wave, SAMPLE_RATE).to_numpy(np.float32)
