"""Features of the face in each sampled frame of one clip."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

from cmc import media
from cmc.features import Features, Unusable

SETTINGS = {
    "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 120, "default": 10.0},
    "model": {"type": ["string", "null"], "format": "file", "default": None},
}
PACKAGED_MODEL = Path(__file__).parents[1] / "assets" / "face_landmarker.task"
PACKAGED_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MAX_FACES = 4  # looked for in a frame; the largest is kept

LANDMARKS = 478
RIGHT_EYE = (33, 133)  # landmarks at the outer and inner corner; right is the person's own
LEFT_EYE = (263, 362)
BLENDSHAPES = """
    _neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
    cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight
    eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight
    eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose
    mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft
    mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight
    mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
""".split()
POSE = ["pose_yaw", "pose_pitch", "pose_roll", "pose_x", "pose_y", "pose_z"]


class MediaPipe:
    """Landmarks, blendshapes and head pose of the largest face, by MediaPipe's Face Landmarker.

    Columns: 478 landmarks x 3, normalised (`normalise`); 52 blendshapes in [0, 1], the muscle movements
    closest to facial action units; head yaw, pitch and roll in radians and place in cm (`pose`). Frames are
    treated one by one, not tracked: a row depends on its own picture, never on what was seen before.

    Use it in a `with` statement, which loads the model and releases it.

    Parameters
    ----------
    model : str or Path, optional
        A Face Landmarker model file; default, the one in this package.
    rate : float
        Frames looked at a second.

    Raises
    ------
    FileNotFoundError
        There is no such model file.
    ValueError
        The packaged model file is not the published one.
    """

    name = "mediapipe"
    version = f"mediapipe {version('mediapipe')}"
    dtype = "float16"
    columns = [f"landmark_{i:03d}_{axis}" for i in range(LANDMARKS) for axis in "xyz"] + BLENDSHAPES + POSE

    def __init__(self, model: str | Path | None = None, rate: float = 10.0) -> None:
        path = Path(model or PACKAGED_MODEL)
        self._model = path.read_bytes()
        sha256 = hashlib.sha256(self._model).hexdigest()
        if model is None and sha256 != PACKAGED_SHA256:
            raise ValueError(
                f"{path} is damaged: SHA-256 {sha256}, expected {PACKAGED_SHA256}. Install again."
            )
        self.rate = float(rate)
        self.settings = {"rate": self.rate, "max_faces": MAX_FACES, "model_sha256": sha256}

    def __enter__(self) -> "MediaPipe":
        self._landmarker = _landmarker(self._model)
        return self

    def __exit__(self, *_exception) -> None:
        # Left to the garbage collector, it prints a TypeError at the interpreter's exit, or hangs it.
        self._landmarker.close()

    def extract(self, path: str | Path) -> Features:
        """Features of the face in each sampled frame.

        Returns
        -------
        Features
            values (frames, 1492); a frame without a face is a row of NaN at its time.

        Raises
        ------
        Unusable
            No face in any frame; and see `cmc.media.frames`.
        """
        times, rows = [], []
        for seconds, rgb in media.frames(path, self.rate):
            times.append(seconds)
            rows.append(self.of_picture(rgb))
        values = np.stack(rows)
        if np.isnan(values).all():
            raise Unusable(f"no face in any of {len(rows)} frames")
        return Features(values, times=np.array(times))

    def of_picture(self, rgb: np.ndarray) -> np.ndarray:
        """Features (1492,), float32, of a picture (height, width, 3), uint8; all NaN if it shows no face."""
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        result = self._landmarker.detect(picture)
        if not result.face_landmarks:
            return np.full(len(self.columns), np.nan, np.float32)
        height, width, _ = rgb.shape
        faces = [_points(landmarks, width, height) for landmarks in result.face_landmarks]
        largest = max(range(len(faces)), key=lambda i: np.ptp(faces[i][:, :2], axis=0).prod())
        blendshapes = [category.score for category in result.face_blendshapes[largest]]
        place = pose(result.facial_transformation_matrixes[largest])
        return np.concatenate([normalise(faces[largest]).ravel(), blendshapes, place]).astype(np.float32)


def normalise(points: np.ndarray) -> np.ndarray:
    """Landmarks freed of the face's place, size and roll in the picture.

    The origin is midway between the eyes; the unit, the distance between the eyes' centres, taken in three
    dimensions so that a turned head doesn't grow; the x axis runs from the person's right eye to the left.

    Parameters
    ----------
    points : ndarray (478, 3)
        x to the right, y down, z away from the camera, in pixels.

    Returns
    -------
    ndarray (478, 3)
        In distances between the eyes.
    """
    right, left = points[list(RIGHT_EYE)].mean(axis=0), points[list(LEFT_EYE)].mean(axis=0)
    across = left - right
    cosine, sine = across[:2] / np.hypot(*across[:2])
    upright = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return (points - (right + left) / 2) @ upright / np.linalg.norm(across)


def pose(matrix: np.ndarray) -> np.ndarray:
    """Head pose from the matrix that carries MediaPipe's canonical face to the camera's space.

    Parameters
    ----------
    matrix : ndarray (4, 4)
        Rotation and scale, R_y(yaw) R_x(pitch) R_z(roll), and translation; x right, y up, z to the camera.

    Returns
    -------
    ndarray (6,)
        Yaw, pitch and roll in radians, 0 when facing the camera upright; x, y and z in cm.
    """
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(-rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.array([yaw, pitch, roll, *matrix[:3, 3]])


def _points(landmarks: list, width: int, height: int) -> np.ndarray:
    """Landmarks (478, 3) in pixels: MediaPipe gives x and z in picture widths, y in picture heights."""
    return np.array([(point.x * width, point.y * height, point.z * width) for point in landmarks])


def _landmarker(model: bytes) -> FaceLandmarker:
    options = FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=model),
        num_faces=MAX_FACES,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with _native_stderr_held():
        return FaceLandmarker.create_from_options(options)


@contextmanager
def _native_stderr_held() -> Iterator[None]:
    """Hold back what native code prints, which no log level of MediaPipe's silences; show it on failure."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
