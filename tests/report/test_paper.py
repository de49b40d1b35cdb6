"""Tables and pictures for a paper; the page over all data sets."""

import re

import numpy as np
import pandas as pd
from test_report import HOSTILE, Page, fake_results, fake_runs, fake_table

from cmc.evaluation import tables
from cmc.report import overview, page, paper


def test_latex_marks_the_best_and_what_is_not_told_apart():
    table = fake_table()
    table["verdict"] = ["", "", "", "not told apart", *[""] * 11]
    table.loc[0, "acc2_mean"] = 90.0
    table["model"] = table["model"].replace("majority", "my_model & 5 %")
    lines = paper.latex(table).splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert rows[0].startswith("Model & Subset & Clips & Seeds & Acc-2")
    assert (
        r"\textbf{90.00 $\pm$ 0.00}" in rows[1]
        and rows[4].split(" & ")[4] == r"75.00 $\pm$ 0.00\textsuperscript{\dag}"
    )
    assert r"my\_model \& 5 \%" in rows[13]
    assert lines[1] == r"\begin{tabular}{ll" + "r" * (len(rows[0].split(" & ")) - 2) + "}"
    assert [line for line in lines if line.startswith("\\") and "rule" in line] == [
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
    ]


def test_of_errors_the_lowest_is_best():
    table = pd.DataFrame(
        {"subset": ["test"] * 3, "mae_mean": [0.5, 0.4, np.nan], "corr_mean": [0.5, 0.4, np.nan]}
    )
    assert list(paper.best_of(table, "mae")) == [1] and list(paper.best_of(table, "corr")) == [0]


def test_markdown_is_the_terminal_s_table():
    table = fake_table()
    lines = paper.markdown(table).splitlines()
    assert lines[0].split(" | ")[0] == "| Model" and lines[1].startswith("| --- | --- | ---: |")
    assert len(lines) == 2 + len(table) and "75.00" in lines[2]
    table["model"] = "a|b"
    assert "a&#124;b" in paper.markdown(table)


def test_every_picture_is_drawn_three_times_and_the_same(tmp_path):
    charts = [chart for section in page.sections(fake_results(), "cmc") for chart in section.charts]
    for folder in ("one", "two"):
        paper.figures(tmp_path / folder, charts)
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert len(made) == 3 * len(charts)
    for name, content in made.items():
        assert len(content) > 30
        if not name.endswith("pdf"):  # in which some entries come in another order
            again = (tmp_path / "two" / name).read_bytes()
            assert re.sub(rb"(clip|gradient_)\d+", b"", again) == re.sub(
                rb"(clip|gradient_)\d+", b"", content
            )
    assert made["accuracy.pdf"].startswith(b"%PDF") and b"<svg" in made["accuracy.svg"]
    drawn = pd.read_csv(tmp_path / "one/accuracy.csv")
    assert drawn.loc[0, "mean"] == 75.0 and "http" not in made["accuracy.svg"].decode().replace(
        "http://www.w3.org", ""
    )


def test_all_data_sets_on_one_page(tmp_path):
    for name in ("demo", "chsims"):
        (tmp_path / name).mkdir()
        table = tables.table(fake_runs(dataset=name), tables.published_values())
        table.loc[0, "model"] = HOSTILE
        tables.write(table, tmp_path / name / "table.csv")
    (tmp_path / "demo/report.html").write_text("")
    overview.write(tmp_path / "report.html", [tmp_path / "demo/table.csv", tmp_path / "chsims/table.csv"])
    text = (tmp_path / "report.html").read_text()
    found = Page(text)
    links = [own["href"] for tag, own in found.elements if tag == "a"]
    assert links == ["demo/report.html"] and "snakemake results/chsims/report.html" in found.text
    assert HOSTILE not in text and found.text.count("75.00") >= 10 and found.open == []
