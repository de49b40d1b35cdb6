"""From one seed's predictions to its metrics, and from several seeds' metrics to a table of the paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import MODALITIES, files
from cmc.labels import NEGATIVE, POSITIVE, Scheme, binary
from cmc.metrics import FEWEST_CLIPS, HEADINGS, evaluate, names

BASELINES = (*MODALITIES, "majority")
TEST_SUBSETS = ("test", "msc", "msi")
PUBLISHED_METRICS = ("acc2", "f1")
TWO_CLASS = ("acc2", "f1", "acc2_non0", "f1_non0")
ABSENT = "-"
PERCENT, DECIMALS = 100, 2


def score(
    predictions: pd.DataFrame,
    subsets: Mapping[str, Sequence[str]],
    scheme: Scheme,
    constants: np.ndarray,
    variant: str = "cmc",
) -> dict:
    """Metrics of one seed: the multimodal model, each unimodal one and the majority class, on every subset.

    Parameters
    ----------
    predictions : DataFrame
        One row a test clip: clip_id, class (from 0), logits_{class}, router_{modality} (sum 1) and
        pretrain_{modality}_{class} of the modalities in use; fold, of a data set in folds.
    subsets : mapping of str to clip ids
        msc and msi. Where neither holds a clip (no unimodal labels), both are left out of the result; where
        one does, the other stays with n = 0 and NaN metrics.
    scheme : Scheme
        Of the labels.
    constants : (2,) or (clips, 2) int
        What the majority baseline says, of all clips or of each (see `constant`).
    variant : str
        Name of the multimodal model.

    Returns
    -------
    dict
        models: model -> subset -> metrics (see `cmc.metrics.evaluate`); folds: the same by fold, if there are any;
        router_weights: modality -> mean weight over the test clips, in [0, 1].

    Raises
    ------
    ValueError
        If a clip occurs twice, a subset names a clip without a prediction, the variant is called like a
        baseline, or a logit is not finite.
    """
    if variant in BASELINES:
        raise ValueError(f"a variant can't be called {variant!r}: that is a baseline's name")
    labels = predictions["class"].to_numpy()
    rows = _rows(predictions["clip_id"], subsets)
    folds = predictions["fold"].to_numpy() if "fold" in predictions else np.array([])
    by_fold = {str(fold): folds == fold for fold in np.unique(folds)}
    logits = model_logits(predictions, variant, scheme)
    said = np.broadcast_to(constants, (len(labels), 2))

    def of(parts: Mapping[str, np.ndarray]) -> dict[str, dict]:
        found = {
            model: {name: evaluate(own[chosen], labels[chosen], scheme) for name, chosen in parts.items()}
            for model, own in logits.items()
        }
        constant = {name: majority(labels[chosen], scheme, said[chosen]) for name, chosen in parts.items()}
        return found | {"majority": constant}

    weights = {modality: float(predictions[f"router_{modality}"].mean()) for modality in routed(predictions)}
    return {"models": of(rows), "router_weights": weights} | ({"folds": of(by_fold)} if by_fold else {})


def routed(predictions: pd.DataFrame) -> list[str]:
    """Modalities that the router weighs in `predictions`; a run may do without one."""
    return [modality for modality in MODALITIES if f"router_{modality}" in predictions]


def model_logits(predictions: pd.DataFrame, variant: str, scheme: Scheme) -> dict[str, np.ndarray]:
    """Logits (clips, classes) of the multimodal model and of each unimodal one that `predictions` holds."""
    prefixes = {variant: "logits"} | {modality: f"pretrain_{modality}" for modality in MODALITIES}
    columns = {model: [f"{prefix}_{name}" for name in scheme.classes] for model, prefix in prefixes.items()}
    return {
        model: predictions[names].to_numpy(dtype=np.float64)
        for model, names in columns.items()
        if model == variant or set(names) <= set(predictions.columns)
    }


def constant(train_classes: np.ndarray, scheme: Scheme) -> np.ndarray:
    """What a constant prediction learned from the training labels alone says, (2,) int.

    Of polarity, for two-class metrics the more frequent side of the training labels under `has0` (negative or
    positive), and for three-class ones the most frequent class. The two can contradict (30 % negative, 30 %
    neutral, 40 % positive), which is why no single vector of logits serves both. Of emotions by name both are the
    most frequent class. A tie goes to the lower class.

    Raises
    ------
    ValueError
        If there are no training classes.
    """
    if not len(train_classes):
        raise ValueError("the majority baseline needs training classes; the training split is empty")
    most = np.bincount(train_classes).argmax()
    if not scheme.polar:
        return np.array([most, most])
    side = np.bincount(binary(train_classes, scheme.has0)).argmax()  # type: ignore[arg-type]
    return np.array([(NEGATIVE, POSITIVE)[side], most])


def majority(labels: np.ndarray, scheme: Scheme, constants: np.ndarray) -> dict[str, float]:
    """Metrics of constant predictions (clips, 2), as `constant` gives them of each clip's training split."""
    one_hot = np.eye(len(scheme.classes))
    two, whole = (evaluate(one_hot[said], labels, scheme) for said in np.reshape(constants, (-1, 2)).T)
    return whole | {name: two[name] for name in TWO_CLASS if name in two}


def published_values() -> pd.DataFrame:
    """Numbers printed in the paper: dataset, model, subset, metric, value (percent), source."""
    return pd.read_csv(Path(__file__).with_name("published.csv"))


def table(metrics: Sequence[Mapping], published: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds, one row a model and subset.

    Parameters
    ----------
    metrics : sequence of dict
        One per variant and seed: dataset, variant, seed, classes, has0, models (see `score`).
    published : DataFrame
        See `published_values`.

    Returns
    -------
    DataFrame
        model, subset, n (clips), seeds, then {metric}_mean and {metric}_std (sample standard deviation, NaN
        for one seed; metrics see `cmc.metrics.names`) and, of polarity, published_acc2, published_f1, all in
        percent with two decimals; NaN for less than `FEWEST_CLIPS` clips, of which each is worth more than ten
        points. Rows: variants as
        they first come, text, audio, vision, majority; within each test, msc, msi. Baselines are those
        of the first variant, since each variant may pretrain its own.

    Raises
    ------
    ValueError
        If there are no metrics, they are of several data sets or label schemes, a variant has a seed twice,
        or its seeds differ in their number of clips.
    """
    runs, scheme = _runs(metrics, "models"), Scheme.of(metrics[0])
    groups = _wanted(runs)
    dataset = metrics[0]["dataset"]
    return pd.DataFrame(
        _row(groups[model, subset], names(scheme))
        | (_published(published, dataset, model, subset) if scheme.polar else {})
        for model in _order(runs)
        for subset in TEST_SUBSETS
        if (model, subset) in groups
    )


def by_fold(metrics: Sequence[Mapping]) -> pd.DataFrame:
    """The same of each fold, of a data set in folds, and the mean over the folds as such corpora are reported.

    Returns
    -------
    DataFrame
        model, subset (fold1, fold2, ...; folds), n (clips), seeds, {metric}_mean, {metric}_std. Of the row
        `folds`, mean and sample standard deviation are over the folds' means.
    """
    runs, wanted = _runs(metrics, "folds"), names(Scheme.of(metrics[0]))
    groups = _wanted(runs)
    rows = []
    for model in _order(runs):
        if not (folds := sorted((fold for name, fold in groups if name == model), key=int)):
            continue  # a modality that the data set lacks
        own = [_row(groups[model, fold], wanted) | {"subset": f"fold{fold}"} for fold in folds]
        means = pd.DataFrame(own)[[f"{name}_mean" for name in wanted]]
        clips = sum(row["n"] for row in own)
        whole = {"model": model, "subset": "folds", "n": clips, "seeds": own[0]["seeds"]}
        for name in wanted:
            whole[f"{name}_mean"] = round(float(means[f"{name}_mean"].mean(skipna=False)), DECIMALS)
            whole[f"{name}_std"] = round(float(means[f"{name}_mean"].std(ddof=1, skipna=False)), DECIMALS)
        rows += [*own, whole]
    return pd.DataFrame(rows)


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote."""
    return pd.read_csv(path, dtype={"model": str}, keep_default_na=False, na_values=[""])


def cells(results: pd.DataFrame) -> pd.DataFrame:
    """Table as text to show: "mean ± spread" a metric, published columns only where there are values.

    Metrics of single classes are not shown.
    """
    shown = {
        "Model": results["model"],
        "Subset": results["subset"].str.upper().replace("TEST", "test"),
        "Clips": results["n"].astype(str),
        "Seeds": results["seeds"].astype(str),
    }
    there = {name: heading for name, heading in HEADINGS.items() if f"{name}_mean" in results}
    for name, heading in there.items():
        shown[heading] = [
            _number(mean) + (f" ± {spread:.2f}" if np.isfinite(spread) else "")
            for mean, spread in zip(results[f"{name}_mean"], results[f"{name}_std"], strict=True)
        ]
        if name == next(iter(there)):
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


def _order(runs: pd.DataFrame) -> list[str]:
    """Models as a table has them: variants as they first come, then the baselines."""
    return [*runs["variant"].unique(), *BASELINES]


def _wanted(runs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Runs by model and subset; of the baselines those of the first variant."""
    wanted = runs[(runs["model"] == runs["variant"]) | (runs["variant"] == runs["variant"].iloc[0])]
    return dict(iter(wanted.groupby(["model", "subset"])))


def _runs(metrics: Sequence[Mapping], part: str) -> pd.DataFrame:
    """One row a run, model and subset of `part`, models or folds; checked."""
    if not metrics:
        raise ValueError("a table needs the metrics of at least one seed")
    if len(kinds := {(run["dataset"], Scheme.of(run)) for run in metrics}) > 1:
        raise ValueError(f"one table holds one data set and one label scheme; got {sorted(map(str, kinds))}")
    keys = [(run["variant"], run["seed"]) for run in metrics]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"variant {twice[0][0]!r} has seed {twice[0][1]} more than once")
    return pd.DataFrame(
        {"variant": run["variant"], "model": model, "subset": subset, **values}
        for run in metrics
        for model, by_subset in run[part].items()
        for subset, values in by_subset.items()
    )


def _row(runs: pd.DataFrame, wanted: Sequence[str]) -> dict:
    model, subset = runs[["model", "subset"]].iloc[0]
    if runs["n"].nunique() > 1:
        counts = sorted(map(int, runs["n"].unique()))
        raise ValueError(f"seeds of {model} on {subset} differ in their number of clips: {counts}")
    percent = PERCENT * runs[list(wanted)].astype(np.float64)
    row = {"model": model, "subset": subset, "n": int(runs["n"].iloc[0]), "seeds": len(runs)}
    if row["n"] < FEWEST_CLIPS:
        percent[:] = np.nan
    for name in wanted:
        row[f"{name}_mean"] = round(float(percent[name].mean()), DECIMALS)
        row[f"{name}_std"] = round(float(percent[name].std(ddof=1)), DECIMALS)
    return row


def _published(published: pd.DataFrame, dataset: str, model: str, subset: str) -> dict[str, float]:
    mine = published[["dataset", "model", "subset"]].eq([dataset, model, subset]).all(axis=1)
    values = published[mine].set_index("metric")["value"]
    return {f"published_{name}": float(values.get(name, np.nan)) for name in PUBLISHED_METRICS}


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ABSENT
