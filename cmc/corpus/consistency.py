"""MSC and MSI: the clips whose text, audio and vision agree in class, and those where they don't.

Of a data set that lacks a modality, the labels of the others decide.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypedDict, get_args

import numpy as np
import pandas as pd

from cmc import LABELS, MODALITIES, files
from cmc.labels import POSITIVE, Scheme, given

Rule = Literal["three_class", "two_class", "same_class"]
POLARITY_RULES: tuple[Rule, ...] = ("three_class", "two_class")
SUBSETS = ("msc", "msi")
UNIMODAL = dict(zip(MODALITIES, (LABELS[letter] for letter in "TAV"), strict=True))


class Split(TypedDict):
    """Clips that agree (msc) and that don't (msi), how many are in neither, and why ("" if none)."""

    msc: list[str]
    msi: list[str]
    unlabelled: int
    reason: str


def subsets(*labels: np.ndarray, rule: Rule, scheme: Scheme = Scheme()) -> np.ndarray:  # noqa: B008
    """Whether the unimodal labels of each clip fall in one class.

    The paper doesn't print its rule. Both readings in use are offered: two_class calls negative beside
    neutral consistent, three_class doesn't.

    Parameters
    ----------
    *labels : (n,) float or str
        Annotated labels of text, audio and vision alone.
    rule : {"three_class", "two_class", "same_class"}
        Negative / neutral / positive, or non-positive / positive; or, of emotions by name, all names.
    scheme : Scheme
        Of the labels.

    Returns
    -------
    (n,) bool
        True where consistent (MSC), False where not (MSI).

    Raises
    ------
    ValueError
        If a label has no class, or the rule is unknown, or for labels of the other kind.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"consistency rule is {rule!r}; choose one of {', '.join(get_args(Rule))}")
    if scheme.polar != (rule in POLARITY_RULES):
        raise ValueError(f"consistency rule {rule} is not for these labels")
    classes = np.stack([scheme.numbers(one) for one in labels])  # (modality, n)
    if rule == "two_class":
        classes = classes == POSITIVE
    return (classes == classes[0]).all(axis=0)


def split(
    frame: pd.DataFrame,
    rule: Rule,
    modalities: Iterable[str] = MODALITIES,
    scheme: Scheme = Scheme(),  # noqa: B008
) -> Split:
    """Partition the clips that carry the unimodal label of every modality into MSC and MSI.

    A clip that lacks one is in neither subset: whether it agrees can't be known. It is
    counted in `unlabelled`. CMU-MOSI and CMU-MOSEI have no unimodal labels: both lists are empty.

    Parameters
    ----------
    frame : DataFrame
        One row a clip: clip_id (str), label_T, label_A, label_V (numbers, NaN if absent; or names, "" if absent).
    rule, scheme
        See `subsets`.
    modalities : iterable of str
        Those that the data set has.

    Returns
    -------
    Split
        Clips in the order of `frame`.

    Raises
    ------
    ValueError
        If a clip occurs twice or a label is infinite.
    """
    twice = frame["clip_id"][frame["clip_id"].duplicated()]
    if len(twice):
        raise ValueError(f"clip {twice.iloc[0]!r} occurs more than once; subsets need one row a clip")
    columns = [UNIMODAL[modality] for modality in modalities]
    there = np.stack([given(frame[column].to_numpy()) for column in columns])
    labelled = frame[there.all(axis=0)]
    consistent = subsets(*(labelled[column].to_numpy() for column in columns), rule=rule, scheme=scheme)
    unlabelled = len(frame) - len(labelled)
    return Split(
        msc=labelled["clip_id"][consistent].tolist(),
        msi=labelled["clip_id"][~consistent].tolist(),
        unlabelled=unlabelled,
        reason=_reason(unlabelled, len(frame)),
    )


def write(parts: Split, path: Path | str) -> None:
    """Write the subsets as CSV with columns clip_id, subset: MSC first, then MSI. Replaces `path` whole."""
    members = {"msc": parts["msc"], "msi": parts["msi"]}
    rows = [(clip, subset) for subset in SUBSETS for clip in members[subset]]
    with files.whole(path) as partial:
        pd.DataFrame(rows, columns=["clip_id", "subset"]).to_csv(partial, index=False, lineterminator="\n")


def read(path: Path | str) -> dict[str, list[str]]:
    """Read what `write` wrote: subset name to its clips, both lists empty where no clip has a subset.

    Raises
    ------
    ValueError
        If a subset is neither msc nor msi.
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)  # clip ids are text: 0001, NA
    unknown = set(frame["subset"]) - set(SUBSETS)
    if unknown:
        raise ValueError(f"{path}: unknown subset {sorted(unknown)[0]!r}; expected {' or '.join(SUBSETS)}")
    return {subset: frame["clip_id"][frame["subset"] == subset].tolist() for subset in SUBSETS}


def _reason(unlabelled: int, total: int) -> str:
    if not unlabelled:
        return ""
    if unlabelled == total:
        return "no clip has a label of each modality alone: MSC and MSI can't be told apart"
    return f"{unlabelled} of {total} clips lack a unimodal label and are in neither subset"
