"""From one seed's predictions to its metrics, and from several seeds' metrics to a table of the paper."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import MODALITIES, files, metrics
from cmc.labels import Scheme, binary
from cmc.metrics import FEWEST_CLIPS, HEADINGS, REGRESSION, names

BASELINES = (*MODALITIES, "majority")
TEST_SUBSETS = ("test", "msc", "msi")
PUBLISHED_METRICS = ("acc2", "f1")
SCORE = "score"  # column of predictions: a regression's, beside the side and the class that it tells
MAJORITY = ("majority_side", "majority")  # columns of predictions
ABSENT = "-"
PERCENT, DECIMALS = 100, 2
ALPHA = 0.05  # intervals hold 1 - ALPHA; models whose corrected p is below it are told apart
LEFT = ("Trained on", "Tested on", "Model", "Subset")  # columns of text
SAME, UNKNOWN = "not told apart", "too few clusters"
P_VALUES, FINE_DECIMALS = ("p", "p_holm", "mcnemar_p"), 4
CLASSIFICATION = "classification"


def score(
    predictions: pd.DataFrame,
    subsets: Mapping[str, Sequence[str]],
    scheme: Scheme,
    variant: str = "cmc",
) -> dict:
    """Metrics of one seed: the multimodal model, each unimodal one and the majority class, on every subset.

    Parameters
    ----------
    predictions : DataFrame
        One row a test clip: clip_id, class (from 0), logits_{class} (of a regression score, side, prediction and
        label), router_{modality} (sum 1) and
        pretrain_{modality}_{class} of the modalities in use; majority_side and majority, what the majority
        baseline says (see `constant`); fold, of a data set in folds.
    subsets : mapping of str to clip ids
        msc and msi. Where neither holds a clip (no unimodal labels), both are left out of the result; where
        one does, the other stays with n = 0 and NaN metrics.
    scheme : Scheme
        Of the labels.
    variant : str
        Name of the multimodal model.

    Returns
    -------
    dict
        models: model -> subset -> metrics (see `cmc.metrics.evaluate`, of a regression
        `cmc.metrics.of_regression` too); folds: the same by fold, if there are any;
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
    parts = rows(predictions["clip_id"], subsets)
    folds = predictions["fold"].to_numpy() if "fold" in predictions else np.array([])
    by_fold = {str(fold): folds == fold for fold in np.unique(folds)}
    said = said_by(predictions, variant, scheme)

    def of(chosen: Mapping[str, np.ndarray]) -> dict[str, dict]:
        found = {
            model: {name: metrics.score(own[part], labels[part], scheme) for name, part in chosen.items()}
            for model, own in said.items()
        }
        if SCORE in predictions:
            for name, part in chosen.items():
                own = metrics.of_regression(*predictions.loc[part, [SCORE, "label"]].to_numpy(dtype=float).T)
                found[variant][name] |= {metric: float(value[0]) for metric, value in own.items()}
        return found

    weights = {modality: float(predictions[f"router_{modality}"].mean()) for modality in routed(predictions)}
    return {"models": of(parts), "router_weights": weights} | ({"folds": of(by_fold)} if by_fold else {})


def routed(predictions: pd.DataFrame) -> list[str]:
    """Modalities that the router weighs in `predictions`; a run may do without one."""
    return [modality for modality in MODALITIES if f"router_{modality}" in predictions]


def model_logits(predictions: pd.DataFrame, variant: str, scheme: Scheme) -> dict[str, np.ndarray]:
    """Logits (clips, classes) of the multimodal model, if it isn't a regression, and of each unimodal one that
    `predictions` holds."""
    prefixes = {variant: "logits"} | {modality: f"pretrain_{modality}" for modality in MODALITIES}
    columns = {model: [f"{prefix}_{name}" for name in scheme.classes] for model, prefix in prefixes.items()}
    return {
        model: predictions[names].to_numpy(dtype=np.float64)
        for model, names in columns.items()
        if (model == variant and SCORE not in predictions) or set(names) <= set(predictions.columns)
    }


def said_by(predictions: pd.DataFrame, variant: str, scheme: Scheme) -> dict[str, np.ndarray]:
    """What each model says of each clip, (clips, 2) int, see `cmc.metrics.answers`: the multimodal model, each
    unimodal one that `predictions` holds, and the majority class."""
    found = {}
    for model, logits in model_logits(predictions, variant, scheme).items():
        wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if wrong.size:
            raise ValueError(f"{model}: logits of row {wrong[0]} are not finite: {logits[wrong[0]].tolist()}")
        found[model] = metrics.answers(logits, scheme)
    if SCORE in predictions:
        wrong = np.flatnonzero(~np.isfinite(predictions[SCORE]))
        if wrong.size:
            raise ValueError(f"{variant}: the score of row {wrong[0]} is not finite")
        found[variant] = predictions[["side", "prediction"]].to_numpy()
    return found | {"majority": predictions[list(MAJORITY)].to_numpy()}


def constant(train_classes: np.ndarray, scheme: Scheme) -> np.ndarray:
    """What a constant prediction learned from the training labels alone says, (2,) int.

    Of polarity, for two-class metrics the more frequent side of the training labels under `has0` (0 or 1), and for
    three-class ones the most frequent class. The two can contradict (30 % negative, 30 %
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
    return np.array([np.bincount(binary(train_classes, scheme.has0)).argmax(), most])  # type: ignore[arg-type]


def published_values() -> pd.DataFrame:
    """Numbers that were printed: dataset, model, objective, subset, metric, value (percent), source."""
    return pd.read_csv(Path(__file__).with_name("published.csv"))


def table(
    scores: Sequence[Mapping],
    published: pd.DataFrame,
    intervals: pd.DataFrame | None = None,
    compared: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Mean and spread over seeds, one row a model and subset.

    Parameters
    ----------
    scores : sequence of dict
        One per variant and seed: dataset, variant, seed, classes, has0, models (see `score`).
    published : DataFrame
        See `published_values`.
    intervals, compared : DataFrame, optional
        See `cmc.evaluation.statistics.of_table`.

    Returns
    -------
    DataFrame
        model, subset, n (clips), where there are intervals clusters (speakers or source videos, of which they
        are drawn), seeds, then {metric}_mean and {metric}_std (sample standard deviation, NaN
        for one seed; metrics see `cmc.metrics.names`), {metric}_low and {metric}_high where there are intervals;
        of the headline metric, where models are compared, difference to the first variant, p (corrected for the
        table's models) and verdict: worse, better, not told apart, or too few clusters to tell; where there are
        regressions their mae and corr, in the unit of the labels, each with mean, spread and interval; of
        polarity, published_acc2, published_f1. All else but p in percent with two decimals; NaN for less than
        `FEWEST_CLIPS` clips, of which each is worth more than ten points. Rows: variants as they first come,
        text, audio, vision, majority; within each test, msc, msi. Baselines are those
        of the first variant, since each variant may pretrain its own.

    Raises
    ------
    ValueError
        If there are no metrics, they are of several data sets or label schemes, a variant has a seed twice,
        or its seeds differ in their number of clips.
    """
    runs, scheme = _runs(scores, "models"), Scheme.of(scores[0])
    groups, wanted = _wanted(runs), [*names(scheme), *(name for name in REGRESSION if name in runs)]
    bounds = {} if intervals is None else intervals.set_index(["model", "subset", "metric"]).to_dict("index")
    objectives = {run["variant"]: run.get("objective", CLASSIFICATION) for run in scores}
    tests = {} if compared is None else compared.set_index(["model", "subset"]).to_dict("index")
    rows = []
    for model, subset in product(_order(runs), TEST_SUBSETS):
        if (model, subset) not in groups:
            continue
        row = _row(groups[model, subset], wanted)
        if bounds:
            row = _bounded(row, bounds, wanted)
        if compared is not None:
            row |= _told(tests.get((model, subset)))
        if scheme.polar:
            objective = objectives.get(model, CLASSIFICATION)
            row |= _published(published, scores[0]["dataset"], model, subset, objective)
        rows.append(row)
    return pd.DataFrame(rows)


def by_fold(scores: Sequence[Mapping]) -> pd.DataFrame:
    """The same of each fold, of a data set in folds, and the mean over the folds as such corpora are reported.

    Returns
    -------
    DataFrame
        model, subset (fold1, fold2, ...; folds), n (clips), seeds, {metric}_mean, {metric}_std. Of the row
        `folds`, mean and sample standard deviation are over the folds' means.
    """
    runs, wanted = _runs(scores, "folds"), names(Scheme.of(scores[0]))
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


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read predictions as evaluation writes them; ids and speakers are text."""
    return pd.read_csv(path, dtype={"clip_id": str, "cluster": str}, keep_default_na=False)


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote."""
    return pd.read_csv(path, dtype={"model": str}, keep_default_na=False, na_values=[""])


def cells(results: pd.DataFrame) -> pd.DataFrame:
    """Table as text to show: "mean ± spread" a metric, published columns only where there are values.

    Metrics of single classes are not shown.
    """
    beside = {"trained_on": "Trained on", "tested_on": "Tested on"}  # of the table over data sets
    shown = {heading: results[name] for name, heading in beside.items() if name in results}
    shown |= {
        "Model": results["model"],
        "Subset": results["subset"].str.upper().replace("TEST", "test"),
        "Clips": results["n"].astype(str),
        "Seeds": results["seeds"].astype(str),
    }
    there = {name: heading for name, heading in HEADINGS.items() if f"{name}_mean" in results}
    for name, heading in there.items():
        digits = 3 if name in REGRESSION else DECIMALS
        shown[heading] = [
            _number(mean, digits) + (f" ± {spread:.{digits}f}" if np.isfinite(spread) else "")
            for mean, spread in zip(results[f"{name}_mean"], results[f"{name}_std"], strict=True)
        ]
        if name == next(iter(there)):
            few = results["n"] < FEWEST_CLIPS
            shown[heading] = np.where(few, f"n < {FEWEST_CLIPS}", shown[heading])
            if f"{name}_low" in results:
                ends = zip(results[f"{name}_low"], results[f"{name}_high"], strict=True)
                shown["95 %"] = [f"{low:.1f} to {high:.1f}" if low == low else ABSENT for low, high in ends]
            if "verdict" in results:
                shown[f"vs {results['model'].iloc[0]}"] = results["verdict"].fillna("")
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
        align = str.ljust if heading in LEFT else str.rjust
        columns.append([align(entry, width) for entry in entries])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True)) + "\n"


def write(results: pd.DataFrame, path: Path | str, digits: int = DECIMALS) -> None:
    """Write a table as CSV, so many decimals (of p values and scores `FINE_DECIMALS`), absent values empty.

    Replaces `path` whole or not at all.
    """
    with files.whole(path) as partial:
        fine = {name: results[name].map(_fine) for name in results if decimals(name) == FINE_DECIMALS}
        shown = results.assign(**fine)
        shown.to_csv(partial, index=False, float_format=f"%.{digits}f", lineterminator="\n")


def rows(clips: pd.Series, subsets: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
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


def _runs(scores: Sequence[Mapping], part: str) -> pd.DataFrame:
    """One row a run, model and subset of `part`, models or folds; checked."""
    if not scores:
        raise ValueError("a table needs the metrics of at least one seed")
    if len(kinds := {(run["dataset"], Scheme.of(run)) for run in scores}) > 1:
        raise ValueError(f"one table holds one data set and one label scheme; got {sorted(map(str, kinds))}")
    keys = [(run["variant"], run["seed"]) for run in scores]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"variant {twice[0][0]!r} has seed {twice[0][1]} more than once")
    return pd.DataFrame(
        {"variant": run["variant"], "model": model, "subset": subset, **values}
        for run in scores
        for model, by_subset in run[part].items()
        for subset, values in by_subset.items()
    )


def _row(runs: pd.DataFrame, wanted: Sequence[str]) -> dict:
    model, subset = runs[["model", "subset"]].iloc[0]
    if runs["n"].nunique() > 1:
        counts = sorted(map(int, runs["n"].unique()))
        raise ValueError(f"seeds of {model} on {subset} differ in their number of clips: {counts}")
    percent = runs[list(wanted)].astype(np.float64) * [unit(name) for name in wanted]
    row = {"model": model, "subset": subset, "n": int(runs["n"].iloc[0]), "seeds": len(runs)}
    if row["n"] < FEWEST_CLIPS:
        percent[:] = np.nan
    for name in wanted:
        row[f"{name}_mean"] = round(float(percent[name].mean()), decimals(name))
        row[f"{name}_std"] = round(float(percent[name].std(ddof=1)), decimals(name))
    return row


def unit(metric: str) -> float:
    """What a metric is multiplied by in tables: shares are percentages there."""
    return 1.0 if metric in REGRESSION else PERCENT


def decimals(column: str) -> int:
    """Of a column: those of labels have more."""
    return FINE_DECIMALS if column in P_VALUES or column.startswith(REGRESSION) else DECIMALS


def _bounded(row: dict, bounds: Mapping[tuple, Mapping[str, float]], wanted: Sequence[str]) -> dict:
    """The same row with the interval of each metric behind it; none of too few clips."""
    found = {}
    for key, value in row.items():
        if key == "seeds":
            found["clusters"] = bounds[row["model"], row["subset"], wanted[0]]["clusters"]
        found[key] = value
        name = key.removesuffix("_std")
        if key.endswith("_std") and name in wanted:
            own = bounds.get((row["model"], row["subset"], name), {"low": np.nan, "high": np.nan})
            for side in ("low", "high"):
                known = row["n"] >= FEWEST_CLIPS
                found[f"{name}_{side}"] = round(own[side], decimals(name)) if known else np.nan
    return found


def _told(compared: Mapping | None) -> dict:
    """Difference, p and verdict of a row, by its row of `cmc.evaluation.statistics.compare` if it has one."""
    if compared is None:
        return {"difference": np.nan, "p": np.nan, "verdict": ""}
    difference, p = compared["difference"], compared["p_holm"]
    verdict = UNKNOWN if np.isnan(p) else SAME if p >= ALPHA else "worse" if difference < 0 else "better"
    return {"difference": difference, "p": p, "verdict": verdict}


def _published(
    published: pd.DataFrame, dataset: str, model: str, subset: str, objective: str
) -> dict[str, float]:
    keys = ["dataset", "model", "subset", "objective"]
    mine = published[keys].eq([dataset, model, subset, objective]).all(axis=1)
    values = published[mine].set_index("metric")["value"]
    return {f"published_{name}": float(values.get(name, np.nan)) for name in PUBLISHED_METRICS}


def _fine(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{FINE_DECIMALS}f}"


def _number(value: float, digits: int = DECIMALS) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ABSENT
