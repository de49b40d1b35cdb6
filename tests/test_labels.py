"""Label schemes: polarity by sign, emotions by name."""

import numpy as np
import pytest
import torch

from cmc.labels import Scheme, check_name, given

EMOTIONS = Scheme(("angry", "happy", "sad"))


def test_names_are_classes_in_their_order():
    assert EMOTIONS.numbers(np.array(["sad", "angry", "sad", "happy"], dtype=object)).tolist() == [2, 0, 2, 1]
    assert Scheme(has0="nonpositive_positive").numbers(np.array([-0.2, 0.0, 1.0])).tolist() == [0, 1, 2]


def test_a_label_without_a_class_is_named():
    with pytest.raises(ValueError, match=r"'bored' is no class \(2 of 3 such\); there are angry, happy, sad"):
        EMOTIONS.numbers(np.array(["sad", "bored", ""], dtype=object))


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_the_contrastive_loss_pulls_apart_two_sides_of_polarity_and_each_emotion(array):
    classes = array([0, 1, 2])
    assert Scheme(has0="nonpositive_positive").groups(classes).tolist() == [False, False, True]
    assert Scheme(has0="negative_nonnegative").groups(classes).tolist() == [False, True, True]
    assert EMOTIONS.groups(classes).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="has0 is None"):
        Scheme().groups(classes)


@pytest.mark.parametrize("scheme", [EMOTIONS, Scheme(has0="negative_nonnegative")])
def test_files_tell_a_scheme(scheme):
    assert Scheme.of(scheme.facts) == scheme


def test_which_labels_are_there():
    assert given(np.array([0.0, np.nan, -1.0])).tolist() == [True, False, True]
    assert given(np.array(["sad", ""], dtype=object)).tolist() == [True, False]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 41,
        "x,y",
        "a\nb",
        "_x",
        "missing",
        "class",
        "<b>",
        1,
        None,
        True,
        "0",
        "3",
        "True",
        "nan",
        "non0",
        "happy ",
    ],
)
def test_what_can_be_no_class(name):
    with pytest.raises(ValueError, match="can't be a class"):
        check_name(name)


@pytest.mark.parametrize("name", ["angry", "very sad", "快乐", "non-neutral", "Ärger_2", "खुशी"])
def test_what_can(name):
    check_name(name)
