import pytest
from configs import MINE, config

from cmc.planning import config as configs
from cmc.planning.config import PlanError, merged, nested
from cmc.planning.data import Data


def test_the_projects_own_config_has_no_mistake():
    configs.check(config())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"finetune": {"learning_rate": 1}},
            "finetune: .*learning_rate.*there are batch, class_weights, epochs",
        ),
        ({"seeds": "many"}, "seeds: 'many' is not of type 'array'"),
        ({"datasets": {"mine": {"source": "raw"}}}, "datasets.mine"),
        ({"features": {"audio": {"chsims33": {"f0": "none"}}}}, "features.audio.chsims33.f0"),
        ({"seeds": 1111}, r"seeds: .*; write a list: \[1111\]"),
        ({"finetune": {"lr": "1e-3"}}, r"finetune\.lr: .*; write 1\.0e-03 without quotes"),
        ({"datasets": {2024: {"source": "raw"}}}, 'datasets: the name 2024 .*put it in quotes, as "2024"'),
        ({"datasets": {"mine": MINE | {"language": "English"}}}, "two or three small letters: en, zh"),
        ({"datasets": {"mine": MINE | {"label_range": [1, -1]}}}, "write the lowest label first"),
        ({"device": "gpu"}, "device: 'gpu'.*; write auto, cpu, cuda or cuda:1"),
        ({"variants": {"from_demo": {}}}, "variants: 'from_demo' should not be valid"),
    ],
)
def test_a_mistake_is_named_with_its_place(changes, told):
    with pytest.raises(PlanError, match=told):
        configs.check(config(**changes))


def test_all_mistakes_are_told_at_once():
    with pytest.raises(PlanError) as caught:
        configs.check(config(seeds=[], device="gpu", download="maybe"))
    assert len(str(caught.value).splitlines()) == 4


def test_a_change_lies_over_the_base_and_order_does_not_count():
    base = {"b": {"x": 1, "y": [1]}, "a": 0}
    assert merged(base, {"b": {"x": 2}}, {"b": {"z": 3}}) == {"a": 0, "b": {"x": 2, "y": [1], "z": 3}}
    assert list(merged(base)) == ["a", "b"]
    merged(base)["b"]["y"].append(2)
    assert base["b"]["y"] == [1]


def test_dotted_settings_become_sections():
    assert nested({"a.b.c": 1, "a.d": 2}) == {"a": {"b": {"c": 1}, "d": 2}}


NAMED = {key: value for key, value in MINE.items() if key not in ("label_range", "has0")}


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (
            MINE | {"classes": ["a", "b"]},
            r"classes \(emotions by name\) and label_range, has0 \(numbers\) exclude",
        ),
        (NAMED, "datasets.mine: lacks label_range and has0; or classes"),
        (NAMED | {"classes": ["happy"]}, "it takes two classes"),
        (NAMED | {"classes": {"hap": "happy", "exc": "happy", "xxx": None}}, "it takes two classes"),
        (NAMED | {"classes": ["happy", "Happy", "sad"]}, "stands there twice"),
        (NAMED | {"classes": ["happy", "happy", "sad"]}, "stands there twice"),
        (NAMED | {"classes": ["happy", "unknown"]}, "'unknown' can't be a class.*{unknown: other}"),
        (NAMED | {"classes": ["happy", None]}, "None can't be a class"),
        (NAMED | {"classes": {1: "happy", 2: "sad"}}, "the name 1 is no text: put it in quotes"),
        (
            NAMED | {"classes": ["a", "b"], "source": "features", "features_file": "x"},
            "only for data sets of source: raw",
        ),
        (MINE | {"split": {"by": "speaker", "folds": 2}}, "2 is less than the minimum of 3"),
    ],
)
def test_what_labels_can_not_be(own, told):
    with pytest.raises(PlanError, match=told):
        configs.check(config(datasets={"mine": own}))


def test_emotions_by_a_list_and_by_what_is_written():
    for classes in (["sad", "happy"], {"HAP": "happy", "exc": "happy", "sad": "sad", "xxx": None}):
        whole = config(datasets={"mine": NAMED | {"classes": classes}})
        configs.check(whole)
    data = Data(whole)
    assert data.class_names("mine") == ["happy", "sad"] and data.class_names("demo") is None
    assert data.spellings("mine") == {
        "happy": "happy",
        "sad": "sad",
        "hap": "happy",
        "exc": "happy",
        "xxx": None,
    }


def test_a_setting_that_stands_twice_is_told_with_its_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("datasets:\n  a: {language: en}\nseeds: [1]\ndatasets:\n  b: {language: en}\n")
    assert configs.twice(path) == (
        f"{path}: datasets stands there twice, in lines 1 and 4: join them, for only the last one would count"
    )
    path.write_text("a:\n  x: 1\n  x: 2\n")
    assert "a.x stands there twice, in lines 2 and 3" in configs.twice(path)
    path.write_text("a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 2}]\n")
    assert configs.twice(path) is None
    path.write_text("")
    assert configs.twice(path) is None
