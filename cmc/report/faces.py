"""Small pictures of clips for the explorer. They show people: nobody gets them without having asked."""

import itertools
from collections.abc import Mapping

import cv2

from cmc.features import media

SIDE, QUALITY = 80, 60  # pixels, JPEG
MOST = 1500  # pictures of a page


def of(sources: Mapping[str, str | tuple[str, float, float]]) -> dict[str, bytes]:
    """A JPEG of the middle of each clip, of the first `MOST` clips; none of a clip that can't be read.

    Parameters
    ----------
    sources : mapping
        Clip id -> its video, or a part of one with start and end in seconds.
    """
    found = {}
    for clip, planned in list(sources.items())[:MOST]:
        try:
            found[clip] = middle(media.source(planned))
        except media.Unusable:
            continue
    return found


def middle(path: media.Source) -> bytes:
    """A square JPEG from the middle of a clip."""
    half = max(media.duration(path) / 2, 0.05)
    *_, (_, picture) = itertools.islice(
        media.frames(path, 1 / half), 2
    )  # the first, and the one in the middle
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = cv2.resize(
        picture[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA
    )
    _, coded = cv2.imencode(
        ".jpg", cv2.cvtColor(square, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    return coded.tobytes()
