"""All data sets on one page: a row for each model, and links to their reports."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from cmc import files
from cmc.evaluation.tables import cells, read
from cmc.report import page


def write(out: str | Path, tables: Sequence[str | Path]) -> None:
    """Write the page.

    Parameters
    ----------
    out : path
    tables : sequence of path
        table.csv of each data set, in its folder beside `out`.
    """
    found = []
    for path in map(Path, tables):
        results = read(path)
        shown = cells(results)[(results["subset"] == "test").to_numpy()].drop(columns="Subset")
        name, report = path.parent.name, path.with_name("report.html")
        found.append((name, f"{name}/report.html" if report.is_file() else "", shown))
    text = (
        page.environment()
        .get_template("overview.html.j2")
        .render(
            datasets=found,
            policy=page.POLICY,
            styles=Markup((page.TEMPLATES / "page.css").read_text(encoding="utf-8")),
        )
    )
    files.write_text(out, text)
