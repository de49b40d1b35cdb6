"""Tuning: which point of a grid of settings is best, by the validation split (section 6 of the method)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import files
from cmc.evaluation.tables import PERCENT
from cmc.labels import Scheme
from cmc.metrics import of_validation
from cmc.training import checkpoint

LOSS = "loss"  # the other scores are shares
DECIMALS, DECIMALS_LOSS = 2, 4
Run = tuple[str, int]  # point, seed


def on_validation(finetuned: str | Path) -> dict[str, float]:
    """What a finetuned model scores on the validation split.

    Parameters
    ----------
    finetuned : path
        The JSON of a checkpoint of stage 2 (see `cmc.training.checkpoint`).

    Returns
    -------
    dict
        Metrics in [0, 1] (see `cmc.metrics.of_validation`); loss, the multimodal cross-entropy: of the epoch whose
        weights the checkpoint holds.

    Raises
    ------
    CheckpointError
        If the file can't be read, or the model was not trained for an epoch.
    """
    try:
        facts = json.loads(Path(finetuned).read_text())
        best = {record["epoch"]: record for record in facts["history"]}[facts["best_epoch"]]
        scores = {
            name: float(best[f"validation_{name}"]) for name in of_validation(Scheme.of(facts["recipe"]))
        }
        return scores | {LOSS: float(best["validation_loss_M"])}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"{finetuned} has no validation scores ({type(error).__name__}: {error}); tuning needs models that"
            " were finetuned for an epoch at least (finetune.epochs); if this one was, delete it and run again"
        ) from None


def on_test(metrics: str | Path) -> dict[str, float]:
    """What a finetuned model scores on the test split: the same metrics, in [0, 1], of `cmc.evaluation.evaluate`.

    For the published protocol alone, which chose its settings by them.
    """
    scores = json.loads(Path(metrics).read_text())
    test = scores["models"][scores["variant"]]["test"]
    return {name: test[name] for name in of_validation(Scheme.of(scores))}


def rank(
    points: Mapping[str, Mapping], runs: Mapping[Run, Mapping[str, float]], by: str | None = None
) -> pd.DataFrame:
    """The points of a grid, best first.

    Parameters
    ----------
    points : mapping
        Name of each point -> its settings.
    runs : mapping
        (point, seed) -> scores, as `on_validation` and `on_test` give them.
    by : str, optional
        A score; the higher its mean over the seeds, the better. The first one by default. Equal ones stand by
        their loss if there is one, then by name.

    Returns
    -------
    DataFrame
        rank (from 1), point, a column for each setting, seeds (how many), then {score}_mean and {score}_std
        (sample standard deviation, NaN for one seed); all but the loss in percent.

    Raises
    ------
    ValueError
        If there is no point, or one has no run, other seeds than the first, or a score that is not finite; or
        there is no score `by`.
    """
    if not points:
        raise ValueError("the grid has no point; tuning.grid needs settings with a value each at least")
    seeds = {point: {seed for name, seed in runs if name == point} for point in points}
    first, wanted = next(iter(seeds.items()))
    for point, own in seeds.items():
        if not own or own != wanted:
            raise ValueError(f"point {point} has the seeds {sorted(own)}, {first} {sorted(wanted)}")
    by = chosen_by(next(iter(runs.values())), by)
    rows = [{"point": point, **settings, **means(point, runs)} for point, settings in points.items()]
    # rounded: sums of equal scores in another order differ in the last digit
    order = sorted(
        rows, key=lambda row: (-round(row[f"{by}_mean"], 9), row.get(f"{LOSS}_mean", 0.0), row["point"])
    )
    return pd.DataFrame({"rank": place, **row} for place, row in enumerate(order, start=1))


def chosen_by(scores: Mapping[str, float], by: str | None) -> str:
    """The score that points are chosen by."""
    if by is None:
        return next(iter(scores))
    if by not in scores:
        known = ", ".join(name for name in scores if name != LOSS)
        raise ValueError(f"tuning.by is {by}, which models of this data set don't have; they have {known}")
    return by


def means(point: str, runs: Mapping[Run, Mapping[str, float]]) -> dict[str, float]:
    """How many seeds a point has, and mean and spread of each score over them."""
    own = [scores for (name, _), scores in runs.items() if name == point]
    result: dict[str, float] = {"seeds": len(own)}
    for name in own[0]:
        values = np.array([scores[name] for scores in own]) * (1 if name == LOSS else PERCENT)
        if not np.isfinite(values).all():
            raise ValueError(f"point {point} has a seed whose {name} is not finite: {values.tolist()}")
        result[f"{name}_mean"] = float(values.mean())
        result[f"{name}_std"] = float(values.std(ddof=1)) if len(own) > 1 else math.nan
    return result


def write(ranked: pd.DataFrame, path: str | Path) -> None:
    """Write what `rank` gives as CSV; spreads of single seeds are empty."""
    digits = {
        name: DECIMALS_LOSS if name.startswith(f"{LOSS}_") else DECIMALS
        for name in ranked
        if name.endswith(("_mean", "_std"))
    }
    with files.whole(path) as partial:
        ranked.round(digits).to_csv(partial, index=False, lineterminator="\n")


def chosen(path: str | Path) -> str:
    """Name of the best point of a file that `write` wrote."""
    table = pd.read_csv(path, dtype={"point": str})
    return str(table.loc[table["rank"] == 1, "point"].item())


def show(ranked: pd.DataFrame, by: str | None = None, top: int = 5) -> str:
    """The best points as lines for a terminal."""
    best = ranked.head(top)
    by = by or next(name for name in ranked if name.endswith("_mean")).removesuffix("_mean")
    width = best["point"].str.len().max()
    return "".join(
        f"{row['rank']:>3}  {row['point']:<{width}}  {by} {row[f'{by}_mean']:.2f} over {row['seeds']} seeds\n"
        for row in best.to_dict("records")
    )
