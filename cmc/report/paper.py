"""What goes into a paper: tables as LaTeX and Markdown, pictures as SVG, PDF and CSV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import vl_convert

from cmc import files
from cmc.evaluation.tables import SAME, cells
from cmc.report.charts import Chart

WIDTH = 420  # pixels of a picture whose page would say
MARK = r"\textsuperscript{\dag}"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def latex(results: pd.DataFrame) -> str:
    """A table as LaTeX with booktabs: the best mean of each subset and metric bold, models that can't be told
    apart from the first one marked.

    Parameters
    ----------
    results : DataFrame
        See `cmc.evaluation.tables.table`.
    """
    shown = printed(results)
    verdicts = results["verdict"] if "verdict" in results else pd.Series("", index=results.index)
    metrics = [name.removesuffix("_mean") for name in results if name.endswith("_mean")]
    headings = list(shown)
    best = {
        (row, heading)
        for heading, metric in zip(headings[4 : 4 + len(metrics)], metrics, strict=False)
        for row in best_of(results, metric)
    }
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * (len(headings) - 2)}}}",
        "\\toprule",
        " & ".join(map(escaped, headings)) + r" \\",
        "\\midrule",
    ]
    for place, (index, row) in enumerate(shown.iterrows()):
        if place and results["model"].iloc[place] != results["model"].iloc[place - 1]:
            lines.append("\\addlinespace")
        entries = [
            f"\\textbf{{{escaped(row[heading])}}}" if (index, heading) in best else escaped(row[heading])
            for heading in headings
        ]
        if verdicts.loc[index] == SAME:
            entries[4] += MARK
        lines.append(" & ".join(entries) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if (verdicts == SAME).any():
        reference = escaped(str(results["model"].iloc[0]))
        lines.append(f"% \\dag: not told apart from {reference} (Holm, 0.05)")
    return "\n".join(lines) + "\n"


def markdown(results: pd.DataFrame) -> str:
    """A table as Markdown, with intervals and verdicts as the terminal has them."""
    shown = cells(results)
    rows = [list(shown), ["---" if place < 2 else "---:" for place in range(len(shown.columns))]]
    rows += shown.to_numpy().tolist()
    return "".join(f"| {' | '.join(str(one).replace('|', '&#124;') for one in row)} |\n" for row in rows)


def printed(results: pd.DataFrame) -> pd.DataFrame:
    """The columns that a paper has room for: metrics first, then what was published."""
    shown = cells(results)
    left_out = [name for name in shown if name == "95 %" or name.startswith("vs ")]
    published = [name for name in shown if name.endswith(" published")]
    shown = shown.drop(columns=left_out)
    return shown[[name for name in shown if name not in published] + published]


def best_of(results: pd.DataFrame, metric: str) -> Iterator[int]:
    """Rows with the best mean of each subset; of errors the lowest."""
    for _, own in results.groupby("subset", sort=False):
        means = own[f"{metric}_mean"].dropna()
        if len(means):
            best = means.min() if metric == "mae" else means.max()
            yield from means.index[means == best]


def escaped(text: str) -> str:
    """A text as LaTeX prints it."""
    return "".join(SPECIAL.get(character, character) for character in str(text))


def figures(folder: str | Path, charts: Sequence[Chart]) -> None:
    """Each picture as SVG, PDF and CSV, in black on white."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        spec = chart.spec.properties(width=WIDTH).to_dict() | {"background": "white"}
        files.write_text(folder / f"{chart.name}.csv", chart.data.to_csv(index=False, lineterminator="\n"))
        for suffix, convert in (("svg", vl_convert.vegalite_to_svg), ("pdf", vl_convert.vegalite_to_pdf)):
            made = convert(spec)
            with files.whole(folder / f"{chart.name}.{suffix}") as partial:
                Path(partial).write_bytes(made.encode() if isinstance(made, str) else made)
