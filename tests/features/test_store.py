import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from cmc.corpus import quarantine
from cmc.features import extract, store
from cmc.features.contract import Features, Unusable


def recipe(width, **changes):
    columns = [f"c{i}" for i in range(width)]
    return store.Recipe(
        **dict(extractor="x", version="1", settings={"a": 1}, columns=columns, rate=10.0) | changes
    )


def features(frames, width, seed=0):
    values = np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)
    return Features(values, times=np.arange(frames) / 10)


def write(path, parts, **changes):
    with store.create(path) as out:
        out.modality("audio", recipe(parts[0].values.shape[1], **changes))
        for part in parts:
            out.append("audio", part)
        out.finish(pd.DataFrame({"clip_id": [f"{i:04d}" for i in range(len(parts))]}))


def test_round_trip(tmp_path):
    parts = [features(n, 3, n) for n in (5, 1, 40)]
    parts[1].values[:] = np.nan
    write(tmp_path / "f.h5", parts)
    with store.Reader(tmp_path / "f.h5") as reader:
        assert reader.table("clips")["clip_id"].tolist() == ["0000", "0001", "0002"]
        assert store.same_recipe(reader.recipe("audio"), recipe(3))
        offsets = reader.offsets("audio")
        for i, part in enumerate(parts):
            read = reader.rows("audio", offsets[i], offsets[i + 1])
            np.testing.assert_array_equal(read.values, part.values)
            np.testing.assert_array_equal(read.times, part.times)


def test_same_input_same_bytes(tmp_path):
    parts = [features(n, 3, n) for n in (5, 1, 40)]
    write(tmp_path / "a.h5", parts)
    write(tmp_path / "b.h5", parts)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(RuntimeError), store.create(tmp_path / "f.h5") as out:
        out.modality("audio", recipe(2))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_values_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="100000 does not fit float16"):
        write(tmp_path / "f.h5", [Features(np.full((2, 3), 1e5, np.float32))], dtype="float16")


def test_strange_files_are_refused(tmp_path):
    (tmp_path / "f.h5").write_bytes(b"nonsense")
    (tmp_path / "table.csv").write_bytes(b"path,text\n")
    h5py.File(tmp_path / "g.h5", "w").close()
    (tmp_path / "half.h5").write_bytes((tmp_path / "g.h5").read_bytes()[:500])
    advice = "if a run has made it, delete it and run again"
    for name, told, deleted in (
        ("f.h5", "is no feature file", True),
        ("g.h5", "is not a cmc-features-1 file", True),
        ("half.h5", "is damaged", True),
        ("table.csv", "is no feature file, such as a run's features.h5", False),  # a file of the user's own
        ("nosuch.h5", "no such file", False),
    ):
        with pytest.raises(store.StoreError, match=rf"{name}.* ?{told}") as raised:
            store.Reader(tmp_path / name)
        assert (advice in str(raised.value)) is deleted and "\n" not in str(raised.value)


class Fake:
    """An extractor of the contract whose results are given."""

    name, version, settings, columns, rate = "fake", "fake 1", {}, ["a", "b"], 10.0
    dtype = "float32"

    def __init__(self, results):
        self.results = results

    def extract(self, source):
        result = self.results[source]
        if isinstance(result, Exception):
            raise result
        return result


def shard(tmp_path, modality, results, name="0"):
    for clip in results:
        (tmp_path / clip).touch()
    fake = Fake({str(tmp_path / clip): result for clip, result in results.items()})
    path = tmp_path / f"{modality}-{name}.h5"
    sources = [str(tmp_path / clip) for clip in results]
    extract.shard(modality, fake, list(results), sources, path, path.with_suffix(".costs.csv"))
    return path


def manifest_of(tmp_path, splits):
    table = pd.DataFrame(
        {
            "clip_id": list(splits),
            "video_id": "v",
            "text": "t",
            "split": list(splits.values()),
            "label": "0.2",
            "label_T": "",
            "label_A": "",
            "label_V": "",
        }
    )
    table.to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "refused.csv").write_text("clip_id,stage,reason\nz,manifest,duplicate id\n")


def test_one_bad_clip_costs_that_clip(tmp_path):
    half = features(4, 2)
    half.values[1, 0] = np.inf
    results = {
        "good": features(4, 2),
        "faceless": Unusable("no face"),
        "bug": ZeroDivisionError("oops"),
        "inf": half,
        "nothing": Features(np.full((3, 2), np.nan, np.float32), times=np.arange(3.0)),
        "wide": features(4, 3),
        "flat": Features(np.ones(2, np.float32), times=np.arange(2.0)),
        "timeless": Features(np.ones((3, 2), np.float32)),
        "uneven": Features(np.ones((3, 2), np.float32), times=np.arange(5.0)),
        "backwards": Features(np.ones((3, 2), np.float32), times=np.array([0.0, 2.0, 1.0])),
        "never": Features(np.ones((3, 2), np.float32), times=np.array([0.0, 1.0, np.nan])),
        "last": features(4, 2, 1),
    }
    path = shard(tmp_path, "vision", results)
    (tmp_path / "refused.csv").write_text("clip_id,stage,reason\n")
    extract.list_refused(tmp_path / "refused.csv", [path], tmp_path / "quarantine.csv")
    table = pd.read_csv(tmp_path / "quarantine.csv").set_index("clip_id")
    assert (table["stage"] == "vision").all()
    assert table["reason"].to_dict() == {
        "faceless": "no face",
        "bug": "the fake extractor failed: ZeroDivisionError: oops",
        "inf": "row 1 holds inf, no finite float32",
        "nothing": "nothing was found in any frame",
        "wide": "fake gave values of shape (4, 3), expected (frames, 2)",
        "flat": "fake gave values of shape (2,), expected (frames, 2)",
        "timeless": "fake must give rows of vision times and no token_ids",
        "uneven": "fake gave 3 rows and times or token_ids of shape (5,)",
        "backwards": "fake gave times that are not finite and increasing",
        "never": "fake gave times that are not finite and increasing",
    }
    with store.Reader(path) as reader:
        assert reader.table("clips")["clip_id"].tolist() == ["good", "last"]
        assert np.array_equal(reader.rows("vision", 4, 8).times, results["last"].times)


def test_quality_of_each_clip(tmp_path):
    def sound(seconds):
        quality = {"seconds": seconds, "voiced": 0.51234567, "silence": 0.0, "clipping": 0.0}
        return Features(np.zeros((3, 2), np.float32), times=np.arange(3.0), quality=quality)

    def film(seconds):
        quality = {"seconds": seconds, "frames": 9, "faces": 1.0, "face_pixels": 120.0}
        return Features(np.zeros((3, 2), np.float32), times=np.arange(3.0), quality=quality)

    manifest_of(tmp_path, {"b": "train", "a": "valid", "0": "test"})
    shards, costs = [], []
    for modality, results in {
        "audio": {"a": sound(2.0), "b": Unusable("no audio track"), "0": sound(1.0)},
        "vision": {"a": film(1.9), "b": film(4.9), "0": Unusable("no face")},
    }.items():
        shards.append(shard(tmp_path, modality, results))
        costs.append(shards[-1].with_suffix(".costs.csv"))
    extract.list_quality(tmp_path / "manifest.csv", shards, costs, tmp_path / "extraction.csv")
    lines = (tmp_path / "extraction.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == [
        "clip_id,split,seconds,frames,faces,face_pixels,voiced,silence,clipping,tokens,unknown",
        "b,train,4.9,9,1.0,120.0,,,,,",
        "a,valid,2.0,9,1.0,120.0,0.5123,0.0,0.0,,",
        "0,test,1.0,,,,0.5123,0.0,0.0,,",
    ]
    assert all(0 <= float(line.rsplit(",", 1)[1]) < 1 for line in lines[1:])
    assert extract.read_quality(tmp_path / "extraction.csv", ["a"])["frames"].tolist() == [9]


def test_missing_video_is_named(tmp_path):
    extract.shard("audio", Fake({}), ["a"], [str(tmp_path / "a.mp4")], tmp_path / "s.h5")
    with store.Reader(tmp_path / "s.h5") as reader:
        assert reader.table("quarantine")["reason"].tolist() == [f"video is missing: {tmp_path / 'a.mp4'}"]


def test_gather_keeps_order_and_leaves_out_the_refused(tmp_path):
    manifest_of(tmp_path, {"a": "train", "b": "valid", "c": "test", "d": "train"})
    rows = {clip: features(3, 2, i) for i, clip in enumerate("abcd")}
    shards = {
        "audio": [
            shard(tmp_path, "audio", {"d": rows["d"], "b": rows["b"]}),
            shard(tmp_path, "audio", {"a": rows["a"], "c": rows["c"]}, "1"),
        ],
        "vision": [shard(tmp_path, "vision", rows | {"d": Unusable("no face")})],
    }
    paths = [path for files in shards.values() for path in files]
    extract.list_refused(tmp_path / "refused.csv", paths, tmp_path / "quarantine.csv")
    extract.gather(tmp_path / "manifest.csv", tmp_path / "quarantine.csv", shards, tmp_path / "f.h5", 0.5)
    with store.Reader(tmp_path / "f.h5") as reader:
        assert reader.table("clips")["clip_id"].tolist() == ["a", "b", "c"]
        assert reader.table("clips")["label"].tolist() == [0.2] * 3
        assert np.isnan(reader.table("clips")["label_T"]).all()
        np.testing.assert_array_equal(reader.rows("audio", 3, 6).values, rows["b"].values)
    with pytest.raises(quarantine.QuarantineError, match=r"(?s)2 of 5 clips.*no face.*max_share"):
        extract.gather(tmp_path / "manifest.csv", tmp_path / "quarantine.csv", shards, tmp_path / "g.h5", 0.2)
    assert not (tmp_path / "g.h5").exists()


def test_gather_refuses_shards_of_different_settings(tmp_path):
    manifest_of(tmp_path, {"a": "train", "b": "valid", "c": "test"})
    one = shard(tmp_path, "audio", {"a": features(3, 2), "b": features(3, 2)})
    Fake.settings = {"rate": 20}
    try:
        other = shard(tmp_path, "audio", {"c": features(3, 2)}, "1")
    finally:
        Fake.settings = {}
    with pytest.raises(store.StoreError, match="different extractors or settings"):
        extract.gather(
            tmp_path / "manifest.csv",
            tmp_path / "refused.csv",
            {"audio": [one, other]},
            tmp_path / "f.h5",
            0.5,
        )


def test_a_value_beyond_its_stored_type_costs_its_clip():
    large = Features(np.array([[1.0], [1e5]], np.float32), times=np.arange(2.0))
    assert extract.fault(large, "audio", recipe(1)) is None
    assert (
        extract.fault(large, "audio", recipe(1, dtype="float16")) == "row 1 holds 100000.0, no finite float16"
    )


def test_text_has_token_ids_and_no_times():
    values, ids = np.ones((2, 1), np.float32), np.arange(2, dtype=np.int32)
    assert extract.fault(Features(values, token_ids=ids), "text", recipe(1)) is None
    for wrong in ({}, {"times": np.arange(2.0)}, {"times": np.arange(2.0), "token_ids": ids}):
        reason = extract.fault(Features(values, **wrong), "text", recipe(1))
        assert reason == "x must give rows of text token_ids and no times"
    assert "shape (2,)" in extract.fault(Features(values[:1], token_ids=ids), "text", recipe(1))


OVERFULL = """
import resource, sys
import numpy as np, pandas as pd
from cmc.features import store
from cmc.features.contract import Features

size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
rng = np.random.default_rng(0)
with store.create(sys.argv[1]) as out:
    out.modality("audio", store.Recipe("x", "1", {}, [f"c{i}" for i in range(100)], 10.0))
    for _ in range(20):
        out.append("audio", Features(rng.normal(size=(50, 100)).astype(np.float32), times=np.arange(50) / 10))
    out.finish(pd.DataFrame({"clip_id": [f"c{i}" for i in range(20)]}))
"""


@pytest.mark.parametrize("size", [0, 5_000, 100_000, 300_000])
def test_a_disk_that_is_full(tmp_path, size):
    """HDF5 by itself would crash here, and leave its half file."""
    line = [sys.executable, "-c", OVERFULL, str(tmp_path / "features.h5"), str(size)]
    ran = subprocess.run(line, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("OSError: [Errno 27] File too large")
    assert not list(tmp_path.iterdir())
