"""Which of several faces speaks: the one whose mouth moves with the sound."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

OVERLAP = 0.3  # intersection over union from which faces of two frames are one person
GAP = 1.0  # s that a face may be gone before it counts as another one
SPAN = 0.1  # s of sound around a frame that its loudness is taken over
FLOOR = 1e-3  # root mean square below which sound counts as silence


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes
    ----------
    frame : int
        Number of the frame.
    seconds : float
        Its time from the clip's start.
    box : ndarray (4,)
        Left, top, right, bottom, in pixels.
    opening : float
        Of the mouth, in distances between the eyes.
    """

    frame: int
    seconds: float
    box: np.ndarray
    opening: float

    @property
    def area(self) -> float:
        return float(np.prod(self.box[2:] - self.box[:2]))


@dataclass
class Track:
    """A face over time: numbers of its faces in the list that `link` was given."""

    members: list[int] = field(default_factory=list)


def link(faces: Sequence[Face]) -> list[Track]:
    """Join the faces of a clip into tracks, by how far they overlap from frame to frame.

    Parameters
    ----------
    faces : sequence of Face
        Ordered by frame.

    Returns
    -------
    list of Track
        Each face is in one of them; a track has one face a frame at most.
    """
    tracks: list[Track] = []
    start = 0
    while start < len(faces):
        stop = start
        while stop < len(faces) and faces[stop].frame == faces[start].frame:
            stop += 1
        now = faces[start].seconds
        recent = [track for track in tracks if now - faces[track.members[-1]].seconds <= GAP]
        pairs = [
            (overlap(faces[track.members[-1]].box, faces[i].box), t, i)
            for t, track in enumerate(recent)
            for i in range(start, stop)
        ]
        taken_tracks, taken_faces = set(), set()
        for share, t, i in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= OVERLAP and t not in taken_tracks and i not in taken_faces:
                recent[t].members.append(i)
                taken_tracks.add(t)
                taken_faces.add(i)
        tracks += [Track([i]) for i in range(start, stop) if i not in taken_faces]
        start = stop
    return tracks


def scenes(faces: Sequence[Face], tracks: Sequence[Track]) -> list[list[Track]]:
    """Group tracks: those that share a frame, perhaps through others, are together.

    A cut ends every track, so that what follows it is another scene; of each, one face is to be chosen.

    Parameters
    ----------
    faces : sequence of Face
        Ordered by frame.
    tracks : sequence of Track
        All of `faces`, see `link`.

    Returns
    -------
    list of list of Track
        No two scenes have a frame in common.
    """
    owner = np.zeros(len(faces), int)
    for t, track in enumerate(tracks):
        owner[track.members] = t
    together = np.diff([face.frame for face in faces]) == 0
    pairs = (np.ones(together.sum()), (owner[:-1][together], owner[1:][together]))
    count, scene = sparse.csgraph.connected_components(
        sparse.csr_matrix(pairs, shape=[len(tracks)] * 2), False
    )
    found: list[list[Track]] = [[] for _ in range(count)]
    for track, number in zip(tracks, scene, strict=True):
        found[number].append(track)
    return found


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,), in [0, 1]."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = np.prod(np.maximum(sides, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common
    return float(common / union) if union > 0 else 0.0


def loudness(pieces: Iterable[np.ndarray], sample_rate: int, times: np.ndarray) -> np.ndarray:
    """Loudness of the sound around each time.

    Parameters
    ----------
    pieces : iterable of ndarray (samples,)
        Sound from the clip's start on, see `cmc.features.media.sound`.
    sample_rate : int
        Hz.
    times : ndarray (frames,)
        Seconds, increasing.

    Returns
    -------
    ndarray (frames,)
        Root mean square over `SPAN`, in dB; not below that of `FLOOR`, nor after the sound's end.
    """
    step = max(1, round(SPAN / 4 * sample_rate))  # samples whose squares are summed together
    sums, rest = [], np.zeros(0)
    for piece in pieces:
        whole = np.concatenate([rest, piece])
        cut = len(whole) // step * step
        sums.append(np.square(whole[:cut]).reshape(-1, step).sum(axis=1))
        rest = whole[cut:]
    total = np.concatenate([[0.0], np.cumsum(np.concatenate([*sums, [np.square(rest).sum()]]))])
    edges = [
        np.clip(np.round((times + side * SPAN / 2) * sample_rate / step).astype(int), 0, len(total) - 1)
        for side in (-1, 1)
    ]
    mean_square = (total[edges[1]] - total[edges[0]]) / (SPAN * sample_rate)
    return 10 * np.log10(np.maximum(mean_square, FLOOR**2))


def active(faces: Sequence[Face], tracks: Sequence[Track], sound: np.ndarray) -> Track:
    """The track whose mouth moves with the sound.

    Parameters
    ----------
    faces : sequence of Face
    tracks : sequence of Track
        At least one, of one scene; see `scenes`.
    sound : ndarray (frames,)
        Loudness of each frame.

    Returns
    -------
    Track
        The one with the highest correlation of mouth opening and loudness, times its share of the scene's
        frames; of those that tie (no sound, no mouth that moves), the one that fills most of the picture over
        time.
    """
    frames = len({faces[i].frame for track in tracks for i in track.members})

    def score(track: Track) -> tuple[float, float]:
        shown = [faces[i] for i in track.members]
        heard = sound[[face.frame for face in shown]]
        agreement = correlation(np.array([face.opening for face in shown]), heard) * len(shown) / frames
        return round(agreement, 6), sum(face.area for face in shown)

    return max(tracks, key=score)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two series (n,); 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 1e-9 else 0.0
