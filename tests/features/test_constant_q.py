"""Chroma and whole features against librosa's own, of short and long sound."""

import warnings

import librosa
import numpy as np
import pytest
from test_media import tone, write_clip

from cmc.features import media
from cmc.features.extractors import chsims33 as audio
from cmc.features.extractors import constant_q, quality
from cmc.features.extractors.chsims33 import ChSims33

RATE = 22050


def sound(seconds, seed=0):
    """Notes of changing pitch and loudness in noise, (samples,), float32."""
    rng = np.random.default_rng(seed)
    notes = [tone(rng.uniform(60, 1500), 0.5, RATE)[0] * rng.uniform(0, 1) for _ in range(round(2 * seconds))]
    return (np.concatenate(notes) + rng.normal(0, 0.01, round(seconds * RATE))).astype(np.float32)


def by_librosa(wave):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            librosa.feature.zero_crossing_rate(wave, hop_length=512),
            librosa.feature.mfcc(y=wave, sr=RATE, htk=True, hop_length=512),
            librosa.feature.chroma_cqt(y=wave, sr=RATE, hop_length=512),
        ]
    return np.vstack(parts).T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sample_rate, hop", [(22050, 512), (16000, 256)])
def test_chroma_is_librosas(seed, sample_rate, hop):
    wave = sound(3.0, seed)
    tuning = librosa.estimate_tuning(y=wave, sr=sample_rate, bins_per_octave=constant_q.PER_OCTAVE)
    expected = librosa.feature.chroma_cqt(y=wave, sr=sample_rate, hop_length=hop, tuning=tuning)
    found = constant_q.chroma(wave, sample_rate, hop, tuning)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 2e-5


def test_a_hop_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="hop is 100: it must be a multiple of 64"):
        constant_q.chroma(sound(1.0), RATE, 100, 0.0)


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_features_are_librosas(seconds):
    wave = sound(seconds)
    assert np.abs(ChSims33().of_wave(wave) - by_librosa(wave)).max() < 1e-4


def test_long_sound_in_blocks_is_the_same(monkeypatch):
    wave = sound(31.0)
    expected = by_librosa(wave)
    for block in (5.0, 10.0):
        monkeypatch.setattr(audio, "BLOCK", block)
        found = ChSims33().of_wave(wave)
        assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-3


def test_digital_silence_has_no_chroma_in_blocks_or_whole(monkeypatch):
    wave = sound(31.0)
    wave[8 * RATE : 23 * RATE] = 0
    chroma = ChSims33().of_wave(wave)[:, 21:]
    silent = slice(round(10.5 * RATE / 512), round(20.5 * RATE / 512))  # beyond the longest filter's reach
    assert (chroma[silent] == 0).all() and (chroma[: 7 * RATE // 512].max(axis=1) == 1).all()
    monkeypatch.setattr(audio, "BLOCK", 5.0)
    assert np.abs(ChSims33().of_wave(wave)[:, 21:] - chroma).max() < 1e-2


def test_the_quietest_noise_of_16_bits_has_a_chroma():
    wave = np.random.default_rng(0).integers(-1, 2, 3 * RATE).astype(np.float32) / 2**15
    expected = librosa.feature.chroma_cqt(y=wave, sr=RATE, hop_length=512, tuning=0.0)
    found = constant_q.chroma(wave, RATE, 512, 0.0)
    assert (found.max(axis=0) == 1).all() and np.abs(found - expected).max() < 1e-3


def test_sound_too_long_to_keep_is_decoded_twice(tmp_path, monkeypatch):
    path = write_clip(
        tmp_path / "a.wav", wave=sound(12.0)[np.newaxis], sample_rate=RATE, codecs=(None, "pcm_s16le")
    )
    extractor = ChSims33()
    expected = extractor.extract(path)
    opened, whole = [], media.sound
    monkeypatch.setattr(media, "sound", lambda *a: opened.append(a) or whole(*a))
    extractor.extract(path)
    assert len(opened) == 1
    monkeypatch.setattr(audio, "KEPT", 3.0)
    found = extractor.extract(path)
    assert len(opened) == 3 and found.values.tobytes() == expected.values.tobytes()
    assert found.quality == expected.quality


def test_filters_are_built_once():
    constant_q.top_octave.cache_clear()
    extractor = ChSims33()
    for _ in range(3):
        extractor.of_wave(tone(440, 1.0, RATE)[0].astype(np.float32))
    assert constant_q.top_octave.cache_info().misses == 1


def test_figures_of_quality():
    speech = sum(tone(120 * k, 2.0, RATE)[0] / k for k in (1, 2, 3)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    silence = np.zeros(2 * RATE, np.float32)
    clipped = np.clip(3 * speech, -1, 1)
    found = quality.of_sound(np.concatenate([0.4 * speech, noise, silence, clipped]), RATE)
    assert found["seconds"] == 8
    assert found["voiced"] == pytest.approx(0.5, abs=0.03)
    assert found["silence"] == pytest.approx(0.25, abs=0.02)
    assert (
        found["clipping"] == pytest.approx((np.abs(clipped) >= 0.99).mean() / 4, abs=0.01)
        and found["clipping"] > 0.05
    )


def test_figures_do_not_depend_on_the_pieces():
    wave = sound(5.0)
    whole, parts = quality.of_sound(wave, RATE), quality.Sound(RATE)
    for piece in np.split(wave, np.sort(np.random.default_rng(0).integers(0, len(wave), 50))):
        parts.add(piece)
    assert parts.figures() == whole
    assert quality.of_sound(wave[:100], RATE) == {"seconds": 100 / RATE}
    assert quality.of_sound(wave[:0], RATE) == {"seconds": 0.0}
