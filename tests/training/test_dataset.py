import numpy as np
import pytest
import torch
from synthetic import SPLITS, write_features

from cmc.features import store
from cmc.training import dataset


@pytest.fixture
def path(tmp_path):
    return write_features(tmp_path / "f.h5", missing_frames=True)


def test_batch_holds_the_rows_of_its_clips(path):
    split = dataset.load(path, "valid")
    with store.Reader(path) as reader:
        offsets = reader.offsets("audio")
        place = reader.table("clips")["clip_id"].tolist().index(split.clips["clip_id"][4])
        expected = reader.rows("audio", *offsets[place : place + 2]).values
    batch = split.batch(np.array([4, 0]))["audio"]
    np.testing.assert_array_equal(batch.values[: batch.lengths[0]].numpy(), expected)


def test_splits_are_whole_and_apart(path):
    loaded = {name: dataset.load(path, name) for name in SPLITS}
    assert {name: len(split) for name, split in loaded.items()} == SPLITS
    assert len(set().union(*(split.clips["clip_id"] for split in loaded.values()))) == sum(SPLITS.values())


def test_frames_without_a_face_take_no_part(path):
    masked = dataset.load(path, "train").features["vision"]
    with store.Reader(path) as reader:
        stored = np.diff(reader.offsets("vision"))[: SPLITS["train"]]
    assert masked.values.isfinite().all()
    assert (np.diff(masked.offsets) == stored - (stored > 3)).all()


def test_unmasked_padding_fills_every_clip(path):
    split = dataset.load(path, "train", mask_padding=False)
    for ragged in split.features.values():
        assert len(set(np.diff(ragged.offsets))) == 1 and ragged.values.isfinite().all()
    own = dataset.load(path, "train").features["audio"]
    length = own.offsets[1]
    padded = split.features["audio"].values
    assert (
        torch.equal(padded[:length], own.values[:length])
        and (padded[length : split.features["audio"].offsets[1]] == 0).all()
    )


def test_order_depends_on_seed_and_epoch_alone():
    order = np.concatenate(dataset.shuffled(10, 4, seed=1, epoch=2))
    assert sorted(order) == list(range(10))
    assert np.array_equal(order, np.concatenate(dataset.shuffled(10, 4, seed=1, epoch=2)))
    assert not np.array_equal(order, np.concatenate(dataset.shuffled(10, 4, seed=1, epoch=3)))
    assert not np.array_equal(order, np.concatenate(dataset.shuffled(10, 4, seed=2, epoch=2)))


def test_no_clip_is_left_alone_in_a_batch():
    assert [len(batch) for batch in dataset.shuffled(9, 4, seed=1, epoch=1)] == [4, 5]
    assert [len(batch) for batch in dataset.shuffled(1, 4, seed=1, epoch=1)] == [1]


def test_absent_labels_are_named(tmp_path):
    split = dataset.load(write_features(tmp_path / "f.h5", unimodal=False), "train")
    with pytest.raises(ValueError, match=r"v\$_\$0000 has no label_A"):
        split.classes("audio")
    with pytest.raises(ValueError, match="no clip in split dev"):
        dataset.load(tmp_path / "f.h5", "dev")
