"""Speech encoders: what their features follow, chunks, and what is refused."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from test_media import film, write_clip
from tiny_models import LAYERS, speech_encoder, text_encoder

from cmc import hub
from cmc.features.contract import Unusable
from cmc.features.extractors.hugging_face_speech import HuggingFaceSpeech

KINDS = ("wav2vec2", "hubert", "wavlm")
SAMPLE_RATE = 16000


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(speech_encoder(kind, folder / kind)) for kind in KINDS}


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE))).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-1, 1, 2])
def test_features_are_what_the_library_computes(encoders, kind, layer):
    wave = noise(2.0) + 0.05
    with HuggingFaceSpeech(encoders[kind], layer=layer) as extractor:
        found = extractor.of_wave(wave)
    prepared = transformers.AutoFeatureExtractor.from_pretrained(encoders[kind])(
        wave, sampling_rate=SAMPLE_RATE, return_tensors="pt"
    )
    model = hub.load(encoders[kind])
    with torch.no_grad():
        states = model(prepared["input_values"], output_hidden_states=True).hidden_states
    np.testing.assert_allclose(found, states[layer][0].numpy(), rtol=1e-3, atol=1e-3)
    assert found.std() > 0.1


def test_rows_lie_in_the_middle_of_what_they_hear(encoders, tmp_path):
    sound = np.zeros((1, 2 * 48000))
    sound[:, 48000] = 0.9
    path = write_clip(tmp_path / "a.wav", wave=sound, codecs=(None, "pcm_s16le"))
    with HuggingFaceSpeech(encoders["wav2vec2"], layer=1) as extractor:
        seen = []
        extractor._model.feature_extractor.register_forward_hook(
            lambda *call: seen.append(call[-1][0].numpy())
        )
        features = extractor.extract(path)
    times = features.times
    assert extractor.rate == 50 and np.allclose(np.diff(times), 0.02) and times[0] == 0.0125
    assert features.values.dtype == np.float16 and np.isfinite(features.values).all()
    silence = seen[0][:, :1]
    (hear,) = np.nonzero(np.abs(seen[0] - silence).max(axis=0) > 1e-3)
    assert (
        len(hear) and np.abs(times[hear] - 1.0).max() <= 0.0125 + 1e-3
    )  # resampling spreads the click a little


def test_a_clip_of_one_chunk_is_seen_whole_and_a_longer_one_nearly(encoders):
    wave = noise(20.0)
    values = {}
    for chunk in (4.0, 7.0, 20.0, 60.0):
        with HuggingFaceSpeech(encoders["wav2vec2"], chunk=chunk) as extractor:
            values[chunk] = extractor.of_wave(wave)
    assert np.array_equal(values[20.0], values[60.0])
    assert {len(found) for found in values.values()} == {999}
    for chunk in (4.0, 7.0):
        apart = np.abs(values[chunk].astype(float) - values[60.0]).mean()
        assert 0 < apart < 0.1 * values[60.0].astype(float).std()


def test_memory_does_not_grow_with_the_clip_beyond_wave_and_rows(encoders):
    with HuggingFaceSpeech(encoders["hubert"], chunk=5.0) as extractor:
        extractor.of_wave(noise(1.0))
        wave = noise(300.0)
        tracemalloc.start()
        values = extractor.of_wave(wave)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(values) == 14999 and peak < wave.nbytes + 2 * values.nbytes


@pytest.mark.parametrize("samples", [1, 399])
def test_less_than_a_frame_is_unusable(encoders, samples):
    with HuggingFaceSpeech(encoders["wavlm"]) as extractor:
        with pytest.raises(Unusable, match=r"ms of sound; a frame takes 25 ms"):
            extractor.of_wave(noise(1.0)[:samples])
        assert extractor.of_wave(noise(1.0)[:400]).shape == (1, 16)


def test_silence_is_finite_and_no_sound_is_unusable(encoders, tmp_path):
    with HuggingFaceSpeech(encoders["wav2vec2"]) as extractor:
        assert np.isfinite(extractor.of_wave(np.zeros(SAMPLE_RATE, np.float32))).all()
        with pytest.raises(Unusable, match="no audio track"):
            extractor.extract(write_clip(tmp_path / "a.mp4", film()))


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_as_the_hub_has_them(tmp_path, kind):
    folder = speech_encoder(kind, tmp_path / kind)
    expected = hub.load(str(folder)).state_dict()
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {"lm_head.weight": torch.zeros(3, 16)}  # of a model trained for another task
    for name, tensor in load_file(folder / "model.safetensors").items():
        for new, old in older.items():
            name = name.replace(new, old)
        weights[f"{kind}.{name}"] = tensor
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    found = hub.load(str(folder)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_settings_name_the_encoder_and_its_weights(encoders):
    with HuggingFaceSpeech(encoders["hubert"], layer=2) as extractor:
        assert extractor.settings["encoder"] == encoders["hubert"] and extractor.settings["layer"] == 2
        assert len(extractor.settings["model_sha256"]) == 64
    with pytest.raises(ValueError, match=rf"layer is 9; .* has {LAYERS}"):
        HuggingFaceSpeech(encoders["hubert"], layer=9)


def test_other_kinds_are_refused(tmp_path):
    bert = text_encoder("bert", tmp_path / "bert")
    with pytest.raises(FileNotFoundError, match=r"lacks preprocessor_config\.json"):
        HuggingFaceSpeech(str(bert))
    reader = {"sampling_rate": 16000}
    (bert / "preprocessor_config.json").write_text(json.dumps(reader))
    with pytest.raises(ValueError, match="kind bert, which takes no wave"):
        HuggingFaceSpeech(str(bert))
    (bert / "preprocessor_config.json").write_text(json.dumps(reader | {"sampling_rate": 8000}))
    with pytest.raises(ValueError, match="8000 Hz"):
        HuggingFaceSpeech(str(bert))
    with pytest.raises(FileNotFoundError, match="hf download"):
        HuggingFaceSpeech("nobody-here/no-such-encoder")
