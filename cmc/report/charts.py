"""The pictures of a report. Each is drawn from a table that another stage wrote, on the page and for a paper."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from cmc import MODALITIES
from cmc.evaluation.consensus import NONE, SEVERAL
from cmc.labels import Scheme
from cmc.metrics import HEADINGS, headline

# One colour a model throughout, told apart by colour-blind readers too (after Okabe and Ito), on black and white.
COLOURS = {"text": "#2a7fbf", "audio": "#d55e00", "vision": "#009e73", "majority": "#8a8a8a"}
MAIN, OTHER = "#a64d9e", "#8a6d3b"  # the main variant, and other models
SUBSETS = {"test": "all clips", "msc": "MSC: modalities agree", "msi": "MSI: they don't"}
SHAPES = ["circle", "square", "triangle-up"]
CLASS_COLOURS = ["#d55e00", "#8a8a8a", "#2a7fbf", "#009e73", "#e69f00", "#a64d9e", "#56b4e9", "#8a6d3b"]
MOST_POINTS = 2000  # of a picture; a table holds all
HEIGHT, ROW = 260, 22
UNKNOWN = "unknown"  # whose label dissents
STAGES = {"pretrain": "stage 1", "finetune": "stage 2"}


@dataclass(frozen=True)
class Chart:
    """A picture with what is said of it.

    Attributes
    ----------
    name : str
        Of its files.
    title, caption : str
        The caption says how to read it.
    described : str
        What it shows, for those who don't see it.
    data : DataFrame
        All that it draws.
    spec : alt.Chart or alt.LayerChart
    """

    name: str
    title: str
    caption: str
    described: str
    data: pd.DataFrame
    spec: Any


def colour_of(model: str, main: str) -> str:
    """The colour of a model, modality or expert."""
    return MAIN if model == main else COLOURS.get(model.removeprefix("expert_"), OTHER)


def colours(models: Sequence[str], main: str, title: str | None = None) -> alt.Color:
    """Colour by model or modality; a click into the legend picks one."""
    scale = alt.Scale(domain=list(models), range=[colour_of(model, main) for model in models])
    return alt.Color("model:N", scale=scale, title=title, legend=alt.Legend(orient="top", columns=3))


def accuracy(name: str, title: str, table: pd.DataFrame, metric: str, main: str) -> Chart | None:
    """Each model of a table on each subset, with its interval; None of too few clips for percentages."""
    wanted = ["model", "subset", "n"]
    bounds = [f"{metric}_low", f"{metric}_high"]
    data = table.reindex(columns=[*wanted, f"{metric}_mean", *bounds])
    data.columns = pd.Index([*wanted, "mean", "low", "high"])
    data = data[data["mean"].notna()]
    if data.empty:
        return None
    data = data.assign(clips=data["subset"].map(SUBSETS))
    there = [label for subset, label in SUBSETS.items() if subset in set(data["subset"])]
    models = list(dict.fromkeys(data["model"]))
    y = alt.Y("model:N", sort=models, title=None, axis=alt.Axis(labelLimit=150))
    side = alt.YOffset("clips:N", sort=there)
    x = alt.X("mean:Q", title=f"{HEADINGS[metric]}, percent", scale=alt.Scale(zero=False, nice=True))
    shown = [
        "model",
        "clips",
        "n",
        alt.Tooltip("mean", format=".2f"),
        alt.Tooltip("low", format=".1f"),
        alt.Tooltip("high", format=".1f"),
    ]
    base = alt.Chart(data)
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=alt.X("low:Q", title=f"{HEADINGS[metric]}, percent"), x2="high:Q", y=y, yOffset=side
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x,
        y=y,
        yOffset=side,
        shape=alt.Shape(
            "clips:N",
            scale=alt.Scale(domain=there, range=SHAPES[: len(there)]),
            title=None,
            legend=alt.Legend(orient="top", columns=1),
        ),
        tooltip=shown,
    )
    known = data["low"].notna().any()
    layered = alt.layer(*([whiskers] if known else []), points).encode(
        color=colours(models, main).legend(None)
    )
    spec = layered.properties(width="container", height=max(3, len(there) * len(models)) * ROW)
    told = "; ".join(
        f"{row.model}, {row.clips}: {row.mean:.1f}"
        for row in data.itertuples()
        if row.model == main or row.subset == "test"
    )
    caption = "Points: means over seeds. Lines: 95 % intervals over speakers or source videos, and seeds."
    if not known:
        caption = "Points: means over seeds. There are too few speakers or source videos for intervals."
    return Chart(name, title, caption, f"{HEADINGS[metric]} in percent. {told}", data, spec)


def routing(clips: pd.DataFrame, main: str) -> Chart | None:
    """The router's weights of each clip in a triangle, by whose label dissents; None without three modalities."""
    if not {f"router_{modality}" for modality in MODALITIES} <= set(clips):
        return None
    weights = {modality: clips[f"router_{modality}"] for modality in MODALITIES}
    dissents = clips["dissents"] if "dissents" in clips else UNKNOWN
    data = pd.DataFrame({"clip_id": clips["clip_id"], **weights, "dissents": dissents})
    # text above, audio left, vision right
    data["x"] = data["vision"] + data["text"] / 2
    data["y"] = data["text"] * np.sqrt(3) / 2
    corners = pd.DataFrame({"x": [0, 1, 0.5, 0], "y": [0, 0, np.sqrt(3) / 2, 0], "place": range(4)})
    names = pd.DataFrame({"x": [0.5, 0, 1], "y": [0.92, -0.06, -0.06], "model": ["text", "audio", "vision"]})
    hidden = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    x = alt.X("x:Q", axis=hidden, scale=alt.Scale(domain=[-0.15, 1.15]))
    y = alt.Y("y:Q", axis=hidden, scale=alt.Scale(domain=[-0.12, 1.0]))
    domain = [name for name in (*MODALITIES, SEVERAL, NONE, UNKNOWN) if name in set(data["dissents"])]
    palette = COLOURS | {SEVERAL: "#a64d9e", NONE: "#8a8a8a", UNKNOWN: "#8a8a8a"}
    picked = alt.selection_point(fields=["dissents"], bind="legend")
    points = (
        alt.Chart(sample(data))
        .mark_circle(size=45)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "dissents:N",
                scale=alt.Scale(domain=domain, range=[palette.get(name, OTHER) for name in domain]),
                title="dissents",
                legend=alt.Legend(orient="top", columns=4),
            ),
            opacity=alt.condition(picked, alt.value(0.75), alt.value(0.06)),
            tooltip=["clip_id", "dissents", *(alt.Tooltip(name, format=".2f") for name in MODALITIES)],
        )
        .add_params(picked, zoom())
    )
    edge = alt.Chart(corners).mark_line(color="#8a8a8a").encode(x=x, y=y, order="place:Q")
    letters = alt.Chart(names).mark_text(color="currentColor").encode(x=x, y=y, text="model:N")
    spec = alt.layer(edge, letters, points).properties(width="container", height=340)
    means = ", ".join(f"{name} {values.mean():.2f}" for name, values in weights.items())
    caption = (
        "A point a test clip, mean over seeds; the nearer to a corner, the more that expert decides. Colour: the"
        " modality whose own label differs from the clip's. A router that works keeps away from its corner."
        " Drag to move, zoom with Ctrl and the wheel."
    )
    return Chart(
        "routing", f"Whom the router of {main} trusts", caption, f"Mean weights: {means}.", data, spec
    )


def lines(
    name: str,
    title: str,
    caption: str,
    data: pd.DataFrame,
    x: tuple[str, str],
    y: tuple[str, str],
    main: str,
    dash: str | None = None,
    under: Sequence[alt.Chart] = (),
) -> Chart:
    """Lines by `model`: x and y are a column and its title; `dash` tells kinds of lines apart; `under` is drawn
    with them."""
    models = list(dict.fromkeys(data["model"]))
    picked = alt.selection_point(fields=["model"], bind="legend")
    encoded: dict[str, Any] = {
        "x": alt.X(f"{x[0]}:Q", title=x[1], axis=alt.Axis(tickMinStep=1) if x[0] == "epoch" else alt.Axis()),
        "y": alt.Y(f"{y[0]}:Q", title=y[1], scale=alt.Scale(zero=not y[1].endswith("percent"))),
        "color": colours(models, main),
        "opacity": alt.condition(picked, alt.value(0.9), alt.value(0.08)),
        "tooltip": list(data.columns),
    }
    if dash:
        encoded["strokeDash"] = alt.StrokeDash(
            f"{dash}:N",
            title=None,
            legend=alt.Legend(orient="bottom", columns=2, symbolType="stroke", symbolSize=400),
        )
    if "run" in data:
        encoded["detail"] = "run:N"
    width = 1.2 if "run" in data else 2
    base = alt.Chart(data).encode(**encoded)
    layers = [base.mark_line(strokeWidth=width), base.mark_point(filled=True, size=22).add_params(picked)]
    spec = alt.layer(*under, *layers).properties(width="container", height=HEIGHT)
    last = data.groupby("model", sort=False)[y[0]].last()
    told = "At the end: " + ", ".join(f"{model} {value:.3g}" for model, value in last.items())
    return Chart(name, title, caption, told, data, spec)


def learning(
    histories: Sequence[Mapping[str, Sequence[Mapping]]], scheme: Scheme, main: str
) -> Iterator[Chart]:
    """Losses of both stages and validation accuracy of stage 2, a line a run."""
    metric = headline(scheme)
    for stage, said in STAGES.items():
        records = [
            {
                "epoch": record["epoch"],
                "model": main if whose == "M" else whose,
                "kind": "training" if kind == "train" else "validation",
                "loss": record[f"{kind}_loss_{whose}"],
                "run": place,
            }
            for place, history in enumerate(histories)
            for record in history.get(stage, ())
            for kind in ("train", "validation")
            for whose in ("M", *MODALITIES)
            if record.get(f"{kind}_loss_{whose}") is not None
        ]
        if records:
            yield lines(
                f"loss_{stage}",
                f"Losses of {said}",
                "Cross-entropy, a line a run (seed, and fold if there are any). Validation that rises while"
                " training falls is overfitting; the weights of the best epoch are kept.",
                pd.DataFrame(records),
                ("epoch", "epoch"),
                ("loss", "cross-entropy"),
                main,
                dash="kind",
            )
    scores = [
        {
            "epoch": record["epoch"],
            "model": main,
            metric: 100 * record[f"validation_{metric}"],
            "run": place,
            "best": record["epoch"] == history["best_epoch"],
        }
        for place, history in enumerate(histories)
        for record in history.get("finetune", ())
        if record.get(f"validation_{metric}") is not None
    ]
    if scores:
        data = pd.DataFrame(scores)
        rings = (
            alt.Chart(data[data["best"]])
            .mark_point(size=140, strokeWidth=2, color="currentColor")
            .encode(x="epoch:Q", y=f"{metric}:Q")
        )
        yield lines(
            "validation",
            f"Validation {HEADINGS[metric]} of stage 2",
            "A line a run; rings mark the epoch whose weights were kept, the one with the lowest validation loss.",
            data,
            ("epoch", "epoch"),
            (metric, f"{HEADINGS[metric]}, percent"),
            main,
            under=[rings],
        )


def pseudo_labels(table: pd.DataFrame, main: str) -> Iterator[Chart]:
    """How many pseudo labels have left the multimodal label, and whether annotators would agree."""
    data = table.rename(columns={"modality": "model"})
    yield lines(
        "pseudo_labels",
        "Pseudo labels that left the multimodal label",
        "Share of the training clips whose hard unimodal label differs from the multimodal one, mean over runs."
        " It ought to rise and then rest.",
        data[["model", "epoch", "changed"]].assign(changed=100 * data["changed"]),
        ("epoch", "epoch"),
        ("changed", "clips, percent"),
        main,
    )
    if "kappa" in data and data["kappa"].notna().any():
        yield lines(
            "pseudo_labels_kappa",
            "Do pseudo labels agree with annotators?",
            "Cohen's kappa with the annotated label of the modality, which training never saw. Epoch 1 is where"
            " labels start; rising means that they become truer.",
            data[["model", "epoch", "kappa"]].dropna(),
            ("epoch", "epoch"),
            ("kappa", "kappa"),
            main,
        )


def reliability(bins: pd.DataFrame, main: str) -> Chart | None:
    """Accuracy against confidence, before temperature scaling."""
    data = bins[~bins["model"].str.startswith("expert_")]
    data = data[["model", "scaled", "confidence", "accuracy", "n"]]
    if data.empty:
        return None
    ends = pd.DataFrame({"confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]})
    diagonal = (
        alt.Chart(ends).mark_line(color="#8a8a8a", strokeDash=[2, 4]).encode(x="confidence:Q", y="accuracy:Q")
    )
    return lines(
        "reliability",
        "How far probabilities can be believed",
        "Bins of equally many test clips. On the diagonal a model is right as often as it says; below, it is too"
        " sure of itself. Dashed and solid: before and after a temperature fitted on validation clips.",
        data,
        ("confidence", "probability that it gives"),
        ("accuracy", "share that is right"),
        main,
        dash="scaled",
        under=[diagonal],
    )


def embeddings(table: pd.DataFrame, classes: Sequence[str]) -> Iterator[Chart]:
    """Where each modality puts the test clips, in two dimensions."""
    for modality, own in table.groupby("modality", sort=False):
        data = own[["clip_id", "class", "x", "y"]]
        picked = alt.selection_point(fields=["class"], bind="legend")
        hidden = alt.Axis(labels=False, ticks=False, title=None)
        palette = [CLASS_COLOURS[place % len(CLASS_COLOURS)] for place in range(len(classes))]
        spec = (
            alt.Chart(sample(data))
            .mark_circle(size=40)
            .encode(
                x=alt.X("x:Q", axis=hidden),
                y=alt.Y("y:Q", axis=hidden),
                color=alt.Color(
                    "class:N",
                    scale=alt.Scale(domain=list(classes), range=palette),
                    title=None,
                    legend=alt.Legend(orient="top", columns=4),
                ),
                opacity=alt.condition(picked, alt.value(0.75), alt.value(0.06)),
                tooltip=["clip_id", "class"],
            )
            .add_params(picked, zoom())
            .properties(width="container", height=HEIGHT)
        )
        yield Chart(
            f"embeddings_{modality}",
            f"Test clips as {modality} sees them",
            f"The {modality} vector of the first run's model, its two directions of most variance (PCA); colour:"
            " the clip's class. Clouds apart mean that the modality alone tells the classes apart.",
            f"{len(data)} points.",
            data,
            spec,
        )


def robustness(table: pd.DataFrame, metric: str, main: str) -> Iterator[Chart]:
    """What remains when a modality is damaged."""
    known = table[~table["damage"].isin(["clean", "missing"]) & table["mean"].notna()]
    clean = table.loc[table["damage"] == "clean", "mean"]
    for damage, own in known.groupby("damage", sort=False):
        whole = pd.DataFrame({"modality": own["modality"].unique(), "level": 0.0, "mean": clean.iloc[0]})
        data = pd.concat([whole, own[["modality", "level", "mean", "weight"]]], ignore_index=True)
        data = data.rename(columns={"modality": "model"})
        unit = "standard deviations" if damage == "noise" else "share of frames or tokens"
        yield lines(
            f"robustness_{damage}",
            f"What remains with {damage} {'added' if damage == 'noise' else 'frames'}",
            f"{HEADINGS[metric]} of {main} on the test split, one modality damaged, nothing trained anew.",
            data,
            ("level", unit),
            ("mean", f"{HEADINGS[metric]}, percent"),
            main,
        )


def grid(table: pd.DataFrame, metric: str) -> Chart | None:
    """The points of a tuning grid as lines from setting to setting."""
    settings = [name for name in table if "." in name and table[name].nunique() > 1]
    score = f"{metric}_mean"
    if not settings or score not in table:
        return None
    data = table[["rank", "point", *settings, score]]
    spread = data[[*settings, score]].apply(lambda own: (own - own.min()) / ((own.max() - own.min()) or 1))
    long = spread.assign(point=data["point"], rank=data["rank"], score=data[score]).melt(
        ["point", "rank", "score"], var_name="setting", value_name="place"
    )
    spec = (
        alt.Chart(long)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("setting:N", sort=[*settings, score], title=None, axis=alt.Axis(labelAngle=-25)),
            y=alt.Y("place:Q", axis=alt.Axis(labels=False, title="lowest to highest")),
            detail="point:N",
            color=alt.Color("score:Q", scale=alt.Scale(scheme="viridis"), title=HEADINGS[metric]),
            opacity=alt.condition("datum.rank <= 3", alt.value(1), alt.value(0.25)),
            tooltip=["rank", "point", alt.Tooltip("score", format=".2f")],
        )
        .properties(width="container", height=HEIGHT)
    )
    best = data.sort_values("rank").iloc[0]
    return Chart(
        "grid",
        "The tuning grid",
        "A line a combination of settings, from its values to its score on the validation split; the best three"
        " are bold.",
        f"The best is {best['point']} with {best[score]:.2f}.",
        data,
        spec,
    )


def labels(clips: pd.DataFrame, scheme: Scheme) -> Chart:
    """Clips of each class in each split."""
    numbers = scheme.numbers(clips["label"].to_numpy())
    data = (
        pd.DataFrame({"split": clips["split"], "class": [scheme.classes[n] for n in numbers]})
        .value_counts()
        .rename("clips")
        .reset_index()
        .sort_values(["split", "class"], ignore_index=True)
    )
    palette = [CLASS_COLOURS[place % len(CLASS_COLOURS)] for place in range(len(scheme.classes))]
    spec = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            y=alt.Y("split:N", sort=["train", "valid", "test"], title=None),
            x=alt.X("clips:Q", title="clips"),
            color=alt.Color(
                "class:N",
                scale=alt.Scale(domain=list(scheme.classes), range=palette),
                title=None,
                legend=alt.Legend(orient="top", columns=4),
            ),
            tooltip=["split", "class", "clips"],
        )
        .properties(width="container", height=110)
    )
    told = "; ".join(f"{row.split}, {row[1]}: {row.clips}" for row in data.itertuples(index=False))
    return Chart("labels", "Clips by split and class", "Labels as they were read.", told, data, spec)


def zoom() -> alt.Parameter:
    """Drag to move; the wheel zooms with Ctrl alone, since it scrolls the page without."""
    return alt.selection_interval(bind="scales", zoom="wheel![event.ctrlKey]")


def sample(data: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` rows, evenly spaced."""
    if len(data) <= MOST_POINTS:
        return data
    return data.iloc[np.linspace(0, len(data) - 1, MOST_POINTS).astype(int)]
