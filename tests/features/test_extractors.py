"""Choosing an extractor: its settings by its file, mistakes told, one file and one line for a new one."""

import inspect
import json
import shutil
from importlib import import_module

import openface_files
import pytest
from jsonschema import Draft202012Validator
from small_run import MINE, ONE_EPOCH, edited, planned, snakemake
from tiny_models import speech_encoder

from cmc.corpus import quarantine
from cmc.features import extractors, store

ALL = [(modality, name) for modality, names in extractors.EXTRACTORS.items() for name in names]
DEFAULTS = {
    "text": {"extractor": "hugging_face"},
    "audio": {"extractor": "chsims33"},
    "vision": {"extractor": "mediapipe"},
}


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_settings_are_the_constructors(modality, name):
    if name == "egemaps25":
        pytest.importorskip("opensmile", reason="an optional extra")
    found = getattr(import_module(f"cmc.features.extractors.{name}"), extractors.EXTRACTORS[modality][name])
    accepted = inspect.signature(found).parameters
    for key, schema in extractors.declared(name, "SETTINGS").items():
        Draft202012Validator.check_schema(schema)
        default = schema.get("default", inspect.Parameter.empty)
        assert accepted[key].default == default, key
        if "default" in schema:
            Draft202012Validator(schema).validate(default)


def test_defaults_are_filled_in_and_other_extractors_settings_ignored():
    sections = DEFAULTS | {"vision": {"extractor": "mediapipe", "mediapipe": {"rate": 30}}}
    picked = extractors.chosen(sections)
    name, settings = picked["vision"]
    assert name == "mediapipe" and settings["rate"] == 30 and settings["speaker"] == "largest"
    assert picked["audio"] == ("chsims33", {"f0": "zcr"})
    none = extractors.chosen(sections | {"vision": {"extractor": "none", "mediapipe": {"rate": 30}}})
    assert list(none) == ["text", "audio"]


def test_what_can_not_be_left_out():
    with pytest.raises(ValueError, match="transcripts"):
        extractors.chosen(DEFAULTS | {"text": {"extractor": "none"}})
    with pytest.raises(ValueError, match="both"):
        extractors.chosen(DEFAULTS | {name: {"extractor": "none"} for name in ("audio", "vision")})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"features": {"audio": {"extractor": "egmaps"}}},
            "features.audio.extractor: 'egmaps' is not one of",
        ),
        ({"features": {"audio": {"chsims33": {"f1": "pyin"}}}}, "('f1' was unexpected); there are f0"),
        ({"features": {"audio": {"f0": "pyin"}}}, "('f0' was unexpected); there are chsims33, "),
        ({"features": {"audio": {"chsims33": {"f0": "swipe"}}}}, "'swipe' is not one of ['zcr', 'pyin'"),
        (
            {"datasets": {"mosi": {"features": {"vision": {"mediapipe": {"rates": 5}}}}}},
            "mosi.features.vision.mediapipe: Additional properties are not allowed ('rates' was unexpected)",
        ),
        (
            {"datasets": {"mosi": {"features": {"text": {"extractor": "none"}}}}},
            "data set mosi: features.text: none is no choice",
        ),
        (
            {"features": {"audio": {"extractor": "hugging_face_speech"}}},
            "data set mosi: features.audio: the extractor hugging_face_speech needs hugging_face_speech.encoder",
        ),
    ],
)
def test_mistakes_are_told_with_what_there_is(tmp_path, config, expected):
    output = snakemake(tmp_path, "-n", "results/mosi/features.h5", config=config, check=False)
    assert expected in output and "Job stats" not in output


def test_a_data_set_may_choose_for_itself(tmp_path):
    own = {"features": {"vision": {"extractor": "none"}}}
    jobs = planned(tmp_path, "results/demo/table.csv", config={"datasets": {"demo": own}})
    assert "extract_vision" not in jobs and {"extract_text", "extract_audio", "pretrain"} <= set(jobs)


def test_what_extractors_read_beside_the_videos_goes_in_and_reruns_what_it_must(demo, tmp_path):
    root = tmp_path / "corpus"
    shutil.copytree(demo[0] / "results/demo/corpus", root)
    speech = speech_encoder("wavlm", tmp_path / "speech")
    chosen = {
        "audio": {"extractor": "hugging_face_speech", "hugging_face_speech": {"encoder": str(speech)}},
        "vision": {"extractor": "openface", "openface": {"rate": 5}},
    }
    mine = MINE | {"root": str(root), "features": chosen}
    config = ONE_EPOCH | {"datasets": {"mine": mine}, "features": {"shards": {"vision": 4}}}
    target = "results/mine/features.h5"
    output = snakemake(tmp_path, "-n", target, config=config, check=False)
    assert f"the files that openface reads: looked for {root}/OpenFace/<video>/<clip>.csv" in output
    assert "features.vision.openface.folder" in output

    clips = sorted((root / "Raw").glob("*/*.mp4"))
    files = [root / "OpenFace" / clip.parent.name / f"{clip.stem}.csv" for clip in clips]
    for seed, path in enumerate(files):
        openface_files.write(path, openface_files.frames(30, seed=seed))
    first = files[0].read_bytes()
    openface_files.write(files[0], openface_files.frames(30), openface_files.OLDER)
    files[1].unlink()
    config["quarantine"] = {"max_share": 0.2}
    snakemake(tmp_path, target, config=config)
    refused = quarantine.read(tmp_path / "results/mine/quarantine.csv").set_index("clip_id")["reason"]
    assert len(refused) == 2 and f"OpenFace file is missing: {files[1]}" in set(refused)
    assert any("lacks 282 of the 713 columns" in reason for reason in refused)
    with store.Reader(tmp_path / target) as reader:
        assert reader.modalities == ["text", "audio", "vision"]
        assert reader.recipe("audio").extractor == "hugging_face_speech"
        recipe = reader.recipe("vision")
        assert len(recipe.columns) == 709 and recipe.dtype == "float32" and recipe.rate == 5
        assert len(reader.table("clips")) == len(clips) - 2

    known = json.loads((tmp_path / "results/mine/audio_encoder.json").read_text())
    assert known["encoder"] == str(speech) and len(known["sha256"]) == 64

    assert planned(tmp_path, target, config=config) == {}
    weights = (speech / "model.safetensors").read_bytes()
    with edited(speech / "model.safetensors", weights + b" "):
        jobs = planned(tmp_path, target, config=config)
        assert jobs == {"encoder": 1, "extract_audio": 1, "quarantine": 1, "features": 1}
    files[0].write_bytes(first)
    assert planned(tmp_path, target, config=config) == {"extract_vision": 1, "quarantine": 1, "features": 1}
    openface_files.write(files[1], openface_files.frames(30))  # one that wasn't there
    assert planned(tmp_path, target, config=config)["extract_vision"] in (1, 2)
    chosen["vision"]["openface"]["folder"] = str(tmp_path / "elsewhere")
    shutil.move(root / "OpenFace", tmp_path / "elsewhere")
    assert "extract_vision" in planned(tmp_path, target, config=config)
