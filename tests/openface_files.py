"""CSV files as OpenFace 2.2 writes them: its header, its decimals, ", " between fields."""

import numpy as np

UNITS = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()
HEADER = [
    *"frame face_id timestamp confidence success".split(),
    *"gaze_0_x gaze_0_y gaze_0_z gaze_1_x gaze_1_y gaze_1_z gaze_angle_x gaze_angle_y".split(),
    *(f"eye_lmk_{axis}_{i}" for axis in ("x", "y", "X", "Y", "Z") for i in range(56)),
    *"pose_Tx pose_Ty pose_Tz pose_Rx pose_Ry pose_Rz".split(),
    *(f"{axis}_{i}" for axis in ("x", "y", "X", "Y", "Z") for i in range(68)),
    *"p_scale p_rx p_ry p_rz p_tx p_ty".split(),
    *(f"p_{i}" for i in range(34)),
    *(f"AU{unit}_r" for unit in UNITS),
    *(f"AU{unit}_c" for unit in sorted([*UNITS, "28"])),
]
# of OpenFace 1 and early 2: no landmarks of the eyes, no face_id
OLDER = [name for name in HEADER if not name.startswith(("eye_lmk", "gaze_angle", "face_id"))]


def frames(count=30, fps=30.0, face_id=0, scale=1.0, seed=0):
    """Rows (count) of a file, a dict each; landmarks are spread over `scale` x 100 pixels."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        row = dict(zip(HEADER, rng.normal(size=len(HEADER)).round(3).tolist(), strict=True))
        for axis in "xy":
            row |= {f"{axis}_{j}": round(500 + scale * 100 * float(rng.uniform()), 1) for j in range(68)}
        known = {"frame": i + 1, "face_id": face_id, "timestamp": round(i / fps, 3), "confidence": 0.98}
        rows.append(row | known | {"success": 1})
    return rows


def write(path, rows, header=HEADER, separator=", "):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(header), *(separator.join(str(row[name]) for name in header) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
