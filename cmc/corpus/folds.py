"""Folds: a data set divided so that every clip is tested once, by a model that never saw its speaker."""

from collections import Counter
from collections.abc import Iterable, Sequence

PREFIX = "fold"  # of a clip's split: fold1, fold2, ...
FEWEST = 3  # one to test, one to validate, one to train


class FoldError(Exception):
    """A data set that can't be divided; the message says why."""


def assign(groups: Sequence[str], count: int | None = None) -> list[str]:
    """The fold of each clip, as its split: fold1, fold2, ...

    Parameters
    ----------
    groups : sequence of str
        What is never divided, for each clip: its speaker, or session.
    count : int, optional
        Folds. None: each group is a fold of its own, in the order of their names.

    Returns
    -------
    list of str
        The largest groups go first, each to the fold that has the fewest clips: of the same clips, the same folds.

    Raises
    ------
    FoldError
        There are fewer groups than folds, or fewer than three folds.
    """
    sizes = Counter(groups)
    wanted = len(sizes) if count is None else count
    if wanted < FEWEST or len(sizes) < wanted:
        raise FoldError(
            f"{len(sizes)} groups make no {wanted} folds: it takes at least {FEWEST}, to train, to validate and"
            " to test, and no more than there are groups"
        )
    place: dict[str, int] = {}
    if count is None:
        place = {group: number for number, group in enumerate(sorted(sizes), start=1)}
    else:
        filled = dict.fromkeys(range(1, count + 1), 0)
        for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
            place[group] = min(filled, key=lambda number: (filled[number], number))
            filled[place[group]] += sizes[group]
    return [f"{PREFIX}{place[group]}" for group in groups]


def numbers(splits: Iterable[str]) -> list[int]:
    """The numbers of all folds that clips are in; none of a data set with splits of its own."""
    return sorted(int(name.removeprefix(PREFIX)) for name in set(splits) if name.startswith(PREFIX))


def members(splits: Sequence[str], split: str, fold: int | None = None) -> list[bool]:
    """Which clips are in a split.

    Parameters
    ----------
    splits : sequence of str
        Of each clip: train, valid or test; or its fold.
    split : {'train', 'valid', 'test'}
    fold : int, optional
        Of a data set in folds: the one that is tested. The next one validates, the first after the last; the
        others train.
    """
    if fold is None:
        return [name == split for name in splits]
    known = numbers(splits)
    if fold not in known:
        raise FoldError(
            f"there is no fold {fold}; there are {', '.join(map(str, known)) or 'none'}. If all of its clips are"
            " in quarantine (quarantine.csv), take them out of the label file, so that folds are made anew"
        )
    tests = f"{PREFIX}{fold}"
    validates = f"{PREFIX}{known[(known.index(fold) + 1) % len(known)]}"
    if split == "train":
        return [name not in (tests, validates) for name in splits]
    return [name == {"test": tests, "valid": validates}[split] for name in splits]
