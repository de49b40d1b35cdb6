"""What a data set's extraction reads: modalities, encoders, shards, files."""

import math

import pytest
from configs import MINE, plan

from cmc.planning.config import PlanError

HEADER = "video_id,clip_id,text,label,mode\n"


@pytest.fixture
def corpus(tmp_path):
    """A data set of six clips, one of which has no video."""
    rows = [
        f"v{i},{i:04d},text {i},{0.2 * (i - 2):.1f},{mode}"
        for i, mode in enumerate(["train", "valid", "test"] * 2)
    ]
    (tmp_path / "label.csv").write_text(HEADER + "\n".join(rows))
    for i in range(5):
        (tmp_path / f"Raw/v{i}").mkdir(parents=True)
        (tmp_path / f"Raw/v{i}/{i:04d}.mp4").touch()
    return tmp_path


def data_of(root, **own):
    _, data = plan(datasets={"mine": MINE | {"root": str(root)} | own})
    return data


def test_clips_come_from_the_label_file(corpus):
    data = data_of(corpus)
    assert data.clips("mine")["v3$_$0003"] == "text 3" and len(data.clips("mine")) == 6


def test_shards_hold_each_clip_once(corpus):
    _, data = plan(
        datasets={"mine": MINE | {"root": str(corpus)}},
        features={"shards": {"text": 6, "audio": 2, "vision": 1}},
    )
    for modality in ("text", "audio", "vision"):
        parts = data.shards("mine", modality)
        assert sorted(clip for part in parts.values() for clip in part) == sorted(data.clips("mine"))
        assert len(data.shard_files("mine", modality)) == len(parts)
    assert len(data.shards("mine", "text")) == 1 < len(data.shards("mine", "audio"))


def test_sources_are_where_clips_are_or_would_be_and_inputs_what_is_there(corpus):
    data = data_of(corpus)
    sources = data.sources("mine", "vision", "0")
    assert sources[0] == str(corpus / "Raw/v0/0000.mp4") and len(sources) == 6
    assert data.inputs("mine", "vision", "0") == sources[:5]
    assert data.sources("mine", "text", "0") == [f"text {i}" for i in range(6)]


def test_home_is_expanded(monkeypatch, corpus):
    monkeypatch.setenv("HOME", str(corpus.parent))
    data = data_of(f"~/{corpus.name}")
    assert data.root("mine") == corpus and len(data.clips("mine")) == 6


def test_unimodal_labels_are_looked_for(corpus):
    assert not data_of(corpus).annotated("mine")
    path = corpus / "label.csv"
    header = HEADER.replace("mode", "label_T,label_A,label_V,mode")
    path.write_text(header + "v0,0000,hello,0.2,1,0,1,train\nv0,0001,hello,0.2,1,0,,train\n")
    assert not data_of(corpus).annotated("mine")
    assert data_of(corpus, features={"vision": {"extractor": "none"}}).annotated("mine")
    path.write_text(header + "v0,0000,hello,0.2,1,0,1,train\n")
    assert data_of(corpus).annotated("mine")
    assert not data_of(corpus, unimodal_labels=False).annotated("mine")


def test_a_data_set_may_lack_a_modality(corpus):
    data = data_of(corpus, features={"vision": {"extractor": "none"}})
    assert list(data.features_of("mine")) == ["text", "audio"]
    assert data.shard_files("mine", "vision") == []
    with pytest.raises(PlanError, match="can't both be none"):
        data_of(corpus, features={key: {"extractor": "none"} for key in ("audio", "vision")}).features_of(
            "mine"
        )


def test_what_provenance_writes_down_is_of_this_data_set(corpus):
    traced = data_of(corpus).traced("mine")
    assert traced["dataset"]["root"] == str(corpus) and "datasets" not in traced
    assert (
        traced["features"]["vision"]["extractor"] == "mediapipe"
        and "openface" not in traced["features"]["vision"]
    )


def test_the_demo_is_known_before_it_is_made():
    _, data = plan(demo={"speakers": 3, "clips": 2})
    assert len(data.clips("demo")) == len(data.demo) == 6
    assert data.label_file("demo") == "results/demo/corpus/label.csv"


def test_recordings_and_parts_of_them(tmp_path):
    (tmp_path / "talk.mov").touch()
    (tmp_path / "label.csv").write_text(
        "video_id,clip_id,text,label,mode,path,start,end\n"
        "v,1,hello,0.2,train,talk.mov,0.5,2\nv,2,,0.2,train,talk.mov,2,\nv,3,,0.2,train,talk.mov,,\n"
    )
    data = data_of(tmp_path, transcribe="a/model")
    path = str(tmp_path / "talk.mov")
    assert data.sources("mine", "vision", "0") == [(path, 0.5, 2.0), (path, 2.0, math.inf), path]
    assert data.inputs("mine", "vision", "0") == [path]  # once
    assert data.recordings("mine", "0") == {"v$_$2": (path, 2.0, math.inf), "v$_$3": path}
    assert data.recorded("mine", "0") == [path]
    assert data.transcripts("mine") == "results/mine/transcripts.csv"
    assert data_of(tmp_path).transcripts("mine") == []


def test_clips_that_a_model_is_to_read(tmp_path, corpus):
    (tmp_path / "own").mkdir(exist_ok=True)
    (tmp_path / "own/a.mp4").touch()
    (tmp_path / "empty").mkdir()
    predictions = {name: {"path": str(tmp_path / name)} for name in ("own", "empty", "gone")}
    features = MINE | {"source": "features", "features_file": "f.pkl"}
    _, data = plan(
        datasets={"mine": MINE | {"root": str(corpus)}, "other": features}, predictions=predictions
    )
    assert data.clips_read("mine", "own") == [str(tmp_path / "own/a.mp4")]
    with pytest.raises(PlanError, match=r"results/mine/predictions/empty can't be made: .* holds no video"):
        data.clips_read("mine", "empty")
    with pytest.raises(PlanError, match=r"there is no .*/gone \(predictions\.gone\.path\)"):
        data.clips_read("mine", "gone")
    with pytest.raises(PlanError, match="features that others extracted"):
        data.clips_read("other", "own")


def test_a_table_of_clips_is_not_written_over(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "results/mine/predictions/label.csv"
    table.parent.mkdir(parents=True)
    table.write_text("path\na.mp4\n")
    for place in (table, table.parent):
        predictions = {"label": {"path": str(place)}}
        _, data = plan(datasets={"mine": MINE | {"root": str(corpus)}}, predictions=predictions)
        with pytest.raises(
            PlanError, match=r"predictions\.label: results/.*/label\.csv would be written over"
        ):
            data.clips_read("mine", "label")
