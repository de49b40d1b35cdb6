"""OpenFace's files: columns by name, rows without a face, several faces, rates, and what is said of wrong ones."""

import random
import tracemalloc

import numpy as np
import pytest
from openface_files import HEADER, OLDER, frames, write

from cmc.features.contract import Unusable
from cmc.features.extractors.openface import SETS, OpenFace

ALL = OpenFace(rate=None)


def column(extractor, features, name):
    return features.values[:, extractor.columns.index(name)]


def test_the_sets_are_openfaces_columns():
    assert len(HEADER) == 714 and SETS["openface709"] == HEADER[5:]
    assert len(SETS["openface177"]) == 177 and set(SETS["openface177"]) < set(HEADER)
    assert [name for name in HEADER if name in SETS["openface177"]] == SETS["openface177"]
    assert len(OLDER) == 431


@pytest.mark.parametrize("columns", ["openface709", "openface177"])
@pytest.mark.parametrize("separator", [", ", ","])
def test_columns_are_chosen_by_name(tmp_path, columns, separator):
    rows, shuffled = frames(5), HEADER.copy()
    random.Random(0).shuffle(shuffled)
    extractor = OpenFace(columns, rate=None)
    expected = np.array([[row[name] for name in extractor.columns] for row in rows], np.float32)
    for name, header in (("a", HEADER), ("b", shuffled), ("c", ["more", *HEADER])):
        path = write(tmp_path / f"{name}.csv", [row | {"more": 1} for row in rows], header, separator)
        features = extractor.extract(path)
        assert features.values.dtype == np.float32 and np.array_equal(features.values, expected)
        assert np.array_equal(features.times, [0, 0.033, 0.067, 0.1, 0.133])


def test_what_was_not_asked_of_openface_is_needed_only_where_wanted(tmp_path):
    header = HEADER[:5] + SETS["openface177"]
    path = write(tmp_path / "a.csv", frames(3), header)
    assert OpenFace("openface177").extract(path).values.shape == (1, 177)
    with pytest.raises(
        Unusable, match=r"lacks 532 of the 713 columns.*its header has 182: it has all of openface177"
    ):
        OpenFace("openface709").extract(path)


def test_an_older_header_is_told_by_its_columns(tmp_path):
    with pytest.raises(Unusable) as error:
        ALL.extract(write(tmp_path / "a.csv", frames(3), OLDER))
    reason = str(error.value)
    missing = ", ".join(["gaze_angle_x, gaze_angle_y", *(f"eye_lmk_{axis}_0..55" for axis in "xyXYZ")])
    assert f"lacks 282 of the 713 columns needed: {missing}; its header has 431" in reason
    assert "openface177" in reason  # which it could give
    pictures = ["face", "confidence", *HEADER[5:]]
    with pytest.raises(Unusable, match="lacks 3 of the 713 columns needed: frame, timestamp, success; "):
        ALL.extract(write(tmp_path / "b.csv", [row | {"face": 0} for row in frames(3)], pictures))


def test_rows_without_a_sure_face_are_missing_and_keep_their_time(tmp_path):
    rows = frames(6)
    rows[1]["success"] = 0
    rows[2]["confidence"] = 0.4
    rows[3]["AU45_r"] = "-nan(ind)"
    rows[4]["p_0"] = "inf"
    path = write(tmp_path / "a.csv", rows)
    features = ALL.extract(path)
    missing = np.isnan(features.values)
    assert np.array_equal(missing.any(axis=1), missing.all(axis=1))
    assert missing.all(axis=1).tolist() == [False, True, True, True, True, False]
    assert len(features.times) == 6
    seconds = pytest.approx(float(rows[-1]["timestamp"]))
    assert features.quality == {"seconds": seconds, "frames": 6, "faces": pytest.approx(2 / 6)}
    bold = OpenFace("openface177", confidence=0.3, rate=None).extract(path)  # p_0 is not among these
    assert np.isnan(bold.values[:, 0]).tolist() == [False, True, False, True, False, False]
    for row in rows:
        row["success"] = 0
    with pytest.raises(Unusable, match="no face in any of 6 frames"):
        ALL.extract(write(tmp_path / "b.csv", rows))


def test_of_several_faces_the_largest_that_can_be_used_counts(tmp_path):
    small, large = frames(4, seed=1, scale=0.5), frames(4, face_id=1, seed=2, scale=2.0)
    large[2]["success"] = 0  # then the small one
    small[3]["success"] = large[3]["success"] = 0
    rows = [row for pair in zip(small, large, strict=True) for row in pair]
    features = ALL.extract(write(tmp_path / "a.csv", rows))
    found = column(ALL, features, "pose_Tx")
    assert np.allclose(found[:3], [large[0]["pose_Tx"], large[1]["pose_Tx"], small[2]["pose_Tx"]])
    assert len(found) == len(features.times) == 4 and np.isnan(found[3])


@pytest.mark.parametrize(("fps", "rate"), [(30, 10), (25, 10), (29.97, 10), (12, 10), (8, 10), (30, 30)])
def test_rows_are_sampled_by_their_times(tmp_path, fps, rate):
    features = OpenFace(rate=rate).extract(write(tmp_path / "a.csv", frames(round(4 * fps), fps)))
    times = np.round(np.arange(round(4 * fps)) / fps, 3)
    first = [times[times >= due - 1e-3][0] for due in np.arange(0, times[-1] + 1e-3, 1 / rate)]
    assert features.times.tolist() == sorted(set(first))


def test_recipes_differ_with_what_matters():
    assert OpenFace(rate=10).rate == 10 and OpenFace(rate=None).rate is None
    assert OpenFace(folder="/a").settings == OpenFace(folder="/b").settings
    assert OpenFace(confidence=0.7).settings != OpenFace().settings


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-2000])


def no_number(path):
    path.write_text(path.read_text().replace(", 0.98, ", ", sure, ", 1))


def no_row(path):
    path.write_text(path.read_text().split("\n")[0] + "\n")


def no_time(path):
    write(path, [row | {"timestamp": 0} for row in frames(9)])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_off, "cut off: its last line has .* fields of 714"),
        (no_number, "can't be read as OpenFace's CSV: .*sure"),
        (no_row, "a header and no row"),
        (no_time, "time stamps must grow: frame 2 has 0 s"),
        (lambda path: path.write_bytes(b""), "lacks 713 of the 713 columns"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "lacks 713 of the 713 columns"),
    ],
)
def test_damaged_files_are_told(tmp_path, damage, reason):
    path = write(tmp_path / "a.csv", frames(9))
    damage(path)
    with pytest.raises(Unusable, match=reason):
        ALL.extract(path)


def test_memory_holds_only_the_sampled_rows(tmp_path):
    path = write(tmp_path / "a.csv", frames(300))
    with open(path) as file:
        header, *lines = file.read().splitlines()
    fields = [line.split(", ", 3) for line in lines]
    with open(path, "w") as file:
        file.write(header + "\n")
        for i in range(3000):
            file.write(f"{i + 1}, 0, {i / 30:.3f}, {fields[i % 300][3]}\n")
    extractor = OpenFace(rate=1)
    tracemalloc.start()
    features = extractor.extract(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(features.values) == 100 and peak < 30e6
