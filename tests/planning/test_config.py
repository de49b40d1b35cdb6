import pytest
from configs import config

from cmc.planning import config as configs
from cmc.planning.config import PlanError, merged, nested


def test_the_projects_own_config_has_no_mistake():
    configs.check(config())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"finetune": {"learning_rate": 1}}, "finetune: .*learning_rate.*there are batch, epochs"),
        ({"seeds": "many"}, "seeds: 'many' is not of type 'array'"),
        ({"datasets": {"mine": {"source": "raw"}}}, "datasets.mine"),
        ({"features": {"audio": {"chsims33": {"f0": "none"}}}}, "features.audio.chsims33.f0"),
        ({"device": "gpu"}, "device: 'gpu'"),
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
