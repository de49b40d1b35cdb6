"""Figures that tell how good a clip's material is; they stand in extraction.csv, never in the features."""

import numpy as np

FRAME = 2048  # samples, what a share of voice or silence is counted in
AT_ONCE = 64  # frames
SILENT = 10 ** (-50 / 20)  # root mean square of full scale below which a frame counts as silent
CLIPPED = 0.99  # of full scale
F0_RANGE = (65.0, 500.0)  # Hz that a voice may have
VOICED = 0.45  # normalised autocorrelation from which a frame counts as voiced, Praat's default


class Sound:
    """Figures of a sound that arrives in pieces.

    Parameters
    ----------
    sample_rate : int
        Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.held: list[np.ndarray] = []  # pieces not yet looked at
        self.length = 0  # their samples
        self.samples = self.clipped = self.frames = self.silent = self.voiced = self.cancelled = 0
        window = np.hanning(FRAME).astype(np.float32)
        self.window, self.of_window = window, _autocorrelation(window)

    def add(self, piece: np.ndarray) -> None:
        """Take the next piece (samples,), float32, into account."""
        self.held.append(piece)
        self.samples += len(piece)
        self.length += len(piece)
        if self.length > AT_ONCE * FRAME:
            self._look()

    def cancels(self, samples: int) -> None:
        """Take into account that channels cancel each other in so many samples, see `cmc.features.media.sound`."""
        self.cancelled += samples

    def _look(self) -> None:
        wave = np.concatenate([*self.held, np.zeros(0, np.float32)])
        cut = len(wave) // FRAME * FRAME
        self.clipped += int(np.count_nonzero(np.abs(wave[:cut]) >= CLIPPED))
        self.held, self.length = [wave[cut:]], len(wave) - cut
        if cut:
            self._count(wave[:cut].reshape(-1, FRAME))

    def _count(self, frames: np.ndarray) -> None:
        loud = frames[np.square(frames).mean(axis=1) >= SILENT**2]
        self.frames += len(frames)
        self.silent += len(frames) - len(loud)
        if len(loud):
            centred = (loud - loud.mean(axis=1, keepdims=True)) * self.window
            lags = slice(int(self.sample_rate / F0_RANGE[1]), int(self.sample_rate / F0_RANGE[0]) + 1)
            repeats = (_autocorrelation(centred) / self.of_window)[:, lags].max(axis=1)
            self.voiced += int(np.count_nonzero(repeats >= VOICED))

    def figures(self) -> dict[str, float]:
        """What was found.

        Returns
        -------
        dict
            seconds; and the shares, in [0, 1]: voiced and silence of its frames, clipping of its samples. Of
            a sound shorter than a frame only seconds. Where channels cancel each other also cancelled, the share
            of samples.
        """
        self._look()
        found = {"seconds": self.samples / self.sample_rate}
        if self.frames:
            counts = {"voiced": self.voiced, "silence": self.silent, "clipping": self.clipped / FRAME}
            found |= {name: count / self.frames for name, count in counts.items()}
        if self.cancelled:
            found["cancelled"] = min(1.0, self.cancelled / self.samples)
        return found


def of_sound(wave: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Figures of a whole sound (samples,), float32; see `Sound.figures`."""
    sound = Sound(sample_rate)
    sound.add(wave)
    return sound.figures()


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Of frames (..., FRAME), normalised to 1 at lag 0; of the lags that a voice may have, the window hides
    that it is circular."""
    power = np.square(np.abs(np.fft.rfft(frames)))
    products = np.fft.irfft(power)
    return products / np.maximum(products[..., :1], 1e-12)
