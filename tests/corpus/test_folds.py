"""Folds: no group is divided, every clip is tested once."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmc.corpus import folds
from cmc.corpus.folds import FoldError

GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60)


@given(GROUPS, st.integers(3, 5))
def test_groups_stay_whole_and_folds_are_alike(groups, count):
    if len(set(groups)) < count:
        with pytest.raises(FoldError, match="make no"):
            folds.assign(groups, count)
        return
    assigned = folds.assign(groups, count)
    assert folds.numbers(assigned) == list(range(1, count + 1))
    assert all(
        len({fold for own, fold in zip(groups, assigned, strict=True) if own == group}) == 1
        for group in groups
    )
    sizes = Counter(assigned).values()
    assert max(sizes) - min(sizes) <= max(Counter(groups).values())


@given(GROUPS)
def test_each_clip_is_tested_once_and_never_in_two_splits(groups):
    if len(set(groups)) < 3:
        return
    assigned = folds.assign(groups)
    tested = Counter()
    for fold in folds.numbers(assigned):
        parts = {split: folds.members(assigned, split, fold) for split in ("train", "valid", "test")}
        assert all(sum(row) == 1 for row in zip(*parts.values(), strict=True))
        assert all(any(part) for part in parts.values())
        tested.update(place for place, member in enumerate(parts["test"]) if member)
    assert tested == Counter(range(len(groups)))


def test_the_order_of_clips_moves_no_group():
    groups = list("aabbbcdde")
    forward = dict(zip(groups, folds.assign(groups, 3), strict=True))
    assert dict(zip(groups[::-1], folds.assign(groups[::-1], 3), strict=True)) == forward
    assert folds.assign(["s2", "s1", "s3", "s1"]) == ["fold2", "fold1", "fold3", "fold1"]


def test_the_next_fold_validates():
    splits = ["fold1", "fold2", "fold3", "fold10"]
    assert folds.members(splits, "valid", 3) == [False, False, False, True]
    assert folds.members(splits, "valid", 10) == [True, False, False, False]
    assert folds.members(splits, "train", 10) == [False, True, True, False]


def test_splits_of_a_data_set_without_folds_are_its_own():
    assert folds.members(["train", "test"], "test") == [False, True] and folds.numbers(["train"]) == []
    with pytest.raises(FoldError, match="no fold 4; there are 1, 2, 3"):
        folds.members(["fold1", "fold2", "fold3"], "test", 4)
