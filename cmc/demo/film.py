"""A clip on film: a voice, a face whose mouth follows it, and both encoded into an MP4 file."""

import platform
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from cmc.demo import face, speech

FPS = 25  # frames a second
SHORTEST, LONGEST = 2.0, 4.0  # seconds a clip lasts
LEAD, TAIL = 0.25, 0.3  # seconds of silence around the speech
SAMPLES_PER_FRAME = speech.SAMPLE_RATE // FPS
ROOM_NOISE = 1e-3  # standard deviation; no real room is digitally silent
SMOOTHING = np.array([0.25, 0.5, 0.25])  # over frames; lips have a mass

X264 = {"crf": "23", "preset": "veryfast"}
if platform.machine() in ("x86_64", "AMD64"):
    X264["x264-params"] = "asm=sse2"  # what its code for AVX-512 gives differs from run to run
AUDIO_BIT_RATE = 96_000  # bits a second


def shoot(text: str, voice_mood: float, face_mood: float, speaker_seed: int, seed: int, path: Path) -> None:
    """Film a speaker saying one sentence.

    Parameters
    ----------
    text : str
    voice_mood, face_mood : float in [-1, 1]
        From negative to positive; they need not agree.
    speaker_seed : int
        Decides voice, looks and place.
    seed : int
        Decides what changes from clip to clip: blinks, movements, noise.
    path : Path
        MP4 file to write: 320x240 at 25 frames a second in H.264, mono AAC at 22050 Hz, 2 to 4 seconds.
    """
    voice = speech.voice_of(speaker_seed)
    samples = record(speech.speak(text, voice_mood, voice, LONGEST - LEAD - TAIL), seed)
    expressions = face.act(mouth_opening(samples), face_mood, FPS, seed)
    look = face.look_of(speaker_seed)
    encode((face.draw(look, expression) for expression in expressions), samples, path)


def record(spoken: np.ndarray, seed: int) -> np.ndarray:
    """Put speech into a quiet room, with a lead and a tail.

    Parameters
    ----------
    spoken : ndarray (samples,), float32 in [-1, 1]
    seed : int
        Of the room's noise.

    Returns
    -------
    ndarray (frames * SAMPLES_PER_FRAME,), float32 in [-1, 1]
        A whole number of video frames, `SHORTEST` to `LONGEST` seconds.
    """
    seconds = max(SHORTEST, LEAD + spoken.size / speech.SAMPLE_RATE + TAIL)
    frames = min(int(np.ceil(seconds * FPS)), int(LONGEST * FPS))
    samples = ROOM_NOISE * np.random.default_rng(seed).standard_normal(frames * SAMPLES_PER_FRAME)
    start = int(LEAD * speech.SAMPLE_RATE)
    samples[start : start + spoken.size] += spoken
    return samples.clip(-1, 1).astype(np.float32)


def mouth_opening(samples: np.ndarray) -> np.ndarray:
    """How wide the mouth stands open in each frame: the loudness of its sound.

    Relative to the clip's own loudest frames, or a loud voice would show in the face.

    Parameters
    ----------
    samples : ndarray (frames * SAMPLES_PER_FRAME,)

    Returns
    -------
    ndarray (frames,), float in [0, 1]
    """
    loudness = np.sqrt(np.square(samples.reshape(-1, SAMPLES_PER_FRAME)).mean(axis=1))
    smooth = np.convolve(loudness, SMOOTHING, mode="same")
    return np.clip(smooth / np.percentile(smooth, 95), 0, 1)


def encode(frames: Iterable[np.ndarray], samples: np.ndarray, path: Path) -> None:
    """Encode pictures and sound into an MP4 file, the same bytes each time.

    Parameters
    ----------
    frames : iterable of ndarray (HEIGHT, WIDTH, 3), uint8
        Blue, green, red.
    samples : ndarray (samples,), float32 in [-1, 1]
    path : Path
    """
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options=X264)
        video.width, video.height, video.pix_fmt = face.WIDTH, face.HEIGHT, "yuv420p"
        video.thread_count = 1  # what x264 decides depends on the number of its threads
        sound = container.add_stream("aac", rate=speech.SAMPLE_RATE, layout="mono")
        sound.bit_rate = AUDIO_BIT_RATE
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = speech.SAMPLE_RATE
        frame.pts = 0  # else the file doesn't say that the encoder begins with silence of its own
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
