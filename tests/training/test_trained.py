"""A trained model, and clips that lack a modality."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import write_features

from cmc import MODALITIES
from cmc.training import dataset, finetune, pretrain
from cmc.training.trained import TrainedModel

MODEL = {"dim": 8, "layers": 1, "heads": 2}
HAS0 = "nonpositive_positive"


def trained(folder, **model):
    features = write_features(folder / "f.h5")
    pretrain.run(features, folder / "p.safetensors", model=MODEL, settings={"epochs": 2}, has0=HAS0, seed=1)
    settings = {"epochs": 2, "train_text_encoder": False}
    finetune.run(features, folder / "p.safetensors", folder / "m.safetensors", model=model, settings=settings)
    model, _, _ = TrainedModel.load(folder / "p.safetensors", folder / "m.safetensors")
    return model, dataset.load(features, "test")


def without(split, *modalities):
    return replace(split, features={m: r for m, r in split.features.items() if m not in modalities})


@pytest.mark.parametrize("model", [{}, {"top_k": 1}, {"router": "uniform"}, {"fusion": "sum"}])
def test_a_clip_without_a_modality_is_read_by_the_others(tmp_path, model):
    model, test = trained(tmp_path, **model)
    whole, part, one = (
        model.predict(split) for split in (test, without(test, "audio"), without(test, "audio", "vision"))
    )
    assert tuple(whole.router) == MODALITIES and tuple(part.router) == ("text", "vision")
    np.testing.assert_allclose(sum(part.router.values()), 1, atol=1e-6)
    assert np.array_equal(part.unimodal["text"], whole.unimodal["text"])
    assert np.isfinite(part.logits).all() and not np.array_equal(part.logits, whole.logits)
    # of one modality, fusion and router leave its own encoder and expert
    assert one.router["text"].tolist() == [1.0] * len(test)
    assert np.array_equal(one.logits, one.experts["text"])


def test_a_projection_of_all_modalities_needs_them_all(tmp_path):
    model, test = trained(tmp_path, fusion="concat")
    assert np.isfinite(model.predict(test).logits).all()
    with pytest.raises(ValueError, match="fusion: concat needs every modality"):
        model.predict(without(test, "vision"))
