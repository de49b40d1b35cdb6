"""The voice: espeak-ng out of its wheel, with prosody that carries a mood."""

import _ctypes
import ctypes
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Lock

import espeakng_loader
import numpy as np

SAMPLE_RATE = 22050  # Hz; what espeak-ng's voices are made in
FULL_SCALE = 32768  # int16 samples to [-1, 1)

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp")
# Of espeak's variants those that sound human and speak about equally loud and fast.
VARIANTS = "f1 f2 f3 f4 m1 m2 m3 m4 m5 m6 m7 Mario steph linda Michael belinda travis".split()
PITCH_SPREAD = 6  # espeak pitch units by which a speaker may lie above or below the variant's own pitch

# Prosody at mood -1, 0 and 1, in espeak's units. Without the range, the spread of F0 goes the wrong way.
PITCH = (32, 50, 70)
RATE = (135, 165, 195)  # words a minute
VOLUME = (50, 85, 125)
RANGE = (20, 45, 80)
HURRY = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75)  # tried in turn on the rate until a sentence fits its clip

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_one_at_a_time = Lock()


@dataclass(frozen=True)
class Voice:
    """A speaker's voice: espeak's name for it, and how far it lies from that voice's own pitch."""

    name: str
    pitch: int


def voice_of(speaker_seed: int) -> Voice:
    """Voice of a speaker; the same seed always gives the same voice."""
    rng = Random(f"voice {speaker_seed}")
    return Voice(f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}", rng.randint(-PITCH_SPREAD, PITCH_SPREAD))


def speak(text: str, mood: float, voice: Voice, longest: float) -> np.ndarray:
    """Say a sentence in a mood, a little faster where it would otherwise not fit.

    Parameters
    ----------
    text : str
    mood : float in [-1, 1]
        From low, slow, quiet and flat to high, fast, loud and lively.
    voice : Voice
    longest : float
        Seconds that the speech may last.

    Returns
    -------
    ndarray (samples,), float32 in [-1, 1]
        At `SAMPLE_RATE`, without silence before or after.

    Raises
    ------
    ValueError
        If the sentence does not fit even when hurried.
    """
    pitch, rate, volume, pitch_range = (
        float(np.interp(mood, (-1, 0, 1), values)) for values in (PITCH, RATE, VOLUME, RANGE)
    )
    for hurry in HURRY:
        samples, _ = synthesise(
            text,
            voice.name,
            pitch=round(pitch) + voice.pitch,
            rate=round(rate * hurry),
            volume=round(volume),
            pitch_range=round(pitch_range),
        )
        samples = _trim(samples)
        if samples.size <= longest * SAMPLE_RATE:
            return samples
    raise ValueError(
        f"{text!r} lasts {samples.size / SAMPLE_RATE:.1f} s at {HURRY[-1]} times its rate, more than "
        f"{longest:.1f} s: shorten the sentence or lengthen the clip"
    )


def synthesise(
    text: str, voice: str, pitch: int, rate: int, volume: int, pitch_range: int
) -> tuple[np.ndarray, int]:
    """Synthesise speech with espeak-ng.

    Parameters
    ----------
    text : str
    voice : str
        espeak-ng's voice, optionally with a variant: "en-us", "en-us+f3".
    pitch, pitch_range : int in 0..99
    rate : int
        Words a minute, 80..450.
    volume : int in 0..200
        100 is espeak's normal; much above 130 it clips.

    Returns
    -------
    samples : ndarray (samples,), float32 in [-1, 1]
        Mono. The same arguments give the same samples, whatever was said before.
    sample_rate : int
        Hz.

    Raises
    ------
    RuntimeError
        If espeak-ng can't be loaded or refuses to speak.
    ValueError
        If it does not know the voice.
    """
    _check_variant(voice)
    chunks: list[np.ndarray] = []

    def collect(samples, count: int, _events) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(collect)
    with _one_at_a_time, _Espeak() as espeak:
        espeak.espeak_SetSynthCallback(callback)
        if espeak.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}; try 'en-us' or 'en-us+f3'")
        settings = {"rate": rate, "volume": volume, "pitch": pitch, "pitch_range": pitch_range}
        for name, value in settings.items():
            espeak.espeak_SetParameter(_PARAMETERS[name], value, 0)
        utf8 = text.encode()
        status = espeak.espeak_Synth(
            utf8, len(utf8) + 1, 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
    if status or not chunks:
        raise RuntimeError(f"espeak-ng said nothing for {text!r} in voice {voice!r} (status {status})")
    return np.concatenate(chunks).astype(np.float32) / FULL_SCALE, SAMPLE_RATE


class _Espeak:
    """A freshly loaded espeak-ng, unloaded again after use.

    espeak-ng keeps the phase of its pitch flutter in a static variable that no call resets, so a sentence
    would sound a little different after another one. Loading takes 10 ms and makes every sentence the first.
    """

    def __enter__(self) -> ctypes.CDLL:
        data = espeakng_loader.get_data_path()
        try:
            self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise RuntimeError(f"can't load espeak-ng ({error}): reinstall espeakng-loader") from error
        rate = self.library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data.encode(), _INITIALIZE_DONT_EXIT)
        if rate != SAMPLE_RATE:
            self._unload()
            raise RuntimeError(
                f"espeak-ng's start with the data at {data} returned {rate}, expected {SAMPLE_RATE} (Hz); "
                "reinstall espeakng-loader, and mind that espeak-ng takes no path beyond 160 characters"
            )
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # its start seeds it from the clock
        return self.library

    def __exit__(self, *_exception) -> None:
        self.library.espeak_Terminate()
        self._unload()

    def _unload(self) -> None:
        close = _ctypes.FreeLibrary if hasattr(_ctypes, "FreeLibrary") else _ctypes.dlclose
        close(self.library._handle)


def _check_variant(voice: str) -> None:
    # espeak-ng itself passes over a variant that it does not know.
    _, plus, variant = voice.partition("+")
    if plus and not (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file():
        raise ValueError(f"espeak-ng has no variant {variant!r} (voice {voice!r}); try 'f3' or 'm3'")


def _trim(samples: np.ndarray) -> np.ndarray:
    audible = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[audible[0] : audible[-1] + 1]
