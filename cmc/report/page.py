"""The results of one data set as one self-contained HTML page. It reads results and computes none."""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from sklearn.metrics import confusion_matrix

from cmc import files
from cmc.evaluation import warnings
from cmc.evaluation.tables import cells, model_logits, read, read_predictions, routed
from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS, HEADINGS, OF_CLASS, headline

TEMPLATE = Path(__file__).with_name("page.html.j2")
MEASURES = {"loss": "loss", "flips": "share of hard labels flipped", "router": "mean router weight"}
STAGES = {"pretrain": "Stage 1, unimodal pretraining", "finetune": "Stage 2, multimodal finetuning"}

# One colour a modality throughout, told apart by colour-blind readers too (Okabe and Ito); ink for the rest.
COLOURS = {"text": "#0072b2", "audio": "#d55e00", "vision": "#009e73"}
TERM_COLOURS = COLOURS | {"M": "#e69f00", "contrastive": "#cc79a7"}
INK = "#333333"
FAINT = 0.4
WIDTH = 4.2  # inches: a panel fits a phone at nearly its own size
LEGEND_ROW = 0.2  # inches
STYLE = {
    "svg.hashsalt": "cmc",  # element ids are random otherwise
    "svg.fonttype": "none",  # text stays text: selectable, and small
    "text.parse_math": False,  # a name may hold a $
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

ARTICLES = {"acc2": "an", "uar": "a"}  # of the headline metrics

PER_STAGE = ("model", "settings")  # parts of a recipe that each stage has of its own

SIGNATURE_STYLES = {"weight": ".2f", "share": ".1%", "points": ".1f"}  # by unit


class Check(NamedTuple):
    """A failure signature over seeds: what it means, each seed's value, the threshold, how many exceed it."""

    meaning: str
    measured: str
    limit: str
    worrying: int
    known: int


def write(
    out: str | Path,
    *,
    dataset: str,
    variant: str,
    table: str | Path,
    predictions: Sequence[str | Path],
    metrics: Sequence[str | Path],
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    quarantine: str | Path,
    warned: str | Path,
) -> None:
    """Write the report of a data set's files; see `render`.

    Parameters
    ----------
    out : path
        HTML file.
    dataset, variant : str
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
    text = render(
        dataset,
        read(table),
        [read_predictions(path) for path in predictions],
        [
            {"pretrain": one["history"], "finetune": other["history"]}
            for one, other in zip(first, second, strict=True)
        ],
        [json.loads(Path(path).read_text()) for path in metrics],
        pd.read_csv(quarantine, dtype=str, keep_default_na=False),
        list(map(str, warnings.read(warned))),
        _settings(first, second),
        variant,
    )
    files.write_text(out, text)


def render(
    dataset: str,
    table: pd.DataFrame,
    predictions: Sequence[pd.DataFrame],
    histories: Sequence[Mapping],
    metrics: Sequence[Mapping],
    quarantine: pd.DataFrame,
    warned: Sequence[str],
    settings: Mapping,
    variant: str = "cmc",
) -> str:
    """Report of one data set as an HTML page that needs no other file, the same bytes for the same input.

    Parameters
    ----------
    dataset : str
        Name; "demo" adds a notice that its numbers say nothing about people.
    table : DataFrame
        See `cmc.evaluation.tables.table`.
    predictions : sequence of DataFrame
        Test predictions of `variant`, one a seed (columns: see `cmc.evaluation.tables.score`).
    histories : sequence of mapping
        One a run: pretrain, finetune -> one dict an epoch with epoch (from 1) and any of *loss*,
        *loss*_{modality} (drawn dashed where the key starts with "train"), flips_{modality}, the share in
        [0, 1] of hard pseudo labels that changed, and router_{modality}, the mean weight. A stage may be
        missing; other keys are ignored.
    metrics : sequence of mapping
        One a seed, see `cmc.evaluation.evaluate.run`: the label scheme, scores, failure signatures.
    quarantine : DataFrame
        Clips left out, with whatever columns tell why.
    warned : sequence of str
        What should make one wary, a sentence or two each.
    settings : mapping
        What the run was made with; nested mappings become dotted names.
    variant : str
        Model that the figures show.

    Returns
    -------
    str
        HTML; everything from outside is escaped.

    Raises
    ------
    ValueError
        If there are no predictions, or the table has no row for `variant` on the test split.
    """
    if not predictions:
        raise ValueError(f"the report of {dataset!r} needs the predictions of at least one seed")
    if not _mean(table, variant, "test", "n") > 0:
        raise ValueError(f"the table has no test clips for variant {variant!r}; it has {_variants(table)}")
    pooled, scheme = pd.concat(predictions, ignore_index=True), Scheme.of(metrics[0])
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with matplotlib.rc_context(STYLE):
        figures = {
            "consistency": consistency_figure(table, headline(scheme)),
            "router": router_figure(pooled, scheme),
            "curves": list(curve_figures(histories)),
        }
    return environment.get_template(TEMPLATE.name).render(
        dataset=dataset,
        variant=variant,
        modalities=_listed(routed(pooled)),
        seeds=_count(len(predictions), "seed"),
        headline=_headline(table, variant, headline(scheme)),
        scheme=scheme,
        by_class=by_class(metrics, scheme),
        table=cells(table),
        checks=checks([one["signatures"] for one in metrics]),
        confusions=confusions(pooled, variant, scheme),
        fewest=FEWEST_CLIPS * len(predictions),
        classes=scheme.classes,
        colours=COLOURS,
        quarantine=quarantine.fillna(""),
        warned=warned,
        settings=dict(_flat(settings)),
        **figures,
    )


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
    for model, subsets in metrics[0]["models"].items():
        if subsets["test"]["n"] < FEWEST_CLIPS:
            continue
        own = [one["models"][model]["test"] for one in metrics]
        means = {name: 100 * np.mean([one[name] for one in own]) for name in wanted}
        shown = {
            HEADINGS.get(name, f"F1 {name.removeprefix(OF_CLASS)}"): f"{mean:.2f}" if mean == mean else "-"
            for name, mean in means.items()
        }
        rows.append({"Model": model, **shown})
    return pd.DataFrame(rows)


def consistency_figure(table: pd.DataFrame, metric: str) -> Markup | None:
    """The headline metric of each model on MSC and MSI, its spread over seeds; None where there are no subsets."""
    rows = {subset: table[table["subset"] == subset].set_index("model") for subset in ("msc", "msi")}
    models = list(rows["msc"].index)[::-1]  # first model on top
    if not pd.concat(rows.values())[f"{metric}_mean"].notna().any():
        return None
    figure, axes = _panel(height=0.8 + 0.5 * len(models))
    thickness = 0.38
    colours = [COLOURS.get(model, INK) for model in models]
    for subset, offset, opacity in (("msc", 0.5, 1), ("msi", -0.5, FAINT)):
        results = rows[subset].reindex(models)
        mean, spread = results[f"{metric}_mean"], results[f"{metric}_std"]
        places = np.arange(len(models)) + offset * thickness
        axes.barh(places, mean, thickness, color=colours, alpha=opacity)
        axes.errorbar(mean, places, xerr=spread, fmt="none", ecolor="black", capsize=2, lw=1)
    axes.set_yticks(range(len(models)), models)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{HEADINGS[metric]}, percent")
    handles = [Patch(color=INK, label="MSC"), Patch(color=INK, alpha=FAINT, label="MSI")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    described = []
    for model in reversed(models):
        means = {subset: _mean(table, model, subset, f"{metric}_mean") for subset in rows}
        known = [f"{subset.upper()} {mean:.1f}" for subset, mean in means.items() if np.isfinite(mean)]
        described.append(f"{model}: {', '.join(known) or 'too few clips'}")
    return _svg(figure, "consistency", f"Bar chart of {HEADINGS[metric]} in percent. " + "; ".join(described))


def router_figure(pooled: pd.DataFrame, scheme: Scheme) -> Markup:
    """Box plots of the router's weight of each modality, over all clips and by true class."""
    groups = {"all": pooled} | {
        name: pooled[pooled["class"] == place] for place, name in enumerate(scheme.classes)
    }
    figure, axes = _panel(height=3, width=max(1, len(groups) / 6))
    modalities = routed(pooled)
    thickness = 0.22
    for place, modality in enumerate(modalities):
        colour = COLOURS[modality]
        axes.boxplot(
            [group[f"router_{modality}"] for group in groups.values()],
            positions=np.arange(len(groups)) + (place - (len(modalities) - 1) / 2) * (thickness + 0.03),
            widths=thickness,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": colour, "edgecolor": colour, "alpha": FAINT},
            medianprops={"color": colour, "lw": 2},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
    axes.axhline(1 / len(modalities), color="#999999", lw=0.8, ls=":", zorder=0)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 1)
    axes.set_ylabel("router weight")
    handles = [Patch(color=COLOURS[modality], label=modality) for modality in modalities]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    means = (f"{modality} {pooled[f'router_{modality}'].mean():.2f}" for modality in modalities)
    return _svg(figure, "router", "Box plots of router weights by true class. Means: " + ", ".join(means))


def curve_figures(histories: Sequence[Mapping]) -> Iterator[Markup]:
    """What each stage's history holds of `MEASURES`, over epochs: one thin line a run (seed, fold)."""
    for stage, title in STAGES.items():
        runs = [pd.DataFrame(history[stage]) for history in histories if history.get(stage)]
        for measure, label in MEASURES.items():
            keys = list(dict.fromkeys(key for run in runs for key in run if measure in key))
            if keys:
                yield _curves(f"{stage}-{measure}", title, label, runs, keys)


def _curves(name: str, title: str, label: str, runs: list[pd.DataFrame], keys: list[str]) -> Markup:
    figure, axes = _panel(height=2.5 + LEGEND_ROW * np.ceil(len(keys) / 2))
    drawn = {}
    for run in runs:
        for key in run.columns.intersection(keys):
            look: dict[str, Any] = {"color": _colour(key), "ls": "--" if key.startswith("train") else "-"}
            marker = "." if len(run) == 1 else None  # a line of one epoch would be invisible
            axes.plot(run["epoch"], run[key].astype(np.float64), lw=1, marker=marker, **look)
            drawn[key] = Line2D([], [], label=key.replace("_", " "), **look)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    figure.legend(handles=list(drawn.values()), loc="outside lower left", ncols=2)
    return _svg(
        figure,
        name,
        f"Line chart. {title}: {label} over epochs, {_count(len(runs), 'run')}; {', '.join(drawn)}",
    )


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


def _colour(key: str) -> str:
    return next((colour for term, colour in TERM_COLOURS.items() if key.endswith(f"_{term}")), INK)


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


def _panel(height: float, width: float = 1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH * width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """Figure as an inline SVG element: no prolog, no metadata, ids of its own, and a text alternative."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{name}-", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
