"""What is said of an encoder before any job, from its files alone."""

import importlib.metadata
import json
import re

import pytest
import sentencepiece
import transformers
from tiny_models import BERT, SENTENCES, SMALL, save, speech_encoder, text_encoder

from cmc import hub


@pytest.fixture
def encoder(tmp_path):
    return text_encoder("bert", tmp_path / "bert")


def changed(folder, **values):
    """The folder, its config.json changed; None takes a key out."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "albert", "deberta-v2"])
def test_good_encoders_have_no_problem_and_their_width_is_known(tmp_path, kind):
    folder = str(text_encoder(kind, tmp_path / kind))
    assert hub.problem(folder) is None
    facts = hub.facts(folder)
    assert (hub.width(folder), hub.vocabulary(folder)) == (facts["width"], facts["vocabulary"])


def test_a_speech_encoder_has_no_problem(tmp_path):
    folder = str(speech_encoder("wav2vec2", tmp_path / "speech"))
    assert hub.problem(folder) is None and hub.width(folder) == SMALL["hidden_size"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"model_type": None},
            r'bert/config\.json has no "model_type".* Add the line "model_type": "bert", ',
        ),
        ({"is_encoder_decoder": True}, "has a decoder too: give a mere encoder"),
        ({"model_type": "t5"}, r"\(t5\) has a decoder too"),
    ],
)
def test_configurations_that_will_not_do(encoder, values, problem):
    assert re.search(problem, hub.problem(changed(encoder, **values)))


def test_the_way_out_of_a_missing_model_type_works(encoder):
    """transformers refuses the folder, and takes it with the line that the message says."""
    folder = changed(encoder, model_type=None)
    with pytest.raises(ValueError, match="model_type"):
        hub.load(folder)
    (encoder / "config.json").write_text(
        (encoder / "config.json").read_text().replace("{", '{\n"model_type": "bert",', 1)
    )
    assert hub.problem(folder) is None
    hub.load(folder)


@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        ("config.json", "lacks config.json"),
        ("model.safetensors", "lacks model"),
        ("tokenizer.json", "lacks tokenizer.json"),
    ],
)
def test_a_file_that_is_missing_is_named(encoder, lacking, problem):
    (encoder / lacking).unlink()
    assert problem in hub.problem(str(encoder))


def test_files_that_are_no_models(encoder):
    index, parts = encoder / "model.safetensors.index.json", ("model-1.safetensors", "model-2.safetensors")
    index.write_text(json.dumps({"weight_map": dict(zip("ab", parts, strict=True))}))
    assert hub.problem(str(encoder)) is None  # weights in one file count first
    (encoder / "model.safetensors").rename(encoder / parts[0])
    assert f"lacks {parts[1]}, which {index.name} names" in hub.problem(str(encoder))
    (encoder / parts[0]).rename(encoder / "model.safetensors")
    (encoder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "git lfs pull" in hub.problem(str(encoder))
    (encoder / "config.json").write_text("[]")
    assert "config.json is no JSON" in hub.problem(str(encoder))


def test_a_name_that_is_not_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "hf download" in hub.problem("nobody/nothing-of-that-name")


# ------------------------------------------------------------------------------------------ SentencePiece


@pytest.fixture
def sentence_pieces(tmp_path):
    """A DeBERTa as DeBERTa-v3 is given out: its tokenizer is a SentencePiece model and no tokenizer.json."""
    folder = tmp_path / "deberta"
    config = transformers.AutoConfig.for_model(
        "deberta-v2", vocab_size=60, max_position_embeddings=40, **SMALL
    )
    save(config, folder)
    special = dict(zip(("pad", "unk", "bos", "eos"), BERT.values(), strict=True))
    (folder / "sentences.tmp").write_text("\n".join(SENTENCES * 5))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "sentences.tmp"),
        model_prefix=str(folder / "spm"),
        vocab_size=43,
        minloglevel=2,
        **{f"{name}_id": i for i, name in enumerate(("pad", "bos", "eos", "unk"))},
        **{f"{name}_piece": piece for name, piece in special.items()},
    )
    (folder / "sentences.tmp").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    return folder


def test_a_tokenizer_that_is_a_sentencepiece_model_is_read(sentence_pieces):
    assert hub.problem(str(sentence_pieces)) is None
    facts = hub.facts(str(sentence_pieces))
    assert (facts["width"], facts["cls"], facts["sep"]) == (SMALL["hidden_size"], 1, 2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(sentence_pieces, **hub.OPTIONS)
    original = sentencepiece.SentencePieceProcessor(model_file=str(sentence_pieces / "spm.model"))
    for sentence in ("I really love it, every bit of it.", "The train leaves at nine."):
        assert tokenizer(sentence)["input_ids"] == [1, *original.encode(sentence), 2]


def test_what_it_needs_is_told_where_it_is_not_installed(sentence_pieces, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    problem = hub.problem(str(sentence_pieces))
    assert "spm.model without a tokenizer.json" in problem
    assert problem.endswith("pip install sentencepiece protobuf")
    (sentence_pieces / "tokenizer.json").touch()
    assert hub.problem(str(sentence_pieces)) is None


@pytest.mark.parametrize(
    ("features", "largest", "reason"),
    [
        (768, 99, None),
        (1024, 99, "have 1024 dimensions, those of x 768: set text_encoder"),
        (768, 100, "token id 100, but x knows 100"),
    ],
)
def test_what_can_be_finetuned(features, largest, reason):
    found = hub.unfit("x", 768, 100, features, largest)
    assert found is None if reason is None else reason in found
