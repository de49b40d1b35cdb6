"""Features of the face in each sampled frame of one clip."""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions
from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarkerResultC

from cmc.features import media
from cmc.features.contract import Absent, Features, Unusable
from cmc.features.extractors import speaker

SETTINGS = {
    "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 120, "default": 10.0},
    "speaker": {"enum": ["largest", "active"], "default": "largest"},
    "model": {"type": ["string", "null"], "format": "file", "default": None},
    "model_sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$", "default": None},
}
PACKAGED_MODEL = Path(__file__).with_name("face_landmarker.task")
PUBLISHED_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MAX_FACES = 4  # looked for in a frame; one is kept
SPEAKERS = ("largest", "active")

LANDMARKS = 478
RIGHT_EYE = (33, 133)  # landmarks at the outer and inner corner; right is the person's own
LEFT_EYE = (263, 362)
INNER_LIPS = (13, 14)  # the upper and the lower lip's middle
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


@dataclass(frozen=True)
class Detection:
    """One face that the landmarker found in a picture.

    Attributes
    ----------
    points : ndarray (478, 3)
        x to the right, y down, z away from the camera, in pixels.
    blendshapes : ndarray (52,), in [0, 1]
    matrix : ndarray (4, 4)
        See `pose`.
    """

    points: np.ndarray
    blendshapes: np.ndarray
    matrix: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Left, top, right, bottom (4,), in pixels."""
        return np.concatenate([self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)])

    @property
    def height(self) -> float:
        """In pixels."""
        return float(np.ptp(self.points[:, 1]))

    @property
    def area(self) -> float:
        return float(np.ptp(self.points[:, :2], axis=0).prod())

    @property
    def mouth_opening(self) -> float:
        """Distance between the lips, in distances between the eyes."""
        upper, lower = normalise(self.points)[list(INNER_LIPS)]
        return float(np.linalg.norm(lower - upper))

    @property
    def features(self) -> np.ndarray:
        """(1492,), float32; see `MediaPipe`."""
        values = [normalise(self.points).ravel(), self.blendshapes, pose(self.matrix)]
        return np.concatenate(values).astype(np.float32)


class MediaPipe:
    """Landmarks, blendshapes and head pose of one face, by MediaPipe's Face Landmarker.

    Columns: 478 landmarks x 3, normalised (`normalise`); 52 blendshapes in [0, 1], the muscle movements
    closest to facial action units; head yaw, pitch and roll in radians and place in cm (`pose`). A face is
    measured in its own picture alone, whatever was seen before.

    Use it in a `with` statement, which loads the model and releases it.

    Parameters
    ----------
    model : str or Path, optional
        A Face Landmarker model file; default, the one in this package.
    model_sha256 : str, optional
        What the file's checksum must be, as hexadecimal digits; default, that of the published model.
    rate : float
        Frames looked at a second.
    speaker : {"largest", "active"}
        Of several faces, keep the largest of each frame, or the one whose mouth moves with the sound
        throughout a scene, which a cut ends; with "active", frames of the scene that don't show that person
        count as without a face, and only scenes with two faces in a frame need sound.

    Raises
    ------
    FileNotFoundError
        There is no such model file.
    ValueError
        The model file has another checksum, or `speaker` is unknown.
    """

    name = "mediapipe"
    version = f"mediapipe {version('mediapipe')}"
    dtype = "float16"
    columns = [f"landmark_{i:03d}_{axis}" for i in range(LANDMARKS) for axis in "xyz"] + BLENDSHAPES + POSE

    def __init__(
        self,
        model: str | Path | None = None,
        rate: float = 10.0,
        speaker: str = "largest",
        model_sha256: str | None = None,
    ) -> None:
        if speaker not in SPEAKERS:
            raise ValueError(f"speaker is {speaker!r}: choose one of {', '.join(SPEAKERS)}")
        path, expected = Path(model or PACKAGED_MODEL), model_sha256 or PUBLISHED_SHA256
        self._model = path.read_bytes()
        found = hashlib.sha256(self._model).hexdigest()
        if found != expected:
            way_out = (
                "Get the file again, or, if it is the one you want, set features.vision.mediapipe.model_sha256."
                if model
                else "Install this package again."
            )
            raise ValueError(f"{path} has the SHA-256 {found}, expected {expected}. {way_out}")
        self.rate = float(rate)
        self.settings = {
            "rate": self.rate,
            "speaker": speaker,
            "max_faces": MAX_FACES,
            "model_sha256": found,
        }

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
            No face in any frame; and see `frames` in `cmc.features.media`, for "active" also `sound`.
        """
        times: list[float] = []
        heights: list[float] = []
        choose = self._largest if self.settings["speaker"] == "largest" else self._active
        values = choose(path, times, heights)
        found = ~np.isnan(values[:, 0])
        if not found.any():
            way_out = "crop the video to the speaker, or take files that OpenFace wrote"
            raise Absent(f"no face in any of {len(times)} frames: {way_out}")
        figures = {"seconds": times[-1], "frames": len(times), "faces": float(found.mean())}
        figures["face_pixels"] = float(np.median(heights))
        return Features(values, times=np.array(times), quality=figures)

    def _largest(self, path: str | Path, times: list[float], heights: list[float]) -> np.ndarray:
        """Features (frames, 1492) of the largest face in each frame.

        The frames' times are appended to `times`, the faces' heights to `heights`.
        """

        def rows() -> Iterator[np.ndarray]:
            for seconds, rgb in media.frames(path, self.rate):
                times.append(seconds)
                face = self.largest(rgb)
                heights.extend([] if face is None else [face.height])
                yield self.without_face if face is None else face.features

        return self._stacked(rows())

    def _active(self, path: str | Path, times: list[float], heights: list[float]) -> np.ndarray:
        """As `_largest`, of the face that speaks."""
        faces: list[speaker.Face] = []

        def rows() -> Iterator[np.ndarray]:
            for seconds, rgb in media.frames(path, self.rate):
                for face in self.detect(rgb):
                    faces.append(speaker.Face(len(times), seconds, face.box, face.mouth_opening))
                    yield face.features
                times.append(seconds)

        candidates = self._stacked(rows())
        values = np.full((len(times), len(self.columns)), np.nan, np.float32)
        scenes = speaker.scenes(faces, speaker.link(faces))
        if any(len(tracks) > 1 for tracks in scenes):
            try:
                heard = speaker.loudness(media.sound(path), media.SAMPLE_RATE, np.array(times))
            except Unusable as reason:
                way_out = "to find out which of several faces speaks takes sound: set speaker: largest"
                raise Unusable(f"{reason}; {way_out}") from reason
        for tracks in scenes:
            track = tracks[0] if len(tracks) == 1 else speaker.active(faces, tracks, heard)
            values[[faces[i].frame for i in track.members]] = candidates[track.members]
            heights.extend(float(faces[i].box[3] - faces[i].box[1]) for i in track.members)
        return values

    def _stacked(self, rows: Iterator[np.ndarray]) -> np.ndarray:
        """(rows, 1492), without a second copy of them, for an hour has 200 MB."""
        return np.fromiter(rows, np.dtype((np.float32, len(self.columns))))

    def of_picture(self, rgb: np.ndarray) -> np.ndarray:
        """Features (1492,), float32, of the largest face in a picture (height, width, 3), uint8; all NaN if it
        shows none."""
        face = self.largest(rgb)
        return self.without_face if face is None else face.features

    @property
    def without_face(self) -> np.ndarray:
        """Features (1492,), float32, of a picture that shows no face."""
        return np.full(len(self.columns), np.nan, np.float32)

    def largest(self, rgb: np.ndarray) -> Detection | None:
        """The largest face in a picture (height, width, 3), uint8, if it shows one."""
        return max(self.detect(rgb), key=lambda face: face.area, default=None)

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Faces in a picture (height, width, 3), uint8, C-contiguous.

        The results are read where MediaPipe's library leaves them: its Python objects, one for each landmark,
        would cost a tenth of the time.
        """
        if not rgb.flags.c_contiguous:
            raise ValueError("the picture's rows have gaps, which MediaPipe would misread")
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        library, result = self._landmarker._lib, FaceLandmarkerResultC()
        library.MpFaceLandmarkerDetectImage(
            self._landmarker._handle, picture._image_ptr, None, ctypes.byref(result)
        )
        height, width, _ = rgb.shape
        try:
            return [_detection(result, i, width, height) for i in range(result.face_landmarks_count)]
        finally:
            library.MpFaceLandmarkerCloseResult(ctypes.byref(result))


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


def _detection(result: FaceLandmarkerResultC, number: int, width: int, height: int) -> Detection:
    """A face of a result, copied: MediaPipe gives x and z in picture widths, y in picture heights."""
    landmarks = result.face_landmarks[number]
    points = _floats(landmarks.landmarks, landmarks.landmarks_count, ("x", "y", "z"))
    shapes = result.face_blendshapes[number]
    return Detection(
        points * (width, height, width),
        _floats(shapes.categories, shapes.categories_count, ("score",))[:, 0],
        result.facial_transformation_matrixes[number].to_numpy(),
    )


def _floats(pointer, count: int, fields: tuple[str, ...]) -> np.ndarray:
    """Copy of some fields, C floats, of `count` C structures: (count, fields), float64."""
    kind = pointer._type_
    size = ctypes.sizeof(kind)
    content = (ctypes.c_char * (count * size)).from_address(ctypes.addressof(pointer.contents))
    columns = [np.ndarray(count, np.float32, content, getattr(kind, f).offset, (size,)) for f in fields]  # type: ignore[arg-type]
    return np.stack(columns, axis=1).astype(np.float64)


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
