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
        PlanError, match=r"Nothing makes results/demo/tabel\.csv\. Did you mean results/demo/table\.csv\?"
    ):
        targets.check(["results/demo/tabel.csv"], lambda target: False, PRODUCTS)
    with pytest.raises(PlanError, match=r"In results/demo/ there can be: table\.csv, summary\.md"):
        targets.check(["results/demo/xyz"], lambda target: False, PRODUCTS)
    targets.check(["results/demo/table.csv"], lambda target: True, PRODUCTS)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("report.html", r"Did you mean results/<data set>/report\.html\?"),
        ("results/cross_datset.csv", r"Did you mean results/cross_dataset\.csv\?"),
        (
            "results/demo/predictions/talks.csv",
            "Name the clips under `predictions` in the config; it has: mine",
        ),
        ("results/demo", "is a folder: name a file in it, or results/<data set>/all"),
        ("{cwd}/results/demo/table.csv", r"Write results/demo/table\.csv, without the folders above"),
    ],
)
def test_a_target_that_is_nearly_right_is_told_how_to_write_it(tmp_path, monkeypatch, target, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/demo").mkdir(parents=True)
    with pytest.raises(PlanError, match=told):
        targets.check([target.format(cwd=tmp_path)], lambda target: False, PRODUCTS, ["mine"])


def test_settings_that_are_not_read_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match=r"There is no mine\.yaml in .*--configfile"):
        targets.check_dataset("mine", KNOWN)
    (tmp_path / "mine.yml").touch()
    with pytest.raises(PlanError, match=r"mine\.yml is not read: call it mine\.yaml"):
        targets.check_dataset("mine", KNOWN)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(PlanError) as error:
        targets.check_dataset("mine", KNOWN)
    assert "mine.y" not in str(error.value)
