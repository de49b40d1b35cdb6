import pytest

from cmc.evaluation import signatures
from cmc.labels import Scheme

FACTS = Scheme(has0="nonpositive_positive").facts


def measured(text_weight=0.5, msc=0.8, msi=0.7, epochs=(), n=10, tested=20, trained=10):
    given = {name: value for name, value in (("msc", msc), ("msi", msi)) if value is not None}
    subsets = {name: {"acc2": value, "n": n} for name, value in given.items()} | {"test": {"n": tested}}
    weights = {"text": text_weight, "audio": 0.1} if text_weight is not None else {"audio": 1.0}
    scores = {"models": {"x": subsets}, "router_weights": weights, **FACTS}
    found = signatures.measure(scores, "x", [epochs], trained)
    return {one["name"]: one for one in found}


def history(epochs, text=0.0, audio=0.0):
    return [{"epoch": e, "flips_text": text, "flips_audio": audio} for e in range(1, epochs + 1)]


@pytest.mark.parametrize(
    ("case", "name", "value", "worrying"),
    [
        ({"text_weight": 0.7}, "text_dominance", 0.7, False),
        ({"text_weight": 0.71}, "text_dominance", 0.71, True),
        ({"text_weight": None}, "text_dominance", None, None),
        ({"epochs": history(20, text=1)}, "late_flips", None, None),
        ({"epochs": []}, "late_flips", None, None),
        ({"epochs": history(21, text=0.01)}, "late_flips", 0.01, False),
        ({"epochs": history(21, text=0.01, audio=0.3)}, "late_flips", 0.3, True),
        ({"msc": 0.9, "msi": 0.64}, "consistency_gap", 26, True),
        ({"msc": 0.64, "msi": 0.9}, "consistency_gap", -26, False),
        ({"msc": None, "msi": None}, "consistency_gap", None, None),
        ({"msc": 1.0, "msi": 0.0, "n": 9}, "consistency_gap", None, None),
        ({"text_weight": 0.9, "tested": 9}, "text_dominance", None, None),
        ({"epochs": history(30, text=0.5), "trained": 9}, "late_flips", None, None),
    ],
)
def test_signatures(case, name, value, worrying):
    found = measured(**case)[name]
    assert found["value"] == (value if value is None else pytest.approx(value))
    assert found["worrying"] is worrying
    assert bool(found["unknown"]) == (value is None)


def test_labels_that_settled_late_are_fine():
    moving = [*history(30, text=0.5), {"epoch": 31, "flips_text": 0.0, "flips_audio": 0.0}]
    assert measured(epochs=moving)["late_flips"]["worrying"] is False


def test_an_empty_subset_has_no_gap():
    assert measured(msi=float("nan"))["consistency_gap"]["value"] is None
