"""The demo corpus: who says what in which mood, and its files in the raw CH-SIMS layout.

Only the standard library is imported here, since the workflow plans the corpus whenever it starts; what draws
and speaks is imported by the functions that render.

The label of a clip
-------------------
Text, voice and face each carry a polarity of their own: a class (negative, neutral, positive) and, unless
neutral, an intensity of 0.2 to 1.0. In a share `AGREEMENT` of each split the three have one class in common;
in the others, and for all intensities, each is dealt alone. The multimodal label follows the rule

    label = 0.5 * label_T + 0.3 * label_V + 0.2 * label_A + noise,   noise uniform in [-0.1, 0.1]

rounded to steps of 0.2, and its annotation is the sign of the label. The noise stands for annotators who
differ.
"""

import csv
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

from cmc import files
from cmc.demo.sentences import STEPS, sentence

COLUMNS = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
ANNOTATIONS = {-1: "Negative", 0: "Neutral", 1: "Positive"}

WEIGHTS = {"T": 0.5, "A": 0.2, "V": 0.3}  # of text, audio and vision
NOISE = 0.1  # largest disturbance of the label
AGREEMENT = 7 / 16  # three independent even classes agree in 1/9 of the clips: 7/16 + 9/16 * 1/9 = 1/2
CLASS_SHARES = {-1: 30, 0: 27, 1: 43}  # percent; so that positive and non-positive labels come out about even
INTENSITY_SHARES = {1: 1, 2: 2, 3: 3, 4: 3, 5: 2}  # of 1/5 to 5/5; the faintest looks almost neutral
SPLIT_SHARES = {"valid": 4 / 24, "test": 6 / 24}  # of the speakers; the others train

Steps = tuple[int, ...]  # of text, audio and vision; a step is a fifth


@dataclass(frozen=True)
class Clip:
    """One clip of the corpus: a row of label.csv, and the seeds that its picture and sound are made from."""

    video_id: str
    clip_id: str
    text: str
    label: float
    label_T: float
    label_A: float
    label_V: float
    annotation: str
    mode: str
    speaker_seed: int
    seed: int


def plan(speakers: int = 24, clips: int = 9, seed: int = 0) -> list[Clip]:
    """Plan the corpus; the same arguments always give the same plan.

    Parameters
    ----------
    speakers : int, at least 3
        One video_id each. A speaker belongs to one split only.
    clips : int, at least 1
        Clips per speaker.
    seed : int

    Returns
    -------
    list of Clip, (speakers * clips,)
        Ordered by video_id and clip_id, both counted from 1 with leading zeros.

    Raises
    ------
    ValueError
        If there are too few speakers for three splits, or no clips.
    """
    if speakers < 3 or clips < 1:
        raise ValueError(
            f"{speakers} speakers with {clips} clips each: need 3 speakers (one a split) and 1 clip"
        )
    rng = Random(f"plan {seed}")
    modes = _modes(speakers, rng)
    polarities = {mode: iter(_polarities(modes.count(mode) * clips, rng)) for mode in sorted(set(modes))}
    corpus = []
    for speaker, mode in enumerate(modes, start=1):
        speaker_seed = rng.getrandbits(32)
        for number in range(1, clips + 1):
            ids = f"video_{speaker:04d}", f"{number:04d}"
            corpus.append(_clip(*ids, mode, speaker_seed, next(polarities[mode]), rng))
    return corpus


def consensus(label_T: float, label_A: float, label_V: float) -> float:
    """Mean of the three labels, each in [-1, 1], before noise and rounding (see the module's rule)."""
    return WEIGHTS["T"] * label_T + WEIGHTS["A"] * label_A + WEIGHTS["V"] * label_V


def write_labels(clips: Iterable[Clip], path: str | Path) -> None:
    """Write label.csv (UTF-8, one row a clip, columns `COLUMNS`)."""
    with files.whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(clip, column) for column in COLUMNS] for clip in clips)


def render_video(clips: Iterable[Clip], folder: str | Path) -> None:
    """Render the clips of one speaker to `<folder>/<clip_id>.mp4`; the folder is made if need be."""
    for clip in clips:
        render(clip, Path(folder) / f"{clip.clip_id}.mp4")


def render(clip: Clip, path: str | Path) -> None:
    """Render a clip to an MP4 file; see `cmc.demo.film` for size, rate and codecs.

    The same clip gives the same bytes with the same versions of the libraries. A render that is cut short
    leaves nothing under the final name.
    """
    from cmc.demo import film

    with files.whole(path) as part:
        film.shoot(clip.text, clip.label_A, clip.label_V, clip.speaker_seed, clip.seed, part)


def _modes(speakers: int, rng: Random) -> list[str]:
    modes = []
    for mode, share in SPLIT_SHARES.items():
        modes += [mode] * max(1, round(share * speakers))
    modes += ["train"] * (speakers - len(modes))
    rng.shuffle(modes)
    return modes


def _clip(video_id: str, clip_id: str, mode: str, speaker_seed: int, steps: Steps, rng: Random) -> Clip:
    label_T, label_A, label_V = (step / STEPS for step in steps)
    noisy = consensus(label_T, label_A, label_V) + rng.uniform(-NOISE, NOISE)
    step = round(noisy * STEPS)  # labels are made from whole steps: no -0.0, no 0.6000000000000001
    return Clip(
        video_id=video_id,
        clip_id=clip_id,
        text=sentence(label_T, rng),
        label=step / STEPS,
        label_T=label_T,
        label_A=label_A,
        label_V=label_V,
        annotation=ANNOTATIONS[(step > 0) - (step < 0)],
        mode=mode,
        speaker_seed=speaker_seed,
        seed=rng.getrandbits(32),
    )


def _polarities(count: int, rng: Random) -> list[Steps]:
    """Steps of text, audio and vision for the clips of one split."""
    agreed = round(AGREEMENT * count)
    shared = _deal(CLASS_SHARES, agreed, rng)
    own = [_deal(CLASS_SHARES, count - agreed, rng) for _ in WEIGHTS]
    signs = [(sign,) * len(WEIGHTS) for sign in shared] + list(zip(*own, strict=True))
    rng.shuffle(signs)
    strengths = zip(*(_deal(INTENSITY_SHARES, count, rng) for _ in WEIGHTS), strict=True)
    return [
        tuple(sign * strength for sign, strength in zip(*clip, strict=True))
        for clip in zip(signs, strengths, strict=True)
    ]


def _deal(shares: dict[int, int], count: int, rng: Random) -> list[int]:
    # Dealt like cards rather than drawn with dice: even a small split gets its share of every value.
    bounds = list(accumulate(shares.values()))
    start = rng.random()
    hand = [list(shares)[bisect(bounds, (place + start) / count * bounds[-1])] for place in range(count)]
    rng.shuffle(hand)
    return hand
