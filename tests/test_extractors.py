"""Choosing an extractor: its settings by its file, mistakes told, one file and one line for a new one."""

import inspect
from importlib import import_module

import pytest
from jsonschema import Draft202012Validator
from small_run import planned, snakemake

from cmc import extractors

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
    found = getattr(import_module(f"cmc.features.{name}"), extractors.EXTRACTORS[modality][name])
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
    assert picked["vision"] == ("mediapipe", {"model": None, "rate": 30})
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
    ],
)
def test_mistakes_are_told_with_what_there_is(tmp_path, config, expected):
    output = snakemake(tmp_path, "-n", "results/demo/features.h5", config=config, check=False)
    assert expected in output and "Job stats" not in output


def test_a_data_set_may_choose_for_itself(tmp_path):
    own = {"features": {"vision": {"extractor": "none"}}}
    jobs = planned(tmp_path, "results/demo/table.csv", config={"datasets": {"demo": own}})
    assert "extract_vision" not in jobs and {"extract_text", "extract_audio", "pretrain"} <= set(jobs)
