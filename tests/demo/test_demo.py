import csv
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import av
import mediapipe as mp
import numpy as np
import pytest
from mediapipe.tasks.python import BaseOptions, vision

import cmc
from cmc.demo import corpus, face, film, speech
from cmc.demo.sentences import STEPS, sentence

LANDMARKER = Path(cmc.__file__).parent / "features" / "extractors" / "face_landmarker.task"
UPPER_LIP, LOWER_LIP = 13, 14  # MediaPipe's inner lip landmarks


def sign(label: float) -> int:
    return (label > 0) - (label < 0)


@pytest.fixture(scope="module")
def landmarker():
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(LANDMARKER)), output_face_blendshapes=True
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        yield landmarker


@pytest.fixture(scope="module")
def neutral_clip() -> corpus.Clip:
    return next(clip for clip in corpus.plan() if clip.label_V == 0 and clip.label_A > 0)


@pytest.fixture(scope="module")
def rendered(neutral_clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demo") / f"{neutral_clip.clip_id}.mp4"
    corpus.render(neutral_clip, path)
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def detect(landmarker, rgb: np.ndarray):
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
    return landmarker.detect(image)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_plan_is_the_promised_corpus(seed):
    clips = corpus.plan(seed=seed)
    assert len({(c.video_id, c.clip_id) for c in clips}) == len(clips) == 24 * 9
    assert (clips[0].video_id, clips[0].clip_id) == ("video_0001", "0001")

    mode_of = {c.video_id: c.mode for c in clips}
    assert {(c.video_id, c.mode) for c in clips} == set(mode_of.items()), "a speaker crosses splits"
    assert Counter(mode_of.values()) == {"train": 14, "valid": 4, "test": 6}

    inconsistent = sum(len({sign(c.label_T), sign(c.label_A), sign(c.label_V)}) > 1 for c in clips)
    assert 0.4 < inconsistent / len(clips) < 0.6
    for mode in ("train", "valid", "test"):
        annotations = Counter(c.annotation for c in clips if c.mode == mode)
        assert 0.4 <= annotations["Positive"] / annotations.total() <= 0.6
        assert min(annotations["Negative"], annotations["Neutral"]) >= 0.1 * annotations.total()


def test_labels_follow_the_rule():
    for clip in corpus.plan():
        for label in (clip.label, clip.label_T, clip.label_A, clip.label_V):
            assert -1 <= label <= 1 and label == round(label * STEPS) / STEPS
            assert str(label) != "-0.0"
        mean = 0.5 * clip.label_T + 0.3 * clip.label_V + 0.2 * clip.label_A
        assert abs(clip.label - mean) <= 0.1 + corpus.NOISE + 1e-9
        assert clip.annotation == {-1: "Negative", 0: "Neutral", 1: "Positive"}[sign(clip.label)]


def test_plan_depends_on_its_seed_alone():
    assert corpus.plan(seed=3) == corpus.plan(seed=3)
    assert corpus.plan(seed=3) != corpus.plan(seed=4)


@pytest.mark.parametrize("speakers", [3, 4, 7, 30])
def test_every_split_has_a_speaker(speakers):
    clips = corpus.plan(speakers=speakers, clips=2)
    assert len(clips) == 2 * speakers
    assert {clip.mode for clip in clips} == {"train", "valid", "test"}


def test_too_few_speakers_are_refused():
    with pytest.raises(ValueError, match="2 speakers"):
        corpus.plan(speakers=2)


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; import cmc.demo.corpus as corpus; corpus.plan();"
        "print({'numpy', 'cv2', 'av', 'espeakng_loader'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_sentences_seldom_recur_and_fit_a_clip():
    clips = corpus.plan()
    assert len({clip.text for clip in clips}) > 0.95 * len(clips)
    train = {clip.text for clip in clips if clip.mode == "train"}
    assert sum(clip.text in train for clip in clips if clip.mode == "test") <= 2
    rng = Random(0)
    for step in range(-STEPS, STEPS + 1):
        drawn = [sentence(step / STEPS, rng) for _ in range(200)]
        assert all(5 <= len(text.split()) <= 11 for text in drawn), step
        assert len(set(drawn)) > 150, step


def test_labels_file_keeps_leading_zeros(tmp_path):
    clips = corpus.plan(speakers=3, clips=2)
    corpus.write_labels(clips, tmp_path / "label.csv")
    with (tmp_path / "label.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == "video_id clip_id text label label_T label_A label_V annotation mode".split()
    assert [row[0] for row in rows[::2]] == ["video_0001", "video_0002", "video_0003"]
    assert [row[1] for row in rows[:2]] == ["0001", "0002"]
    assert [float(row[3]) for row in rows] == [clip.label for clip in clips]


def test_rendered_clip_is_what_was_promised(rendered):
    with av.open(str(rendered)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 320, 240)
        assert (video.average_rate, video.pix_fmt) == (25, "yuv420p")
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 22050, 1)
    seconds = len(pictures(rendered)) / 25
    assert 2 <= seconds <= 4
    assert 0 <= len(sound(rendered)) - seconds * 22050 < 1024  # AAC fills its last packet, and no more
    assert np.abs(sound(rendered)).max() > 0.1


def test_mouth_follows_sound_on_film(rendered, landmarker):
    frames = pictures(rendered)
    samples = sound(rendered)[: len(frames) * film.SAMPLES_PER_FRAME].reshape(len(frames), -1)
    loudness = np.sqrt(np.square(samples).mean(axis=1))
    gaps = []
    for frame in frames:
        points = detect(landmarker, frame).face_landmarks[0]
        gaps.append(points[LOWER_LIP].y - points[UPPER_LIP].y)
    assert np.corrcoef(gaps, loudness)[0, 1] > 0.8


def test_loud_and_quiet_voices_open_the_mouth_alike():
    sentence = speech.speak("The dinner was lovely today.", 0, speech.voice_of(5), longest=3)
    loud, quiet = (film.mouth_opening(film.record(gain * sentence, seed=1)) for gain in (1, 0.4))
    assert loud.min() >= 0 and loud.max() == 1
    np.testing.assert_allclose(loud, quiet, atol=0.05)


def test_same_clip_same_bytes_whatever_came_before(rendered, neutral_clip, tmp_path):
    other = replace(neutral_clip, text="We were here before.", speaker_seed=1, seed=2)
    corpus.render_video([replace(other, clip_id="0001"), replace(neutral_clip, clip_id="0002")], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001.mp4", "0002.mp4"]
    assert (tmp_path / "0002.mp4").read_bytes() == rendered.read_bytes()
    assert (tmp_path / "0001.mp4").read_bytes() != rendered.read_bytes()


def test_a_render_cut_short_leaves_nothing(neutral_clip, tmp_path, monkeypatch):
    def encode(frames, samples, path):
        path.write_bytes(b"half a clip")
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        corpus.render(neutral_clip, tmp_path / "0001.mp4")
    assert not list(tmp_path.iterdir())


def test_faces_are_found_and_show_their_mood(landmarker):
    speakers = {clip.video_id: clip.speaker_seed for clip in corpus.plan()}
    for video_id, seed in list(speakers.items())[::3]:
        smile, brow = {}, {}
        for mood in (-0.6, 0, 0.6):
            scores = []
            for opening in (0, 0.4, 0.9):
                expression = face.Expression(mood, opening, blink=0, yaw=0.02, pitch=-0.02, roll=0.02)
                picture = face.draw(face.look_of(seed), expression)
                found = detect(landmarker, picture[:, :, ::-1]).face_blendshapes
                assert found, f"no face of {video_id} in mood {mood}, mouth {opening} open"
                scores.append({shape.category_name: shape.score for shape in found[0]})
            smile[mood] = np.mean([(s["mouthSmileLeft"] + s["mouthSmileRight"]) / 2 for s in scores])
            brow[mood] = np.mean([s["browInnerUp"] for s in scores])
        assert smile[0.6] > smile[0] + 0.3 and smile[-0.6] < 0.1, video_id
        assert brow[-0.6] < brow[0], video_id


def test_speakers_differ():
    seeds = {clip.speaker_seed for clip in corpus.plan()}
    assert len({face.look_of(seed) for seed in seeds}) == len(seeds) == 24
    assert len({speech.voice_of(seed) for seed in seeds}) >= 20
    assert len({face.look_of(seed).hair_style for seed in seeds}) == len(face.HAIR_STYLES)


@pytest.mark.parametrize("speaker_seed", range(4))
def test_voice_carries_its_mood(speaker_seed):
    voice = speech.voice_of(speaker_seed)
    said = [speech.speak("The dinner was lovely today.", mood, voice, longest=4) for mood in (-1, 0, 1)]
    loudness = [20 * np.log10(np.sqrt(np.square(samples).mean())) for samples in said]
    assert loudness[0] + 1.5 < loudness[1] < loudness[2] - 1.5  # dB
    assert len(said[0]) > len(said[1]) > len(said[2])


def test_speech_is_hurried_before_it_is_too_long():
    voice = speech.voice_of(0)
    text = "The dinner was lovely today."
    unhurried = speech.speak(text, -1, voice, longest=4)
    limit = 0.9 * len(unhurried) / speech.SAMPLE_RATE
    assert 0 < len(speech.speak(text, -1, voice, longest=limit)) <= limit * speech.SAMPLE_RATE
    with pytest.raises(ValueError, match="shorten the sentence"):
        speech.speak(text, -1, voice, longest=0.5)


@pytest.mark.parametrize("voice", ["no-such-language", "en-us+no_such_variant"])
def test_unknown_voices_are_refused(voice):
    with pytest.raises(ValueError, match=r"no_such_variant|no-such-language"):
        speech.synthesise("Hello.", voice, pitch=50, rate=165, volume=100, pitch_range=50)


@pytest.mark.parametrize("accent", speech.ACCENTS)
def test_every_voice_of_the_corpus_speaks(accent):
    for variant in speech.VARIANTS:
        samples, rate = speech.synthesise("Yes.", f"{accent}+{variant}", 50, 165, 100, 50)
        assert rate == 22050 and samples.dtype == np.float32 and 0.05 < np.abs(samples).max() <= 1
