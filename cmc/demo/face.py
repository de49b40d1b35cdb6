"""The drawn face: looks of a speaker, expressions of a mood, and one picture of both.

Shapes are polygons in face units: the origin lies between eyes and mouth, x points right, y points down, and
the head is 2 units high.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240  # pixels
SUBPIXEL_BITS = 4  # OpenCV draws at sixteenths of a pixel

Colour = tuple[int, int, int]  # blue, green, red

SKINS: tuple[Colour, ...] = (
    (189, 205, 240), (165, 190, 232), (140, 172, 222), (120, 155, 205),
    (100, 132, 184), (82, 110, 160), (66, 92, 138), (56, 76, 116),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 26, 30), (30, 40, 62), (42, 66, 104), (70, 120, 175),
    (110, 170, 214), (40, 70, 150), (150, 150, 156),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((40, 60, 90), (25, 40, 60), (140, 110, 60), (80, 110, 70))
HAIR_STYLES = ("short", "long", "bun", "curly", "bald")
EYE_WHITE: Colour = (235, 238, 240)
INK: Colour = (24, 22, 26)
LIPS: Colour = (80, 70, 175)
TEETH: Colour = (232, 238, 240)
THROAT: Colour = (36, 26, 70)

_ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_ACROSS = np.linspace(-1, 1, 17)  # of an eye or a mouth, corner to corner
_ALONG = np.linspace(0, 1, 9)[:, np.newaxis]  # of a curve

BLINK_SECONDS = 0.2  # from open to open
BLINK_GAP = (1.2, 2.6)  # seconds between blinks


@dataclass(frozen=True)
class Look:
    """What stays the same about a speaker. Lengths in face units, angles in radians, places in pixels."""

    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    wall: Colour
    hair_style: str
    head_width: float
    jaw: float
    eye_gap: float
    eye_size: float
    brow_width: float
    nose: float
    mouth_width: float
    lip: float
    size: float
    x: float
    y: float
    tilt: float


@dataclass(frozen=True)
class Expression:
    """What changes from frame to frame.

    Attributes
    ----------
    mood : float in [-1, 1]
        From frown to smile.
    opening : float in [0, 1]
        Of the mouth.
    blink : float in [0, 1]
        1 is closed eyes.
    yaw, pitch : float, face units
        How far a turned head shifts eyes, nose and mouth within its outline.
    roll : float, radians
        Added to the speaker's tilt.
    """

    mood: float
    opening: float
    blink: float
    yaw: float
    pitch: float
    roll: float


def look_of(speaker_seed: int) -> Look:
    """Look of a speaker; the same seed always gives the same look."""
    rng = Random(f"look {speaker_seed}")
    return Look(
        skin=rng.choice(SKINS),
        hair=rng.choice(HAIRS),
        iris=rng.choice(IRISES),
        shirt=_random_colour(rng, 40, 200),
        wall=_random_colour(rng, 90, 220),
        hair_style=rng.choice(HAIR_STYLES),
        head_width=rng.uniform(0.70, 0.80),
        jaw=rng.uniform(0.08, 0.24),
        eye_gap=rng.uniform(0.29, 0.34),
        eye_size=rng.uniform(0.125, 0.15),
        brow_width=rng.uniform(0.045, 0.075),
        nose=rng.uniform(0.09, 0.13),
        mouth_width=rng.uniform(0.24, 0.29),
        lip=rng.uniform(0.045, 0.07),
        size=rng.uniform(72, 88),
        x=rng.uniform(135, 185),
        y=rng.uniform(116, 128),
        tilt=rng.uniform(-0.10, 0.10),
    )


def act(openings: np.ndarray, mood: float, fps: float, seed: int) -> list[Expression]:
    """Expressions of a clip, one a frame.

    Parameters
    ----------
    openings : ndarray (frames,), in [0, 1]
        How wide the mouth stands open.
    mood : float in [-1, 1]
    fps : float
        Frames a second.
    seed : int
        Of blinks and movements.
    """
    rng = Random(f"act {seed}")
    seconds = np.arange(len(openings)) / fps
    yaw, pitch, roll, swell = (_sway(seconds, rng) for _ in range(4))
    moods = np.clip(mood * (0.92 + 0.08 * swell), -1, 1)
    columns = (moods, openings, _blinks(seconds, rng), 0.035 * yaw, 0.025 * pitch, 0.03 * roll)
    return [Expression(*(float(value) for value in row)) for row in zip(*columns, strict=True)]


def draw(look: Look, expression: Expression) -> np.ndarray:
    """Draw a face.

    Returns
    -------
    ndarray (HEIGHT, WIDTH, 3), uint8
        Blue, green, red.
    """
    picture = _Picture(look, expression)
    picture.body()
    picture.head()
    for side in (-1, 1):
        picture.eye(side)
        picture.brow(side)
        picture.cheek(side)
    picture.nose()
    picture.mouth()
    picture.hair()
    return cv2.GaussianBlur(picture.image, (3, 3), 0)  # a lens is not that sharp


class _Picture:
    """A picture in the making: every method adds one part, back to front."""

    def __init__(self, look: Look, expression: Expression):
        self.look, self.now = look, expression
        self.image = _backdrop(look).copy()
        angle = look.tilt + expression.roll
        cos, sin = look.size * np.cos(angle), look.size * np.sin(angle)
        self.turn = np.array([[cos, sin], [-sin, cos]])
        self.place = np.array([look.x, look.y])
        self.shift = np.array([expression.yaw, expression.pitch])

    def body(self) -> None:
        look = self.look
        if look.hair_style == "long":
            self._fill(_ellipse(0, 0.05, look.head_width * 1.22, 1.15), _shade(look.hair, 0.8))
        self._fill(_ellipse(0, 2.05, 1.35, 0.85), look.shirt)
        neck = np.array([(-0.5, 0.5), (0.5, 0.5), (0.57, 1.3), (0, 1.5), (-0.57, 1.3)])
        self._fill(neck * (look.head_width, 1), _shade(look.skin, 0.78))

    def head(self) -> None:
        look = self.look
        for side in (-1, 1):
            self._fill(_ellipse(side * look.head_width, -0.02, 0.1, 0.2), _shade(look.skin, 0.85))
        outline = _head(look)
        for inset in (0, 0.17, 0.33, 0.5, 0.67, 0.83, 1):  # lit from the front: lighter towards the middle
            layer = outline * (1 - 0.55 * inset) + 0.8 * inset * self.shift
            self._fill(layer, _shade(look.skin, 0.86 + 0.18 * inset))

    def eye(self, side: int) -> None:
        look, now = self.look, self.now
        centre = np.array([side * look.eye_gap, -0.16]) + self.shift
        height = look.eye_size * 0.62 * (1 - 0.15 * abs(now.mood)) * (1 - 0.95 * now.blink)
        upper, lower = _arc(look.eye_size, height), _arc(look.eye_size, -0.65 * height)
        self._fill(centre + np.vstack([upper, lower[::-1]]), EYE_WHITE)
        for radius, colour in ((0.5, look.iris), (0.24, INK)):
            ball = radius * look.eye_size * _CIRCLE
            self._fill(centre + _between(ball, upper, lower), colour)
        self._line(centre + upper, INK, 0.025)
        self._line(centre + lower, _shade(look.skin, 0.6), 0.015)

    def brow(self, side: int) -> None:
        look, now = self.look, self.now
        frown, lift = max(-now.mood, 0), max(now.mood, 0)
        inner = (look.eye_gap - 0.19 - 0.05 * frown, -0.36 + 0.13 * frown - 0.07 * lift)
        middle = (look.eye_gap + 0.03, -0.44 + 0.07 * frown - 0.09 * lift)
        outer = (look.eye_gap + 0.21, -0.37 + 0.02 * frown - 0.06 * lift)
        points = np.array([inner, middle, outer]) * (side, 1) + self.shift
        self._line(_smooth(points), _shade(look.hair, 0.75), look.brow_width)
        if frown > 0.3:
            furrow = np.array([(0.045, -0.36), (0.06, -0.22)])
            self._line(furrow * (side, 1) + self.shift, _shade(look.skin, 0.68), 0.02)

    def cheek(self, side: int) -> None:
        look, lift = self.look, max(self.now.mood, 0)
        corner = look.mouth_width * (1 + 0.3 * lift)
        fold = np.array([(look.nose + 0.05, 0.2), (corner + 0.05, 0.34), (corner + 0.1, 0.5)]) * (side, 1)
        self._line(_smooth(fold + self.shift), _shade(look.skin, 0.93 - 0.2 * lift), 0.02)

    def nose(self) -> None:
        look, tip = self.look, 1.3 * self.shift  # it stands out, so a turn moves it most
        width = look.nose * (1 + 0.1 * self.now.mood)
        bridge = np.array([(0.03, -0.2), (0.06, 0.05), (0.05, 0.2)])
        self._line(_smooth(bridge + tip), _shade(look.skin, 0.88), 0.03)
        base = np.array([(-width, 0.2), (0, 0.27), (width, 0.2)])
        self._line(_smooth(base + tip), _shade(look.skin, 0.72), 0.025)
        for side in (-1, 1):
            self._fill(_ellipse(side * width * 0.5, 0.225, 0.025, 0.015) + tip, _shade(look.skin, 0.45))

    def mouth(self) -> None:
        look, now = self.look, self.now
        # Corners out and up in a smile, in and down in a frown; more of a frown looks like a mouth wide open.
        widen, lift = (0.28, 0.15) if now.mood > 0 else (0.05, 0.055)
        half = look.mouth_width * (1 + widen * now.mood) * (1 - 0.08 * now.opening)
        bend = now.mood * lift * (0.45 - _ACROSS**2)
        middle = np.column_stack([half * _ACROSS, 0.52 + bend]) + self.shift
        gap = 0.17 * now.opening * (1 - _ACROSS**2)
        top, bottom = -0.25 * gap, 0.75 * gap
        lip = look.lip * (1 - _ACROSS**2) ** 0.7
        bow = lip * (1 - 0.25 * np.exp(-((_ACROSS / 0.15) ** 2)))

        def band(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
            there, back = middle.copy(), middle.copy()
            there[:, 1] += upper
            back[:, 1] += lower
            return np.vstack([there, back[::-1]])

        lips = _blend(_shade(look.skin, 0.8), LIPS, 0.45)
        self._fill(band(top - bow, bottom + 1.25 * lip), lips)
        self._fill(band(top, bottom), THROAT)
        self._fill(band(top, np.minimum(bottom, top + 0.05)), TEETH)
        self._line(band(top, top)[: len(_ACROSS)], _shade(lips, 0.5), 0.02)

    def hair(self) -> None:
        for lock in _hair(self.look):
            self._fill(lock, self.look.hair)

    def _pixels(self, points) -> np.ndarray:
        pixels = np.asarray(points) @ self.turn + self.place
        return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)

    def _fill(self, points, colour: Colour) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def _line(self, points, colour: Colour, width: float) -> None:
        pixels = max(1, round(width * self.look.size))
        cv2.polylines(self.image, [self._pixels(points)], False, colour, pixels, cv2.LINE_AA, SUBPIXEL_BITS)


@lru_cache(maxsize=4)
def _backdrop(look: Look) -> np.ndarray:
    light = np.outer(np.linspace(1.05, 0.85, HEIGHT), np.linspace(1.08, 0.8, WIDTH))
    image = np.clip(light[:, :, np.newaxis] * look.wall, 0, 255).astype(np.uint8)
    rng = Random(str(look))
    for _ in range(3):  # pictures on the wall
        x, y = rng.randrange(WIDTH), rng.randrange(HEIGHT)
        corner = (x + rng.randrange(30, 90), y + rng.randrange(30, 70))
        cv2.rectangle(image, (x, y), corner, _random_colour(rng, 60, 220), cv2.FILLED)
    return cv2.GaussianBlur(image, (9, 9), 0)  # out of focus


def _sway(seconds: np.ndarray, rng: Random) -> np.ndarray:
    def wave(lowest: float) -> np.ndarray:  # of a frequency in hertz between the lowest and its double
        return np.sin(2 * np.pi * (rng.uniform(lowest, 2 * lowest) * seconds + rng.random()))

    return 0.7 * wave(0.2) + 0.3 * wave(0.6)


def _blinks(seconds: np.ndarray, rng: Random) -> np.ndarray:
    closed = np.zeros(len(seconds))
    moment = rng.uniform(0.3, 1.2)
    while moment < seconds[-1]:
        closed = np.maximum(closed, 1 - np.abs(seconds - moment) / (BLINK_SECONDS / 2))
        moment += rng.uniform(*BLINK_GAP)
    return closed


@lru_cache(maxsize=4)
def _head(look: Look) -> np.ndarray:
    chin = np.clip(_CIRCLE[:, 1], 0, None) ** 2
    return _CIRCLE * np.column_stack([look.head_width * (1 - look.jaw * chin), np.ones_like(chin)])


@lru_cache(maxsize=4)
def _hair(look: Look) -> tuple[np.ndarray, ...]:
    if look.hair_style == "bald":
        return ()
    outline = _head(look)
    crown = outline[outline[:, 1] < -0.3]
    crown = crown[np.argsort(crown[:, 0])] * (1.06, 1.1)
    ends, forehead = (0.96, 0.80, 0.62), (-0.36, -0.62, -0.70)  # the hairline from an ear to the middle
    x = np.array([*ends, 0, *(-end for end in reversed(ends))]) * look.head_width
    locks = [np.vstack([crown, np.column_stack([x, [*forehead, -0.72, *reversed(forehead)]])])]
    if look.hair_style == "curly":
        locks += [_ellipse(x, y, 0.17, 0.17) for x, y in crown[::2]]
    if look.hair_style == "bun":
        locks.append(_ellipse(0, -1.2, 0.3, 0.22))
    return tuple(locks)


def _ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    return _CIRCLE * (a, b) + (x, y)


def _arc(half_width: float, height: float) -> np.ndarray:
    return np.column_stack([half_width * _ACROSS, -height * (1 - _ACROSS**2)])


def _between(points: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    low, high = (np.interp(points[:, 0], arc[:, 0], arc[:, 1]) for arc in (upper, lower))
    return np.column_stack([points[:, 0], np.clip(points[:, 1], low, high)])


def _smooth(points: np.ndarray) -> np.ndarray:
    # A quadratic curve from the first to the third point, pulled towards the second.
    first, middle, last = points
    return (1 - _ALONG) ** 2 * first + 2 * _ALONG * (1 - _ALONG) * middle + _ALONG**2 * last


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _random_colour(rng: Random, low: int, high: int) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)
