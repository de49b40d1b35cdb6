"""The results of a data set as one self-contained HTML page. It reads results and computes none."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sklearn.metrics import confusion_matrix

from cmc import SPLITS, files
from cmc.evaluation import warnings
from cmc.evaluation.tables import BASELINES, cells, model_logits, read, read_predictions, routed
from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS, HEADINGS, OF_CLASS, headline
from cmc.report import charts, clips
from cmc.report.charts import Chart

TEMPLATES = Path(__file__).parent
# what scripts of a page may start with; it also keeps the browser from asking anyone for anything
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline' 'unsafe-eval'"
)
ARTICLES = {"acc2": "an", "uar": "a"}  # of the headline metrics
PER_STAGE = ("model", "settings")  # parts of a recipe that each stage has of its own
SIGNATURE_STYLES = {"weight": ".2f", "share": ".1%", "points": ".1f"}  # by unit
CARD = ("clips", "consistency", "nothing_found")  # sections of summary.csv
SIDES = {
    "nonpositive_positive": "neutral clips count as non-positive, together with negative ones",
    "negative_nonnegative": "neutral clips count as non-negative, together with positive ones",
}


class Check(NamedTuple):
    """A failure signature over seeds: what it means, each seed's value, the threshold, how many exceed it."""

    meaning: str
    measured: str
    limit: str
    worrying: int
    known: int


class Section(NamedTuple):
    """Pictures and a table of one question, or what is missing."""

    name: str
    title: str
    charts: list[Chart]
    absent: str
    table: pd.DataFrame = pd.DataFrame()


class Results(NamedTuple):
    """What stages wrote of a data set. All but the first five may be absent.

    Attributes
    ----------
    table : DataFrame
        See `cmc.evaluation.tables.table`.
    predictions, metrics : list
        Test predictions and metrics of the main variant, one a seed.
    histories : list of dict
        One a run: pretrain, finetune -> one dict an epoch; best_epoch of stage 2.
    settings : dict
        What the runs were made with.
    quarantine : DataFrame
    warned : list of str
    others : dict
        Name of another table -> the table.
    experiments : dict
        Name of an experiment's file -> its table: calibration_bins, pseudo_labels, robustness, embeddings, cost,
        tuning_on_validation.
    clips : DataFrame or None
        All clips of the feature file: clip_id, split, text, label.
    subsets : dict
        msc, msi -> clip ids.
    quality : DataFrame or None
        What extraction found out of each clip.
    lines : dict
        See `cmc.report.clips.timelines`.
    links : dict
        Clip id -> where its recording lies, seen from the page.
    faces : dict
        Clip id -> JPEG.
    provenance : dict
    summary : DataFrame or None
        See `cmc.features.summary`.
    stale : sequence of str
        Tables that are left out since they are of other features or settings.
    """

    table: pd.DataFrame
    predictions: list[pd.DataFrame]
    metrics: list[dict]
    histories: list[dict]
    settings: dict
    quarantine: pd.DataFrame = pd.DataFrame()
    warned: Sequence[str] = ()
    others: Mapping[str, pd.DataFrame] = {}
    experiments: Mapping[str, pd.DataFrame] = {}
    clips: pd.DataFrame | None = None
    subsets: Mapping[str, Sequence[str]] = {}
    quality: pd.DataFrame | None = None
    lines: Mapping[str, Mapping[str, str]] = {}
    links: Mapping[str, str] = {}
    faces: Mapping[str, bytes] = {}
    provenance: Mapping[str, Any] = {}
    summary: pd.DataFrame | None = None
    stale: Sequence[str] = ()


def gather(
    *,
    table: str | Path,
    predictions: Sequence[str | Path],
    metrics: Sequence[str | Path],
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    quarantine: str | Path,
    warned: str | Path,
) -> Results:
    """Read what every data set has.

    Parameters
    ----------
    table, quarantine, warned : path
        The data set's table, quarantine list and warnings.
    predictions, metrics, pretrained, finetuned : sequence of path
        Predictions and metrics, one a seed, and the checkpoints of both stages, one a run (of a data set in folds
        one a fold and seed), each in the same order. Of a checkpoint only the JSON beside it is read.
    """
    first, second = (
        [json.loads(Path(path).with_suffix(".json").read_text()) for path in paths]
        for paths in (pretrained, finetuned)
    )
    return Results(
        read(table),
        [read_predictions(path) for path in predictions],
        [json.loads(Path(path).read_text()) for path in metrics],
        [
            {"pretrain": one["history"], "finetune": other["history"], "best_epoch": other["best_epoch"]}
            for one, other in zip(first, second, strict=True)
        ],
        _settings(first, second),
        pd.read_csv(quarantine, dtype=str, keep_default_na=False),
        list(map(str, warnings.read(warned))),
    )


def sections(results: Results, variant: str) -> list[Section]:
    """All pictures of a data set, by question."""
    scheme = Scheme.of(results.metrics[0])
    metric = headline(scheme)
    found = results.experiments
    together = clips.together(results.predictions, variant, scheme)
    sweeps = [charts.accuracy(name, name, table, metric, variant) for name, table in results.others.items()]
    whole = charts.accuracy("accuracy", "Headline table", results.table, metric, variant)
    routes = charts.routing(together, variant)
    moved = "pseudo_labels" in found and found["pseudo_labels"]["changed"].max() > 0
    pseudo = list(charts.pseudo_labels(found["pseudo_labels"], variant)) if moved else []
    trust = charts.reliability(found["calibration_bins"], variant) if "calibration_bins" in found else None
    grid = charts.grid(found["tuning_on_validation"], metric) if "tuning_on_validation" in found else None
    broken = list(charts.robustness(found["robustness"], metric, variant)) if "robustness" in found else []
    seen = list(charts.embeddings(found["embeddings"], scheme.classes)) if "embeddings" in found else []
    data = [charts.labels(results.clips, scheme)] if results.clips is not None else []
    few = "There are too few clips for percentages, and no router over three modalities."
    more = "No other table was made: snakemake results/<data set>/all makes them."
    return [
        section("accuracy", "Accuracy and routing", [whole, routes], few),
        section("pseudo", "Pseudo labels", pseudo, "No pseudo label ever left the multimodal label."),
        section(
            "learning",
            "Learning",
            charts.learning(results.histories, scheme, variant),
            "Nothing was trained.",
        ),
        section("trust", "Calibration", [trust], "calibration_bins.csv is not there."),
        section("embeddings", "Embeddings", seen, "embeddings.csv is not there, or there are too few clips."),
        section(
            "robustness", "Robustness", broken, "robustness.csv is not there, or there are too few clips."
        ),
        section("others", "Other tables", sweeps, more),
        section("grid", "Tuning", [grid], "Nothing was tuned."),
        section("data", "Data", data, "The feature file was not read.", card(results.summary)),
        section(
            "cost",
            "Cost",
            [],
            "Not measured: snakemake results/<data set>/cost.csv",
            costs(found.get("cost")),
        ),
    ]


def card(summary: pd.DataFrame | None) -> pd.DataFrame:
    """What there is in each split: clips, seconds, sources, subsets, frames without anything found."""
    if summary is None:
        return pd.DataFrame()
    own = summary[summary["section"].isin(CARD)]
    found = own.pivot_table(
        index=["section", "name"], columns="split", values="value", aggfunc="first", sort=False
    )
    wanted = [split for split in (*SPLITS, "all") if split in found]
    return found[wanted].fillna("").reset_index("name").rename(columns={"name": "what"})


def costs(table: pd.DataFrame | None) -> pd.DataFrame:
    """cost.csv with headings for people."""
    if table is None:
        return pd.DataFrame()
    return table.rename(columns=lambda name: name.replace("_", " ")).astype(object).fillna("")


def section(
    name: str,
    title: str,
    drawn: Iterable[Chart | None],
    absent: str,
    table: pd.DataFrame | None = None,
) -> Section:
    """A section of the pictures that there are."""
    return Section(
        name, title, [chart for chart in drawn if chart], absent, pd.DataFrame() if table is None else table
    )


def beside(
    places: Iterable[str | Path], headline_table: pd.DataFrame, features: str | Path
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Those tables that are there and belong to the headline one, by name; and the names of those that don't: they
    are older than the features, or of other settings (see `agrees`)."""
    there = [path for path in map(Path, places) if path.is_file()]
    made = Path(features).stat().st_mtime
    young = {path.stem: read(path) for path in there if path.stat().st_mtime >= made}
    found = {name: table for name, table in young.items() if agrees(table, headline_table)}
    return found, sorted({path.stem for path in there} - set(found))


def agrees(table: pd.DataFrame, headline_table: pd.DataFrame) -> bool:
    """Whether the models that another table shares with the headline one score the same there: else it was made
    with other settings. A table without models and subsets has nothing to compare."""
    if not {"model", "subset"} <= set(table):
        return True
    keys = ["model", "subset"]
    both = table.merge(headline_table, on=keys, suffixes=("", "_here"))
    means = [name for name in table if name.endswith("_mean") and f"{name}_here" in both]
    return bool(len(both)) and all(
        np.allclose(both[name], both[f"{name}_here"], equal_nan=True, atol=1e-9) for name in means
    )


def write(out: str | Path, dataset: str, results: Results, variant: str) -> None:
    """Write the report of a data set; see `render`."""
    files.write_text(out, render(dataset, results, variant))


def render(dataset: str, results: Results, variant: str = "cmc") -> str:
    """Report of one data set as an HTML page that needs no other file, the same bytes for the same input.

    Parameters
    ----------
    dataset : str
        Name; "demo" adds a notice that its numbers say nothing about people.
    results : Results
    variant : str
        Model that the pictures show.

    Returns
    -------
    str
        HTML; everything from outside is escaped.

    Raises
    ------
    ValueError
        If there are no predictions, or the table has no row for `variant` on the test split.
    """
    table, predictions, metrics = results.table, results.predictions, results.metrics
    if not predictions:
        raise ValueError(f"the report of {dataset!r} needs the predictions of at least one seed")
    if not _mean(table, variant, "test", "n") > 0:
        raise ValueError(f"the table has no test clips for variant {variant!r}; it has {_variants(table)}")
    pooled, scheme = pd.concat(predictions, ignore_index=True), Scheme.of(metrics[0])
    drawn = sections(results, variant)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            dataset=dataset,
            variant=variant,
            policy=POLICY,
            modalities=_listed(routed(pooled)),
            seeds=_count(len(predictions), "seed"),
            headline=_headline(table, variant, headline(scheme)),
            scheme=scheme,
            side=SIDES.get(scheme.has0 or ""),
            by_class=by_class(metrics, scheme),
            table=cells(table),
            divided="msc" in set(table["subset"]),
            checks=checks([one["signatures"] for one in metrics]),
            confusions=confusions(pooled, variant, scheme),
            fewest=FEWEST_CLIPS * len(predictions),
            classes=scheme.classes,
            colour=lambda model: charts.colour_of(model, variant),
            quarantine=results.quarantine.fillna(""),
            warned=results.warned,
            settings=dict(_flat(results.settings)),
            sections=drawn,
            stale=results.stale,
            specs=script({one.name: spec_of(one) for part in drawn for one in part.charts}),
            height=lambda chart: chart.spec.height + 60,
            provenance=results.provenance,
            explorer=script(explorer(results, variant, scheme)),
            library=library(),
            programs=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
            styles=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        )
    )


def explorer(results: Results, variant: str, scheme: Scheme) -> dict[str, Any]:
    """What the clip explorer shows; see `cmc.report.clips.rows`."""
    known = results.clips
    return clips.rows(
        clips.together(results.predictions, variant, scheme),
        variant,
        scheme,
        transcripts={} if known is None else dict(zip(known["clip_id"], known["text"], strict=True)),
        subsets=results.subsets,
        quality=results.quality,
        lines=results.lines,
        links=results.links,
        faces=results.faces,
        seeds=len(results.predictions),
    )


@cache
def library() -> Markup:
    """Vega-Embed and what it needs, as a program that may stand in a page."""
    program = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(program.replace("</script", "<\\/script"))


def environment() -> Environment:
    """Templates that escape all they are given."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script(data: Any) -> Markup:
    """Data for a <script type="application/json">."""
    return Markup(clips.embedded(data))


def spec_of(chart: Chart) -> dict[str, Any]:
    """The Vega-Lite specification of a picture, in colours that follow the page's."""
    ink = "currentColor"
    config = {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "axis": {"labelColor": ink, "titleColor": ink, "tickColor": ink, "domainColor": ink}
        | {"gridColor": "#8a8a8a", "gridOpacity": 0.25, "labelFontSize": 12, "titleFontSize": 12},
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
        | {"symbolBaseFillColor": ink, "symbolBaseStrokeColor": ink},
        "view": {"stroke": "transparent"},
    }
    spec = chart.spec.to_dict()
    return {**spec, "config": config, "autosize": {"type": "fit-x", "contains": "padding"}}


def checks(runs: Sequence[Sequence[Mapping]]) -> list[Check]:
    """Failure signatures of all seeds (one sequence a seed, see `cmc.evaluation.signatures.measure`)."""
    return [_check(seeds) for seeds in zip(*runs, strict=True)]


def confusions(pooled: pd.DataFrame, variant: str, scheme: Scheme) -> dict[str, np.ndarray]:
    """Clips of each class (row) that each model calls each class (column), summed over seeds."""
    return {
        model: confusion_matrix(pooled["class"], logits.argmax(axis=1), labels=range(len(scheme.classes)))
        for model, logits in model_logits(pooled, variant, scheme).items()
    }


def by_class(metrics: Sequence[Mapping], scheme: Scheme) -> pd.DataFrame:
    """What each model scores where all classes count the same, and of emotions by name on each: percent, as text,
    means over seeds; empty where there are too few clips."""
    wanted = ["uar", "macro_f1"] if scheme.polar else [f"{OF_CLASS}{name}" for name in scheme.classes]
    rows = []
    there = metrics[0]["models"]
    for model in [name for name in (metrics[0]["variant"], *BASELINES) if name in there]:
        if there[model]["test"]["n"] < FEWEST_CLIPS:
            continue
        own = [one["models"][model]["test"] for one in metrics]
        means = {name: 100 * np.mean([one[name] for one in own]) for name in wanted}
        shown = {
            HEADINGS.get(name, f"F1 {name.removeprefix(OF_CLASS)}"): f"{mean:.2f}" if mean == mean else "-"
            for name, mean in means.items()
        }
        rows.append({"Model": model, **shown})
    return pd.DataFrame(rows)


def _check(seeds: Sequence[Mapping]) -> Check:
    style = SIGNATURE_STYLES[seeds[0]["unit"]]
    shown = [one["unknown"] if one["value"] is None else format(one["value"], style) for one in seeds]
    return Check(
        seeds[0]["meaning"],
        ", ".join(dict.fromkeys(shown)),
        f"over {seeds[0]['threshold']:{style}}",
        sum(one["worrying"] is True for one in seeds),
        sum(one["worrying"] is not None for one in seeds),
    )


def _headline(table: pd.DataFrame, variant: str, metric: str) -> str:
    row = cells(table)[(table["model"] == variant) & (table["subset"] == "test")].iloc[0]
    name, constant = HEADINGS[metric], _mean(table, "majority", "test", f"{metric}_mean")
    against = f" Always saying the majority class gives {constant:.2f} %." if np.isfinite(constant) else ""
    clips, seeds = _count(int(row["Clips"]), "test clip"), _count(int(row["Seeds"]), "seed")
    if row[name].startswith("n <"):
        return f"{clips} are too few for percentages: read the predictions themselves."
    return f"{variant} reaches {ARTICLES[metric]} {name} of {row[name]} % on {clips}, {seeds}.{against}"


def _mean(table: pd.DataFrame, model: str, subset: str, column: str) -> float:
    found = table[(table["model"] == model) & (table["subset"] == subset)]
    return float(found[column].iloc[0]) if len(found) else np.nan


def _variants(table: pd.DataFrame) -> str:
    return ", ".join(map(repr, table["model"].unique())) or "no rows"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _settings(first: Sequence[Mapping], second: Sequence[Mapping]) -> dict:
    """Recipes of both stages, equal but for the seed; stage 2 repeats nothing that stage 1 has settled."""
    before, after = first[0]["recipe"], second[0]["recipe"]
    return {
        "seeds": list(dict.fromkeys(run["recipe"]["seed"] for run in second)),
        **(
            {"folds": len({run["recipe"].get("fold") for run in second})}
            if before.get("fold") is not None
            else {}
        ),
        "pretrain": {key: value for key, value in before.items() if key not in ("seed", "fold", "stage")},
        "finetune": {key: value for key, value in after.items() if key not in before or key in PER_STAGE},
        "versions": second[0]["versions"],
    }


def _flat(settings: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
