import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmc.corpus import consistency
from cmc.labels import Scheme

LABEL = st.sampled_from([-1.0, -0.2, 0.0, 0.4, 1.0])
TRIPLES = st.lists(st.tuples(LABEL, LABEL, LABEL), max_size=20)
TRIPLES_WITH_GAPS = st.lists(st.tuples(*[LABEL | st.just(np.nan)] * 3), max_size=20)
RULES = st.sampled_from(["three_class", "two_class"])

quick = settings(max_examples=40, deadline=None)  # a shared machine may stall


def frame(triples, clips=None):
    clips = clips or [f"{i:04d}" for i in range(len(triples))]
    labels = np.array(triples, dtype=float).reshape(-1, 3)
    return pd.DataFrame(
        {"clip_id": clips, "label_T": labels[:, 0], "label_A": labels[:, 1], "label_V": labels[:, 2]}
    )


def test_the_two_rules_part_at_neutral_beside_negative():
    T, A, V = np.array([[1, 0.2, 0.6], [-1, -0.4, -1], [-1, 0, -0.2], [1, 0, 1], [0, 0, 0], [-1, -1, 1]]).T
    assert consistency.subsets(T, A, V, rule="three_class").tolist() == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert consistency.subsets(T, A, V, rule="two_class").tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize("odd", range(3))
def test_any_one_modality_can_disagree(odd):
    labels = [[0.5], [0.5], [0.5]]
    labels[odd] = [-0.5]
    assert not consistency.subsets(*labels, rule="three_class")[0]
    assert not consistency.subsets(*labels, rule="two_class")[0]


def test_an_unknown_rule_or_a_missing_label_is_refused():
    with pytest.raises(ValueError, match=r"'four_class'.*three_class"):
        consistency.subsets([1], [1], [1], rule="four_class")
    with pytest.raises(ValueError, match="index 0"):
        consistency.subsets([1], [np.nan], [1], rule="two_class")


@quick
@given(TRIPLES_WITH_GAPS, RULES)
def test_msc_and_msi_partition_the_labelled_clips(triples, rule):
    clips = frame(triples)
    parts = consistency.split(clips, rule)
    labelled = clips["clip_id"][clips[["label_T", "label_A", "label_V"]].notna().all(axis=1)].tolist()
    assert sorted(parts["msc"] + parts["msi"]) == labelled
    assert parts["unlabelled"] == len(triples) - len(labelled)
    assert bool(parts["reason"]) == bool(parts["unlabelled"])


@quick
@given(TRIPLES)
def test_what_agrees_in_three_classes_agrees_in_two(triples):
    three, two = (consistency.split(frame(triples), rule) for rule in ("three_class", "two_class"))
    assert set(three["msc"]) <= set(two["msc"])


@quick
@given(TRIPLES, RULES, st.permutations(range(3)))
def test_modalities_are_alike(triples, rule, order):
    shuffled = [tuple(triple[k] for k in order) for triple in triples]
    assert consistency.split(frame(triples), rule) == consistency.split(frame(shuffled), rule)


def test_no_unimodal_labels_leave_both_empty_with_a_reason():
    parts = consistency.split(frame([[np.nan] * 3] * 2), "three_class")
    assert parts["msc"] == parts["msi"] == []
    assert parts["unlabelled"] == 2
    assert "no clip" in parts["reason"]


def test_a_clip_that_lacks_one_label_is_in_neither_and_counted():
    parts = consistency.split(frame([[1, np.nan, 1], [1, 1, 1], [1, -1, 1]]), "three_class")
    assert (parts["msc"], parts["msi"], parts["unlabelled"]) == (["0001"], ["0002"], 1)
    assert parts["reason"].startswith("1 of 3 clips")


def test_a_clip_that_comes_twice_is_named():
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        consistency.split(frame([[1, 1, 1]] * 2, ["a", "a"]), "three_class")


def test_written_subsets_come_back_with_ids_as_text(tmp_path):
    clips = frame([[1, 1, 1], [-1, 1, 1], [0, 0, 0], [1, 0, 0]], ["0001", "NA", 'a,"b"', "video_0001$_$0002"])
    parts = consistency.split(clips, "three_class")
    consistency.write(parts, tmp_path / "consistency.csv")
    assert consistency.read(tmp_path / "consistency.csv") == {
        "msc": ["0001", 'a,"b"'],
        "msi": ["NA", "video_0001$_$0002"],
    }
    assert (tmp_path / "consistency.csv").read_text().splitlines()[:2] == ["clip_id,subset", "0001,msc"]
    assert [path.name for path in tmp_path.iterdir()] == ["consistency.csv"]


def test_no_subsets_are_a_header_alone(tmp_path):
    consistency.write(consistency.split(frame([[np.nan] * 3]), "three_class"), tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_bytes() == b"clip_id,subset\n"
    assert consistency.read(tmp_path / "c.csv") == {"msc": [], "msi": []}


def test_an_unknown_subset_is_refused(tmp_path):
    (tmp_path / "c.csv").write_text("clip_id,subset\na,mcs\n")
    with pytest.raises(ValueError, match="'mcs'"):
        consistency.read(tmp_path / "c.csv")


def test_of_two_modalities_their_labels_decide():
    clips = frame([[1, 0.5, np.nan], [-1, 1, -1], [np.nan, 1, 1]])
    parts = consistency.split(clips, "three_class", ("text", "audio"))
    assert (parts["msc"], parts["msi"], parts["unlabelled"]) == (
        [clips["clip_id"][0]],
        [clips["clip_id"][1]],
        1,
    )


def test_emotions_agree_if_all_name_the_same():
    scheme = Scheme(("angry", "happy"))
    labels = {"T": ["angry", "angry", ""], "A": ["angry", "happy", "happy"], "V": ["angry"] * 3}
    clips = pd.DataFrame({"clip_id": list("abc"), **{f"label_{k}": own for k, own in labels.items()}})
    parts = consistency.split(clips, "same_class", scheme=scheme)
    assert parts["msc"] == ["a"] and parts["msi"] == ["b"] and parts["unlabelled"] == 1
    with pytest.raises(ValueError, match="three_class is not for these labels"):
        consistency.split(clips, "three_class", scheme=scheme)
