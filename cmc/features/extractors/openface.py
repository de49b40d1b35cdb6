"""Features of the face in each frame of one clip, from the CSV file that the user's OpenFace 2 wrote."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from cmc.features.contract import Absent, Features, Unusable

SETTINGS = {
    "columns": {"enum": ["openface709", "openface177"], "default": "openface709"},
    "confidence": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
    "rate": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 120, "default": 10.0},
    "folder": {"type": ["string", "null"], "minLength": 1, "default": None},
}
READS = {"folder": "OpenFace", "suffix": ".csv"}

FRAME = ["frame", "timestamp", "confidence", "success"]
EYES, FACE, MODES = 56, 68, 34  # landmarks of both eyes, landmarks of the face, shapes that it may take
REGRESSED = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()  # action units with an intensity
CLASSIFIED = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 28 45".split()  # and those seen or not

GAZE = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
EYE_LANDMARKS = [f"eye_lmk_{axis}_{i}" for axis in "xyXYZ" for i in range(EYES)]
POSE = [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]
LANDMARKS_2D = [f"{axis}_{i}" for axis in "xy" for i in range(FACE)]
LANDMARKS_3D = [f"{axis}_{i}" for axis in "XYZ" for i in range(FACE)]
SHAPE = ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"] + [f"p_{i}" for i in range(MODES)]
ACTION_UNITS = [f"AU{unit}_r" for unit in REGRESSED] + [f"AU{unit}_c" for unit in CLASSIFIED]

SETS = {  # in OpenFace's own order
    "openface709": [*GAZE, *EYE_LANDMARKS, *POSE, *LANDMARKS_2D, *LANDMARKS_3D, *SHAPE, *ACTION_UNITS],
    "openface177": [*POSE, *LANDMARKS_2D, *ACTION_UNITS],
}
TIME_TOLERANCE = 1e-3  # s; OpenFace writes milliseconds
BLOCK = 2000  # lines read at once
NOT_A_NUMBER = ("nan(ind)", "-nan(ind)", "inf", "-inf")  # as C++ writes it, beyond what pandas knows
COMMAND = "FeatureExtraction -2Dfp -3Dfp -pdmparams -pose -aus -gaze"  # writes all columns


class OpenFace:
    """What OpenFace 2 [1]_ measured in a face: gaze, pose, landmarks, shape, action units.

    The columns are chosen by their names, wherever they stand. A row is NaN where OpenFace found no face
    (`success` 0), was not confident enough, or wrote a value that is no finite number. Of several faces in a
    frame, as FaceLandmarkVidMulti writes them, the one with the largest box of landmarks counts.

    Parameters
    ----------
    columns : {'openface709', 'openface177'}
        All that OpenFace 2.2 writes, as in CH-SIMS; or pose, 2-D landmarks and action units, as in CH-SIMS v2.
    confidence : float
        In [0, 1]. Rows below it count as without a face.
    rate : float or None
        Rows a second: for each instant 0, 1/rate, 2/rate, ... the first row at or after it, each at most once.
        None: every row.
    folder : str or None
        Where the files are; told here only because it is a setting: `extract` is given their paths.

    References
    ----------
    .. [1] Baltrusaitis et al., "OpenFace 2.0: facial behavior analysis toolkit", FG 2018.
    """

    name = "openface"
    version = "OpenFace 2 CSV"
    dtype = "float32"  # float16 tells pixels beyond 2048 no more
    source = "OpenFace file"

    def __init__(
        self,
        columns: str = "openface709",
        confidence: float = 0.5,
        rate: float | None = 10.0,
        folder: str | None = None,
    ) -> None:
        self.columns, self._confidence = SETS[columns], confidence
        self.rate = None if rate is None else float(rate)
        self.settings = {"columns": columns, "confidence": confidence, "rate": self.rate}

    def __enter__(self) -> "OpenFace":
        return self

    def __exit__(self, *_exception) -> None:
        """Nothing is held."""

    def extract(self, path: str | Path) -> Features:
        """Features of a clip's frames.

        Parameters
        ----------
        path : path
            CSV file of OpenFace, of a video: with the columns frame, timestamp, confidence and success.

        Returns
        -------
        Features
            values (frames, 709 or 177), at OpenFace's own time stamps.

        Raises
        ------
        Unusable
            Columns are missing, the file is cut off, its time stamps don't grow, a field is no number, or there is
            a face in no frame.
        """
        try:
            header = check_header(path, self.columns)
            rows = pd.concat(read(path, header, [*FRAME, *LANDMARKS_2D]))
            rows = one_a_frame(rows, self._confidence)
            seconds = float(rows["timestamp"].iloc[-1])
            rows = sample(rows, self.rate)
            chosen = rows.index.to_numpy()
            blocks = [
                block[self.columns].loc[block.index.intersection(chosen)].to_numpy(np.float32)
                for block in read(path, header, self.columns)
            ]
        except ValueError as error:  # pandas's, of fields and lines that it can't read
            raise Unusable(f"{path} can't be read as OpenFace's CSV: {error}") from None
        values = np.concatenate(blocks)
        values[~(rows["usable"].to_numpy() & np.isfinite(values).all(axis=1))] = np.nan
        faces = 1 - np.isnan(values[:, 0]).mean()
        if not faces:
            raise Absent(f"no face in any of {len(values)} frames")
        quality = {"seconds": seconds, "frames": len(values), "faces": faces}
        return Features(values, times=rows["timestamp"].to_numpy(), quality=quality)


def check_header(path: str | Path, columns: Sequence[str]) -> list[str]:
    """The names of a file's columns, stripped; Unusable tells those that are missing, and whether lines are.

    Raises
    ------
    Unusable
    """
    with open(path, "rb") as file:
        first = file.readline()
        file.seek(max(file.tell(), Path(path).stat().st_size - (1 << 16)))
        last = file.read().strip().rsplit(b"\n", 1)[-1]
    header = [name.strip() for name in first.decode("utf-8", errors="replace").split(",")]
    wanted = [*FRAME, *columns]
    if missing := [name for name in wanted if name not in header]:
        whole = [name for name, others in SETS.items() if set(FRAME + others) <= set(header)]
        hint = f"it has all of {whole[0]}" if whole else f"OpenFace 2 writes all with {COMMAND}"
        raise Unusable(
            f"lacks {len(missing)} of the {len(wanted)} columns needed: {ranges(missing)}; its header has "
            f"{len(header)}: {hint}"
        )
    if not last:
        raise Unusable("the OpenFace file has a header and no row")
    if last.count(b",") + 1 != len(header):
        raise Unusable(
            f"the OpenFace file is cut off: its last line has {last.count(b',') + 1} fields of {len(header)}"
        )
    return header


def ranges(names: Sequence[str]) -> str:
    """Names in few words: eye_lmk_x_0..55, AU01_r."""
    groups = [[*group] for _, group in groupby(names, lambda name: name.rstrip("0123456789"))]
    return ", ".join(
        group[0]
        if len(group) == 1
        else f"{group[0]}..{group[-1].removeprefix(group[0].rstrip('0123456789'))}"
        for group in groups
    )


def read(path: str | Path, header: list[str], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Some columns of a file, in blocks of lines, numbered on from 0."""
    return pd.read_csv(
        path,
        names=header,
        skiprows=1,
        usecols=list(columns),
        dtype={name: np.float64 if name in FRAME else np.float32 for name in columns},
        na_values=NOT_A_NUMBER,
        skipinitialspace=True,
        encoding_errors="replace",
        chunksize=BLOCK,
    )


def one_a_frame(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The rows that count, one a frame: of faces that can be used the largest; and whether it can be used.

    Returns
    -------
    DataFrame
        timestamp, usable; the index is the rows' places in the file.
    """
    usable = (rows["success"] == 1) & (rows["confidence"] >= confidence)
    if rows["frame"].duplicated().any():
        box = [np.ptp(rows[LANDMARKS_2D[i : i + FACE]].to_numpy(), axis=1) for i in (0, FACE)]
        size = pd.Series(np.where(usable, np.nan_to_num(box[0] * box[1]), -1.0), rows.index)
        rows = rows.loc[np.sort(size.groupby(rows["frame"]).idxmax().to_numpy())]
    times = rows["timestamp"].to_numpy()
    if not (np.diff(times, prepend=-np.inf) > 0).all():
        at = int(np.argmin(np.diff(times, prepend=-np.inf) > 0))
        raise Unusable(
            f"time stamps must grow: frame {rows['frame'].iloc[at]:g} has {times[at]:g} s; run OpenFace on the "
            "video itself, not on single pictures"
        )
    return pd.DataFrame({"timestamp": times, "usable": usable[rows.index]}, rows.index)


def sample(rows: pd.DataFrame, rate: float | None) -> pd.DataFrame:
    """The first row at or after each of the instants 0, 1/rate, 2/rate, ..., each at most once."""
    if rate is None:
        return rows
    reached = np.floor((rows["timestamp"].to_numpy() + TIME_TOLERANCE) * rate)
    return rows[np.diff(reached, prepend=-1.0) > 0]
