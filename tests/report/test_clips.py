"""What the clip explorer is given."""

import json

import numpy as np
import pandas as pd
from synthetic import write_features
from test_report import HOSTILE, POLARITY, fake_predictions

from cmc.features import store
from cmc.report import clips, faces


def test_seeds_speak_together():
    one, two = (fake_predictions(seed) for seed in (1, 2))
    found = clips.together([one, two], "cmc", POLARITY)
    chances = []
    for own in (one, two):
        logits = own[[f"logits_{name}" for name in POLARITY.classes]].to_numpy()
        chances.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    mean = np.mean(chances, axis=0)
    np.testing.assert_allclose(found[[f"cmc_{name}" for name in POLARITY.classes]], mean)
    assert found["said"].tolist() == mean.argmax(axis=1).tolist()
    right = sum((own["prediction"] == own["class"]).to_numpy().astype(int) for own in (one, two))
    assert found["right"].tolist() == right.tolist()
    assert set(found["dissents"]) == {"audio", "none"}


def told(**changes):
    found = clips.together([fake_predictions(1), fake_predictions(2)], "cmc", POLARITY)
    nothing = {"transcripts": {}, "subsets": {}, "quality": None, "lines": {}, "links": {}, "faces": {}}
    return clips.rows(found, "cmc", POLARITY, seeds=2, **(nothing | changes))


def test_wrong_and_sure_clips_come_first():
    shown = told()["clips"]
    keys = [(one["right"], -max(one["chances"][0])) for one in shown]
    assert keys == sorted(keys) and len(shown) == 12


def test_what_is_known_of_a_clip():
    quality = pd.DataFrame({"clip_id": ["c1"], "seconds": [2.34567], "faces": [np.nan], "tokens": [7]})
    data = told(transcripts={"c1": "so"}, subsets={"msi": ["c1"]}, quality=quality, links={"c1": "a%20b.mp4"})
    one = next(own for own in data["clips"] if own["id"] == "c1")
    assert (one["text"], one["subset"], one["link"], one["label"]) == ("so", "msi", "a%20b.mp4", 0.0)
    assert data["quality"] == ["seconds", "faces"] and one["quality"] == [2.346, None]
    assert [sum(own) for own in one["chances"]] == [100] * 4 or max(
        abs(sum(o) - 100) for o in one["chances"]
    ) <= 2
    assert data["models"] == ["cmc", "text", "audio", "vision"] and one["router"] == [50, 25, 25]
    json.loads(clips.embedded(data))


def test_data_in_a_page_end_no_script():
    text = clips.embedded({"a": HOSTILE + "<!-- &amp; \u2028 עברית"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["a"] == HOSTILE + "<!-- &amp; \u2028 עברית"


def test_timelines_are_means_over_the_range_of_all_clips(tmp_path):
    assert clips.thinned(np.array([1.0, np.nan, 3.0])).tolist()[::2] == [1.0, 3.0]
    long = clips.thinned(np.arange(80.0))
    assert len(long) == clips.POINTS and long[0] == 0.5
    assert clips.digits(np.array([0.0, np.nan, 1.0, 9.0]), 0, 1) == "0-zz"
    path = write_features(tmp_path / "f.h5")
    assert clips.timelines(path, ["v$_$0001"]) == {}  # no column that a timeline shows
    with store.Reader(path) as reader:
        offsets, values = (
            reader.offsets("vision"),
            reader.rows("vision", *reader.offsets("vision")[1:3]).values,
        )
    clips_shown = {"smile": ("vision", [["nosuch"], ["c1", "c2"]])}
    original, clips.TIMELINES = clips.TIMELINES, clips_shown
    try:
        found = clips.timelines(path, ["v$_$0001"])["smile"]["v$_$0001"]
    finally:
        clips.TIMELINES = original
    series = values[:, 1:3].mean(axis=1)
    assert len(found) == offsets[2] - offsets[1] and found[int(series.argmax())] == "z"


def test_links_are_relative_and_harmless(tmp_path):
    path = str(tmp_path / "raw/a b#?.mp4")
    assert clips.link(path, tmp_path / "results/x") == "../../raw/a%20b%23%3F.mp4"
    assert clips.link((path, 1.5, 2.0), tmp_path / "results/x").endswith("mp4#t=1.5,2")


def test_a_clip_that_cannot_be_read_has_no_picture(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert faces.of({"a": str(tmp_path / "bad.mp4")}) == {}
