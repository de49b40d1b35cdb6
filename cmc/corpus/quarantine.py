"""The quarantine: clips that can't be used, why, and how many are too many."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cmc import SPLITS, files
from cmc.corpus import folds
from cmc.corpus.manifest import LEFT_OUT, escaped

COLUMNS = ["clip_id", "stage", "reason"]
ROWS = ("manifest", "import")  # stages that refuse rows: each costs one, though a clip's other row be used
SHOWN = 10  # reasons in an error
LONGEST_ID = 600  # characters; two file names and the separator


class QuarantineError(Exception):
    """More clips than allowed can't be used."""


def write(refused: pd.DataFrame, path: str | Path) -> None:
    """Write the list as CSV, sorted by clip and stage."""
    refused = refused.assign(clip_id=refused["clip_id"].map(printable))
    with files.whole(path) as partial:
        refused.sort_values(COLUMNS, kind="stable").to_csv(partial, index=False, lineterminator="\n")


def printable(name: str) -> str:
    """An id as a list can hold it: line breaks and the like escaped, and no longer than a line."""
    shown = escaped(name)
    return shown if len(shown) <= LONGEST_ID else f"{shown[:LONGEST_ID]}..."


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote; every field is text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def check(refused: pd.DataFrame, used: Iterable[str], max_share: float, where: str | Path) -> None:
    """Raise QuarantineError if too many clips are lost.

    Parameters
    ----------
    refused : DataFrame
        Columns clip_id, stage, reason. Of two rows with one id the second is refused, and counts as a clip of
        its own; else a clip counts once, and not if it can be used nevertheless.
    used : iterable of str
        The clips that can be used.
    max_share : float
        Of all clips, in [0, 1], that may be lost.
    where : str or path
        Where each is listed, for the message.
    """
    used = set(used)
    rows = refused["stage"].isin(ROWS)
    lost = refused[rows | ~refused["clip_id"].isin(used) & (refused["stage"] != LEFT_OUT)]
    count = int(rows.sum()) + lost.loc[~rows, "clip_id"].nunique()
    total = len(used) + count
    if count > max_share * total:
        reasons = lost["reason"].value_counts().head(SHOWN)
        raise QuarantineError(
            f"{count} of {total} clips can't be used, more than the allowed share of {max_share:g}:\n"
            + "\n".join(f"{number:6} {reason}" for reason, number in reasons.items())
            + f"\nEach is listed in {where}. Mend the data, or raise quarantine.max_share in the config."
        )


def check_splits(filled: Iterable[str], where: str | Path) -> None:
    """Raise QuarantineError if a split is left without clips; of a data set in folds, others take its place."""
    have = set(filled)
    if not folds.numbers(have) and (empty := [split for split in SPLITS if split not in have]):
        raise QuarantineError(f"no usable clip in split {' or '.join(empty)}; see {where}")
