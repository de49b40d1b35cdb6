import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cmc.labels import Scheme, binary, polarity
from cmc.metrics import METRICS, evaluate, evaluate_with_published_fault, names

GOLDEN = Path(__file__).parent / "golden"
RULES = ("nonpositive_positive", "negative_nonnegative")
SIMS, MOSI = (Scheme(has0=has0) for has0 in RULES)
PUBLISHED_NAMES = dict(
    zip(
        METRICS,
        ("Has0_acc_2", "Has0_F1_score", "Non0_acc_2", "Non0_F1_score", "Acc_3", "F1_score_3"),
        strict=True,
    )
)

# Five clips. Sides (negative against positive logit): - + + - +; classes: 0 2 1 0 2.
LOGITS = np.array([[2, 0, 1], [0, 1, 2], [0, 3, 1], [1, 0, 0], [0, 0, 1]])
LABELS = np.array([0, 1, 2, 2, 1])
quick = settings(max_examples=40, deadline=None)  # a shared machine may stall
CLASSES = arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 2))


def weighted_f1(*classes):
    """From (support, precision, recall) of each class."""
    total = sum(support for support, _, _ in classes)
    return sum(n * (2 * p * r / (p + r) if p + r else 0) for n, p, r in classes) / total


def test_polarity_is_the_sign():
    assert polarity([-1, -0.2, -0.0, 0, 1e-9, 3]).tolist() == [0, 0, 1, 1, 2, 2]
    assert polarity([]).tolist() == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_polarity_names_the_label_without_one(wrong):
    with pytest.raises(ValueError, match="index 2"):
        polarity([0, 1, wrong])


def test_neutral_clips_join_the_side_that_has0_says():
    assert binary([0, 1, 2], RULES[0]).tolist() == [0, 0, 1]
    assert binary([0, 1, 2], RULES[1]).tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match=r"'both'.*nonpositive_positive"):
        binary([0], "both")


def test_nonpositive_positive_by_hand():
    # truth - - + + -, said - + + - +
    result = evaluate(LOGITS, LABELS, SIMS)
    assert result["n"] == 5
    assert result["acc2"] == pytest.approx(2 / 5)
    assert result["f1"] == pytest.approx(weighted_f1((3, 1 / 2, 1 / 3), (2, 1 / 3, 1 / 2)))


def test_negative_nonnegative_by_hand():
    # truth - + + + +, said - + + - +
    result = evaluate(LOGITS, LABELS, MOSI)
    assert result["acc2"] == pytest.approx(4 / 5)
    assert result["f1"] == pytest.approx(weighted_f1((1, 1 / 2, 1), (4, 1, 3 / 4)))


@pytest.mark.parametrize("has0", RULES)
def test_non0_and_three_classes_by_hand(has0):
    result = evaluate(LOGITS, LABELS, Scheme(has0=has0))
    # Non0, truth - + +, said - + -
    assert result["acc2_non0"] == pytest.approx(2 / 3)
    assert result["f1_non0"] == pytest.approx(weighted_f1((1, 1 / 2, 1), (2, 1, 1 / 2)))
    # three classes, truth 0 1 2 2 1, said 0 2 1 0 2
    assert result["acc3"] == pytest.approx(1 / 5)
    assert result["f1_3"] == pytest.approx(weighted_f1((1, 1 / 2, 1), (2, 0, 0), (2, 0, 0)))


def test_the_neutral_logit_has_no_say_in_two_classes():
    loud = LOGITS + np.array([0, 100, 0])
    before, after = (evaluate(x, LABELS, SIMS) for x in (LOGITS, loud))
    assert {k: before[k] for k in METRICS[:4]} == {k: after[k] for k in METRICS[:4]}
    assert after["acc3"] == pytest.approx(2 / 5)


def test_no_clips_and_only_neutral_clips_give_nan():
    empty = evaluate(np.empty((0, 3)), np.empty(0, dtype=int), SIMS)
    assert empty["n"] == 0
    assert all(np.isnan(empty[name]) for name in METRICS)
    neutral = evaluate(LOGITS[:2], [1, 1], SIMS)
    assert np.isnan(neutral["acc2_non0"]) and np.isnan(neutral["f1_non0"])
    assert neutral["acc2"] == 1 / 2


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_names_its_row(wrong):
    logits = LOGITS.astype(float)
    logits[3, 1] = wrong
    with pytest.raises(ValueError, match="row 3"):
        evaluate(logits, LABELS, SIMS)


def test_what_is_no_class_or_has_another_shape_is_refused():
    with pytest.raises(ValueError, match="-1 of row 1"):
        evaluate(LOGITS[:2], [0, -1], SIMS)
    with pytest.raises(ValueError, match="shape"):
        evaluate(LOGITS, LABELS[:4], SIMS)
    with pytest.raises(ValueError, match="shape"):
        evaluate(LOGITS[:, :2], LABELS, SIMS)


@quick
@given(CLASSES, st.sampled_from(RULES))
def test_right_everywhere_is_one_everywhere(labels, has0):
    # the neutral logit is the largest on neutral clips, and has0's side the larger of the other two
    logits = 2.0 * np.eye(3)[labels]
    logits[labels == 1, 2 if has0 == "negative_nonnegative" else 0] = 1
    result = evaluate(logits, labels, Scheme(has0=has0))
    assert all(result[name] == 1 or np.isnan(result[name]) for name in METRICS)
    assert np.isnan(result["acc2_non0"]) == (labels == 1).all()


@quick
@given(CLASSES, st.integers(0, 2**32 - 1))
def test_negating_the_sentiment_swaps_the_two_rules(labels, seed):
    logits = np.random.default_rng(seed).normal(size=(len(labels), 3))
    upright = evaluate(logits, labels, SIMS)
    mirrored = evaluate(logits[:, ::-1], 2 - labels, MOSI)
    assert upright == pytest.approx(mirrored, nan_ok=True)


@quick
@given(CLASSES, st.integers(0, 2**32 - 1))
def test_the_order_of_clips_does_not_matter(labels, seed):
    generator = np.random.default_rng(seed)
    logits, order = generator.normal(size=(len(labels), 3)), generator.permutation(len(labels))
    first = evaluate(logits, labels, SIMS)
    assert first == pytest.approx(evaluate(logits[order], labels[order], SIMS), nan_ok=True)


@pytest.mark.parametrize(("published", "has0"), [("sims", RULES[0]), ("mosi", RULES[1])])
def test_ours_differs_from_the_published_only_in_non0(published, has0):
    inputs = np.load(GOLDEN / "metrics_inputs.npz")
    expected = json.loads((GOLDEN / "metrics.json").read_text())[published]
    ours = evaluate(inputs["logits"], inputs["labels"], Scheme(has0=has0))
    theirs = evaluate_with_published_fault(inputs["logits"], inputs["labels"], Scheme(has0=has0))
    differing = {name for name in METRICS if round(ours[name], 4) != expected[PUBLISHED_NAMES[name]]}
    assert differing == {"acc2_non0", "f1_non0"}
    assert {PUBLISHED_NAMES[name]: round(theirs[name], 4) for name in METRICS} == expected


def test_the_published_fault_never_credits_a_positive_clip():
    right = np.eye(3)[[0, 2, 2]]
    assert evaluate(right, [0, 2, 2], SIMS)["acc2_non0"] == 1
    assert evaluate_with_published_fault(right, [0, 2, 2], SIMS)["acc2_non0"] == 1 / 3


# emotions by name

EMOTIONS = Scheme(("angry", "happy", "neutral", "sad"))
TRUTH = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
SAID = [0, 0, 1, 1, 2, 2, 2, 2, 2, 0]  # nobody is sad, nor said to be


def test_emotions_by_hand():
    result = evaluate(np.eye(4)[SAID], TRUTH, EMOTIONS)
    assert set(result) == {"n", *names(EMOTIONS)}
    assert result["wa"] == 0.7
    assert result["uar"] == pytest.approx((2 / 3 + 1 / 2 + 4 / 5) / 3)
    f1 = {"angry": 2 * 2 / (3 + 3), "happy": 2 * 1 / (2 + 2), "neutral": 2 * 4 / (5 + 5)}
    assert {name: result[f"f1_{name}"] for name in f1} == pytest.approx(f1)
    assert np.isnan(result["f1_sad"])
    assert result["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
    assert result["weighted_f1"] == pytest.approx(
        (3 * f1["angry"] + 2 * f1["happy"] + 5 * f1["neutral"]) / 10
    )


def test_polarity_has_the_averages_over_classes_too():
    result = evaluate(np.eye(3)[[0, 2, 2, 2]], [0, 1, 2, 2], SIMS)
    assert result["uar"] == pytest.approx(2 / 3) and result["macro_f1"] == pytest.approx((1 + 0 + 4 / 5) / 3)


def test_a_class_that_is_said_and_nobody_has_scores_nothing():
    result = evaluate(np.eye(4)[[3, 0]], [0, 0], EMOTIONS)
    assert result["f1_sad"] == 0 and result["uar"] == 0.5


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_what_is_always_said_is_at_chance(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, 60)
    result = evaluate(
        np.eye(count)[np.full(60, labels[0])], labels, Scheme(tuple(f"c{i}" for i in range(count)))
    )
    assert result["uar"] == pytest.approx(1 / len(np.unique(labels)))
    assert result["wa"] == pytest.approx((labels == labels[0]).mean())


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_classes_in_another_order_score_the_same(count, seed):
    rng = np.random.default_rng(seed)
    order, labels, logits = rng.permutation(count), rng.integers(0, count, 30), rng.normal(size=(30, count))
    scheme = Scheme(tuple(f"c{i}" for i in range(count)))
    moved = Scheme(tuple(scheme.classes[i] for i in order))
    result = evaluate(logits[:, order], np.argsort(order)[labels], moved)
    assert result == pytest.approx(evaluate(logits, labels, scheme), nan_ok=True)


def test_no_clips_of_emotions_give_nan():
    empty = evaluate(np.empty((0, 4)), np.empty(0, dtype=int), EMOTIONS)
    assert empty.pop("n") == 0 and np.isnan(list(empty.values())).all()
