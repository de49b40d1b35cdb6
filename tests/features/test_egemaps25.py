"""openSMILE's 25 descriptors: what they follow, and what is said where it is not installed."""

import sys

import numpy as np
import pytest
from test_media import film, tone, write_clip

from cmc.features import extractors
from cmc.features.contract import Unusable

SAMPLE_RATE = 16000


def test_what_is_said_without_opensmile(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.delitem(sys.modules, "cmc.features.extractors.egemaps25", raising=False)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[opensmile\]".*licence.*research'):
        extractors.make("audio", "egemaps25")


@pytest.fixture
def extractor():
    pytest.importorskip("opensmile", reason="an optional extra")
    with extractors.make("audio", "egemaps25") as extractor:
        yield extractor


def test_a_tone_is_heard_at_its_time_and_pitch(extractor, tmp_path):
    voice = sum(tone(220 * k, 1.0)[0] / k for k in (1, 2, 3, 4))[None] / 2
    path = write_clip(tmp_path / "a.mp4", wave=np.concatenate([np.zeros((1, 48000)), voice], axis=1))
    features = extractor.extract(path)
    assert features.values.shape[1] == len(extractor.columns) == 25
    assert features.values.dtype == np.float32 and np.isfinite(features.values).all()
    assert np.allclose(np.diff(features.times), 0.01) and features.times[0] == pytest.approx(0.01)
    assert extractor.rate == pytest.approx(100) and len(features.times) == pytest.approx(196, abs=4)
    column = dict(zip(extractor.columns, features.values.T, strict=True))
    loud = column["Loudness_sma3"]
    assert features.times[np.argmax(loud > loud.max() / 2)] == pytest.approx(1.0, abs=0.04)
    pitch = column["F0semitoneFrom27.5Hz_sma3nz"]
    assert np.median(pitch[features.times > 1.2][:-10]) == pytest.approx(
        36, abs=0.3
    )  # three octaves above 27.5 Hz
    assert (pitch[(features.times > 0.1) & (features.times < 0.9)] == 0).all()


def test_the_same_sound_gives_the_same_bytes(extractor):
    wave = (0.1 * np.random.default_rng(0).normal(size=SAMPLE_RATE)).astype(np.float32)
    assert extractor.of_wave(wave).tobytes() == extractor.of_wave(wave).tobytes()


def test_short_sound_and_none(extractor, tmp_path):
    with pytest.raises(Unusable, match="50 ms of sound"):
        extractor.of_wave(np.zeros(800, np.float32))
    assert np.isfinite(extractor.of_wave(np.zeros(960, np.float32))).all()
    with pytest.raises(Unusable, match="no audio track"):
        extractor.extract(write_clip(tmp_path / "a.mp4", film()))
