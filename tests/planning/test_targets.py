import pytest

from cmc.planning import targets
from cmc.planning.config import PlanError

KNOWN = ["demo", "chsims", "chsimsv2"]
PRODUCTS = ["table.csv", "summary.md", "report.html"]


def test_data_sets_are_those_of_the_results_asked_for():
    asked = [
        "results/chsims/table.csv",
        "./results/demo/cmc/seed1/metrics.json",
        "results/chsims/report.html",
    ]
    assert targets.datasets(asked, KNOWN) == ["chsims", "demo"]
    assert targets.datasets([], KNOWN) == ["demo"]
    assert targets.datasets(["all"], KNOWN) == []


def test_tables_are_those_asked_for_or_the_headline_one():
    asked = ["results/demo/ablation.csv", "results/demo/report.html", "results/chsims/report.html"]
    assert targets.tables(asked, "demo", ["table", "ablation"]) == ["ablation"]
    assert targets.tables(asked, "chsims", ["table", "ablation"]) == ["table"]
    known = ["table", "tuned", "ablation", "baselines"]
    compared = ["table", "ablation", "baselines"]  # as significance and cost do
    assert targets.tables(["results/demo/significance.csv"], "demo", known) == compared
    assert targets.tables(["results/demo/cost.csv"], "demo", known) == compared
    assert targets.tables(["results/demo/all"], "demo", known) == known


def test_an_unknown_data_set_is_told_with_those_there_are():
    with pytest.raises(
        PlanError, match=r"no data set chsism\. Did you mean chsims or chsimsv2\?\n.*demo, chsims"
    ):
        targets.datasets(["results/chsism/table.csv"], KNOWN)


def test_an_unknown_product_is_told_with_those_there_are():
    with pytest.raises(
        PlanError, match=r"Nothing makes results/demo/tabel\.csv\. Did you mean table\.csv\?"
    ) as error:
        targets.check(["results/demo/tabel.csv"], lambda target: False, PRODUCTS)
    assert "In results/demo/ there can be: table.csv, summary.md, report.html" in str(error.value)
    with pytest.raises(PlanError, match=r"Nothing makes tabel\.csv"):
        targets.check(["tabel.csv"], lambda target: False, PRODUCTS)
    targets.check(["results/demo/table.csv"], lambda target: True, PRODUCTS)
