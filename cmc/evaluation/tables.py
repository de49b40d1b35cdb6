"""From one seed's predictions to its metrics, and from several seeds' metrics to a table of the paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import MODALITIES, files
from cmc.labels import CLASSES, NEGATIVE, POSITIVE, Has0, binary
from cmc.metrics import FEWEST_CLIPS, METRICS, evaluate

BASELINES = (*MODALITIES, "majority")
TEST_SUBSETS = ("test", "msc", "msi")
PUBLISHED_METRICS = ("acc2", "f1")
HEADINGS = dict(zip(METRICS, ("Acc-2", "F1", "Acc-2 Non0", "F1 Non0", "Acc-3", "F1-3"), strict=True))
ABSENT = "-"
PERCENT, DECIMALS = 100, 2


def score(
    predictions: pd.DataFrame,
    subsets: Mapping[str, Sequence[str]],
    has0: Has0,
    train_classes: np.ndarray,
    variant: str = "cmc",
) -> dict:
    """Metrics of one seed: the multimodal model, each unimodal one and the majority class, on every subset.

    Parameters
    ----------
    predictions : DataFrame
        One row a test clip: clip, class (0 to 2), logits_{class}, router_{modality} (sum 1) and
        pretrain_{modality}_{class} of the modalities in use.
    subsets : mapping of str to clip ids
        msc and msi. Where neither holds a clip (no unimodal labels), both are left out of the result; where
        one does, the other stays with n = 0 and NaN metrics.
    has0 : {"nonpositive_positive", "negative_nonnegative"}
        See `cmc.labels.binary`.
    train_classes : (clips,) int
        Classes of the training split, for the majority baseline (see `majority`).
    variant : str
        Name of the multimodal model.

    Returns
    -------
    dict
        models: model -> subset -> metrics (see `cmc.metrics.evaluate`);
        router_weights: modality -> mean weight over the test clips, in [0, 1].

    Raises
    ------
    ValueError
        If a clip occurs twice, a subset names a clip without a prediction, the variant is called like a
        baseline, there are no training classes, or a logit is not finite.
    """
    if variant in BASELINES:
        raise ValueError(f"a variant can't be called {variant!r}: that is a baseline's name")
    labels = predictions["class"].to_numpy()
    rows = _rows(predictions["clip_id"], subsets)
    models = {
        model: {subset: evaluate(logits[chosen], labels[chosen], has0) for subset, chosen in rows.items()}
        for model, logits in model_logits(predictions, variant).items()
    }
    models["majority"] = {
        subset: majority(labels[chosen], has0, train_classes) for subset, chosen in rows.items()
    }
    weights = {modality: float(predictions[f"router_{modality}"].mean()) for modality in routed(predictions)}
    return {"models": models, "router_weights": weights}


def routed(predictions: pd.DataFrame) -> list[str]:
    """Modalities that the router weighs in `predictions`; a run may do without one."""
    return [modality for modality in MODALITIES if f"router_{modality}" in predictions]


def model_logits(predictions: pd.DataFrame, variant: str) -> dict[str, np.ndarray]:
    """Logits (clips, 3) of the multimodal model and of each unimodal one that `predictions` holds."""
    prefixes = {variant: "logits"} | {modality: f"pretrain_{modality}" for modality in MODALITIES}
    columns = {model: [f"{prefix}_{name}" for name in CLASSES] for model, prefix in prefixes.items()}
    return {
        model: predictions[names].to_numpy(dtype=np.float64)
        for model, names in columns.items()
        if model == variant or set(names) <= set(predictions.columns)
    }


def majority(labels: np.ndarray, has0: Has0, train_classes: np.ndarray) -> dict[str, float]:
    """Metrics of a constant prediction learned from the training labels alone.

    Two-class metrics, Non0 among them, predict the more frequent side of the training labels under `has0`;
    three-class metrics the most frequent class. The two can contradict (30 % negative, 30 % neutral, 40 %
    positive), which is why no single vector of logits serves both. A tie goes to the lower class.

    Raises
    ------
    ValueError
        If there are no training classes.
    """
    if not len(train_classes):
        raise ValueError("the majority baseline needs training classes; the training split is empty")
    side = (NEGATIVE, POSITIVE)[np.bincount(binary(train_classes, has0)).argmax()]
    two, three = (
        evaluate(np.tile(np.eye(len(CLASSES))[constant], (len(labels), 1)), labels, has0)
        for constant in (side, np.bincount(train_classes).argmax())
    )
    return two | {name: three[name] for name in ("acc3", "f1_3")}


def published_values() -> pd.DataFrame:
    """Numbers printed in the paper: dataset, model, subset, metric, value (percent), source."""
    return pd.read_csv(Path(__file__).with_name("published.csv"))


def table(metrics: Sequence[Mapping], published: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds, one row a model and subset.

    Parameters
    ----------
    metrics : sequence of dict
        One per variant and seed: dataset, variant, seed, has0, models (see `score`).
    published : DataFrame
        See `published_values`.

    Returns
    -------
    DataFrame
        model, subset, n (clips), seeds, then {metric}_mean and {metric}_std (sample standard deviation, NaN
        for one seed) and published_acc2, published_f1, all in percent with two decimals; NaN for less than
        `FEWEST_CLIPS` clips, of which each is worth more than ten points. Rows: variants as
        they first come, text, audio, vision, majority; within each test, msc, msi. Baselines are those
        of the first variant, since each variant may pretrain its own.

    Raises
    ------
    ValueError
        If there are no metrics, they are of several data sets or `has0` rules, a variant has a seed twice,
        or its seeds differ in their number of clips.
    """
    runs = _runs(metrics)
    dataset, (reference, *_) = metrics[0]["dataset"], runs["variant"]
    order = [*runs["variant"].unique(), *BASELINES]
    wanted = runs[(runs["model"] == runs["variant"]) | (runs["variant"] == reference)]
    groups = dict(iter(wanted.groupby(["model", "subset"])))
    return pd.DataFrame(
        _row(groups[model, subset], _published(published, dataset, model, subset))
        for model in order
        for subset in TEST_SUBSETS
        if (model, subset) in groups
    )


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote."""
    return pd.read_csv(path, dtype={"model": str}, keep_default_na=False, na_values=[""])


def cells(results: pd.DataFrame) -> pd.DataFrame:
    """Table as text to show: "mean ± spread" a metric, published columns only where there are values."""
    shown = {
        "Model": results["model"],
        "Subset": results["subset"].str.upper().replace("TEST", "test"),
        "Clips": results["n"].astype(str),
        "Seeds": results["seeds"].astype(str),
    }
    for name, heading in HEADINGS.items():
        shown[heading] = [
            _number(mean) + (f" ± {spread:.2f}" if np.isfinite(spread) else "")
            for mean, spread in zip(results[f"{name}_mean"], results[f"{name}_std"], strict=True)
        ]
        if name == METRICS[0]:
            few = results["n"] < FEWEST_CLIPS
            shown[heading] = np.where(few, f"n < {FEWEST_CLIPS}", shown[heading])
        if name in PUBLISHED_METRICS and results[f"published_{name}"].notna().any():
            shown[f"{heading} published"] = results[f"published_{name}"].map(_number)
    return pd.DataFrame(shown)


def show(results: pd.DataFrame) -> str:
    """Table as aligned plain text for a terminal: names to the left, numbers to the right."""
    shown = cells(results)
    columns = []
    for heading in shown:
        entries = [heading, *shown[heading]]
        width = max(map(len, entries))
        align = str.ljust if heading in ("Model", "Subset") else str.rjust
        columns.append([align(entry, width) for entry in entries])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True)) + "\n"


def write(results: pd.DataFrame, path: Path | str) -> None:
    """Write the table as CSV, two decimals, absent values empty. Replaces `path` whole or not at all."""
    with files.whole(path) as partial:
        results.to_csv(partial, index=False, float_format="%.2f", lineterminator="\n")


def _rows(clips: pd.Series, subsets: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Boolean rows (clips,) of each subset, the whole test split first."""
    if clips.duplicated().any():
        raise ValueError(f"clip {clips[clips.duplicated()].iloc[0]!r} has more than one prediction")
    rows = {"test": np.ones(len(clips), dtype=bool)}
    if not any(subsets.values()):
        return rows
    for name, members in subsets.items():
        unpredicted = set(members) - set(clips)
        if unpredicted:
            raise ValueError(
                f"clip {min(unpredicted)!r} of subset {name} has no prediction ({len(unpredicted)} such);"
                " subsets must be those of the test split"
            )
        rows[name] = clips.isin(members).to_numpy()
    return rows


def _runs(metrics: Sequence[Mapping]) -> pd.DataFrame:
    """One row a run, model and subset; checked."""
    if not metrics:
        raise ValueError("a table needs the metrics of at least one seed")
    if len(kinds := {(run["dataset"], run["has0"]) for run in metrics}) > 1:
        raise ValueError(f"one table holds one data set and one has0 rule; got {sorted(kinds)}")
    keys = [(run["variant"], run["seed"]) for run in metrics]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"variant {twice[0][0]!r} has seed {twice[0][1]} more than once")
    return pd.DataFrame(
        {"variant": run["variant"], "model": model, "subset": subset, **values}
        for run in metrics
        for model, by_subset in run["models"].items()
        for subset, values in by_subset.items()
    )


def _row(runs: pd.DataFrame, published: dict[str, float]) -> dict:
    model, subset = runs[["model", "subset"]].iloc[0]
    if runs["n"].nunique() > 1:
        counts = sorted(map(int, runs["n"].unique()))
        raise ValueError(f"seeds of {model} on {subset} differ in their number of clips: {counts}")
    percent = PERCENT * runs[list(METRICS)].astype(np.float64)
    row = {"model": model, "subset": subset, "n": int(runs["n"].iloc[0]), "seeds": len(runs)}
    if row["n"] < FEWEST_CLIPS:
        percent[:] = np.nan
    for name in METRICS:
        row[f"{name}_mean"] = round(float(percent[name].mean()), DECIMALS)
        row[f"{name}_std"] = round(float(percent[name].std(ddof=1)), DECIMALS)
    return row | published


def _published(published: pd.DataFrame, dataset: str, model: str, subset: str) -> dict[str, float]:
    mine = published[["dataset", "model", "subset"]].eq([dataset, model, subset]).all(axis=1)
    values = published[mine].set_index("metric")["value"]
    return {f"published_{name}": float(values.get(name, np.nan)) for name in PUBLISHED_METRICS}


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ABSENT
