"""Whatever a file is like, it ends as features or as a row of the quarantine that tells why."""

import subprocess
import sys
from functools import partial

import av
import numpy as np
import pandas as pd
import pytest
from test_features import WALL, draw_face
from test_media import CLOCKWISE, FPS, rotate, tone, write_clip

from cmc.features import extract, extractors, store

FACE = draw_face(320, 240, (160, 120), 80)
EMPTY = np.full_like(FACE, WALL)
BOTH = {"audio": None, "vision": None}  # features of both
EXTRACTORS = {"audio": "chsims33", "vision": "mediapipe"}
UNREADABLE = dict.fromkeys(BOTH, "can't be read to its end")
COUNTERCLOCKWISE = b"".join(
    n.to_bytes(4, "big", signed=True) for n in (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
)
UPSIDE_DOWN = b"".join(n.to_bytes(4, "big", signed=True) for n in (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30))
NAMES = [
    "影片 ünïcode 🎬.mp4", "two  spaces.mp4", "it's \"quoted\".mp4", "semi;colon&and|pipe$HOME`x`.mp4",
    "new\nline.mp4", "-dash.mp4", "per%03dcent.mp4", "concat:a|b.mp4", "http:x.mp4", "[*]?.mp4", "no_suffix",
    "UPPER.MP4",
]  # fmt: skip


def voice(seconds, sample_rate, channels=1):
    """Harmonics of 150 Hz, loud and quiet by turns."""
    harmonics = sum(tone(150 * k, seconds, sample_rate)[0] / k for k in (1, 2, 3))
    syllables = 0.5 + 0.4 * np.sin(2 * np.pi * 3 * np.arange(harmonics.size) / sample_rate)
    return np.tile(0.5 * harmonics * syllables, (channels, 1))


def clip(path, seconds=1.0, rgb=FACE, fps=FPS, sample_rate=16000, layout="mono", channels=1, **options):
    """A talking head, unless told otherwise."""
    pictures = [(i / fps, rgb) for i in range(round(seconds * fps))] if rgb is not None else ()
    wave = voice(seconds, sample_rate, channels) if channels else None
    return write_clip(path, pictures, wave, sample_rate, layout, **options)


def sized(width, height, path, **options):
    size = 0.33 * min(width, height)
    return clip(path, rgb=draw_face(width, height, (width // 2, height // 2), round(size)), **options)


def turned(quarters, matrix, path):
    """Stored lying on its side, with a matrix that puts it upright."""
    return rotate(clip(path, rgb=np.ascontiguousarray(np.rot90(FACE, quarters))), matrix)


def filled(content, path):
    path.write_bytes(content)


def renamed(name, path):
    clip(path.with_name("source.mp4")).rename(path.with_name(name))


def cut(tenths, options, path):
    """A clip whose file ends after so many tenths; noise, so that sound and pictures fill it evenly."""
    rng = np.random.default_rng(0)
    wave = rng.uniform(-0.5, 0.5, (1, 3 * 16000))
    pictures = [(i / FPS, (FACE * rng.uniform(0.9, 1)).astype(np.uint8)) for i in range(3 * FPS)]
    write_clip(path, pictures, wave, 16000, options=options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenths // 10])


def damaged(path):
    cut(10, {"movflags": "faststart"}, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)


def variable(path):
    stamps = np.cumsum(np.random.default_rng(0).choice([0.02, 0.033, 0.05, 0.25], 30))
    write_clip(path, [(t, FACE) for t in stamps - stamps[0]], voice(stamps[-1], 16000), 16000)


def gap_at_the_end(path):
    write_clip(path, [(t, FACE) for t in (0, 0.04, 0.08, 3.0)], voice(0.5, 16000), 16000)


def pictures_of(rgbs, path):
    write_clip(path, [(i / FPS, rgb) for i, rgb in enumerate(rgbs)], voice(len(rgbs) / FPS, 16000), 16000)


CASES = {  # name -> how it is made, and what becomes of sound and pictures
    "plain.mp4": (clip, BOTH),
    "variable rate.mp4": (variable, BOTH),
    "variable rate.mkv": (variable, BOTH),
    "one a second.mp4": (partial(clip, seconds=4, fps=1), BOTH),
    "one a second.mkv": (partial(clip, seconds=4, fps=1), BOTH),
    "a long gap at the end.mkv": (gap_at_the_end, BOTH),
    "a long gap at the end.mp4": (gap_at_the_end, BOTH),
    "sixty a second.mp4": (partial(clip, fps=60), BOTH),
    "turned right.mp4": (partial(turned, 1, CLOCKWISE), BOTH),
    "turned left.mp4": (partial(turned, -1, COUNTERCLOCKWISE), BOTH),
    "upside down.mp4": (partial(turned, 2, UPSIDE_DOWN), BOTH),
    **{f"{w}x{h}.mp4": (partial(sized, w, h), BOTH) for w, h in [(176, 144), (360, 640), (854, 480), (202, 150)]},
    **{
        f"{w}x{h}.mp4": (partial(sized, w, h, pix_fmt="yuv444p"), BOTH)
        for w, h in [(321, 241), (175, 201), (320, 241)]
    },
    "ten bits.mkv": (partial(clip, pix_fmt="yuv420p10le"), BOTH),
    "stereo.mp4": (partial(clip, layout="stereo", channels=2), BOTH),
    "surround.mp4": (partial(clip, layout="5.1", channels=6, sample_rate=48000), BOTH),
    **{
        f"{hertz} Hz.mkv": (partial(clip, sample_rate=hertz, codecs=("libx264", "pcm_s16le")), BOTH)
        for hertz in (8000, 11025, 22050, 32000, 44100, 48000)
    },
    "old.avi": (partial(clip, codecs=("mpeg4", "mp3"), sample_rate=44100), BOTH),
    "web.webm": (partial(clip, codecs=("libvpx-vp9", "libopus"), sample_rate=48000), BOTH),
    "stream.ts": (clip, BOTH),
    "late sound.mkv": (partial(clip, late=0.7), BOTH),
    "silence.mp4": (partial(clip, seconds=0.5), BOTH),  # made silent below
    "one frame.mp4": (partial(pictures_of, [FACE]), BOTH),
    "two frames.mp4": (partial(pictures_of, [FACE, FACE]), BOTH),
    "many faces.mp4": (partial(pictures_of, [np.tile(FACE, (1, 3, 1))] * 10), BOTH),
    "face now and then.mp4": (partial(pictures_of, [FACE] * 10 + [EMPTY] * 10 + [FACE] * 10), BOTH),
    "no sound.mp4": (partial(clip, channels=0), BOTH | {"audio": "no audio track"}),
    "no pictures.m4a": (partial(clip, rgb=None), BOTH | {"vision": "no video track"}),
    "no face.mp4": (partial(clip, rgb=EMPTY), BOTH | {"vision": "no face in any of 10 frames"}),
    "black.mp4": (partial(clip, rgb=np.zeros_like(FACE)), BOTH | {"vision": "no face in any of 10 frames"}),
    "really an mp4.avi": (partial(renamed, "really an mp4.avi"), BOTH),
    "really an mp4.txt": (partial(renamed, "really an mp4.txt"), BOTH),
    **{name: (partial(renamed, name), BOTH) for name in NAMES},
    "words.mp4": (partial(filled, b"no video at all\n" * 100), UNREADABLE),
    "zero bytes.mp4": (partial(filled, b""), dict.fromkeys(BOTH, "the file is empty (0 bytes)")),
    "random.mp4": (partial(filled, np.random.default_rng(0).bytes(30_000)), UNREADABLE),
    "random.bin": (partial(filled, np.random.default_rng(1).bytes(30_000)), UNREADABLE),
    "damaged.mp4": (damaged, UNREADABLE),
    "folder.mp4": (lambda path: path.mkdir(), UNREADABLE),
    "missing.mp4": (lambda path: None, dict.fromkeys(BOTH, "video is missing")),
    **{
        f"cut {tenths} {kind}": (partial(cut, tenths, options), dict.fromkeys(BOTH, reason))
        for kind, options, reason in [
            ("index behind.mp4", {}, "can't be read to its end"),
            ("index in front.mp4", {"movflags": "faststart"}, "truncated"),
            ("without index.mkv", {}, "truncated: ends at"),
        ]
        for tenths in range(1, 10)
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Feature file of each modality, of all cases in one shard, and what the quarantine says: name -> reason."""
    folder = tmp_path_factory.mktemp("awkward")
    for name, (make, _) in CASES.items():
        make(folder / name)
    write_clip(folder / "silence.mp4", [(i / FPS, FACE) for i in range(12)], np.zeros((1, 8000)), 16000)
    sources, found = [str(folder / name) for name in CASES], {"folder": folder}
    for modality in BOTH:
        path = folder.parent / f"awkward-{modality}.h5"
        with extractors.make(modality, EXTRACTORS[modality]) as extractor:
            extract.shard(modality, extractor, list(CASES), sources, path)
        with store.Reader(path) as reader:
            refused = reader.table("quarantine").set_index("clip_id")["reason"]
        found[modality] = path, refused
    return found


def rows(results, modality, name):
    """Features of a clip, and its figures of quality."""
    with store.Reader(results[modality][0]) as reader:
        clips = reader.table("clips")
        number = clips.index[clips["clip_id"] == name].item()
        start, stop = reader.offsets(modality)[number : number + 2]
        return reader.rows(modality, start, stop), clips.loc[number]


@pytest.mark.parametrize("name", CASES)
def test_features_or_a_reason(results, name):
    for modality, expected in CASES[name][1].items():
        reason = results[modality][1].get(name)
        if expected is None:
            assert reason is None, f"{modality}: {reason}"
            features, _ = rows(results, modality, name)
            assert len(features.values) and (np.diff(features.times) > 0).all() and features.times[0] >= 0
        else:
            assert reason is not None and expected in reason, f"{modality}: {reason}"


def test_there_are_enough_of_them():
    assert len(CASES) >= 25


@pytest.mark.parametrize("modality", BOTH)
def test_a_clip_has_the_same_bytes_in_any_company(results, tmp_path, modality):
    names = ["surround.mp4", "plain.mp4"]
    for run in ("1.h5", "2.h5"):
        with extractors.make(modality, EXTRACTORS[modality]) as extractor:
            sources = [str(results["folder"] / name) for name in names]
            extract.shard(modality, extractor, names, sources, tmp_path / run)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    for name in names:
        among_all, _ = rows(results, modality, name)
        alone, _ = rows({modality: (tmp_path / "1.h5", None)}, modality, name)
        assert alone.values.tobytes() == among_all.values.tobytes()
        assert alone.times.tobytes() == among_all.times.tobytes()


def test_faces_keep_their_times_at_a_variable_rate(results):
    for name in ("variable rate.mp4", "variable rate.mkv"):
        stamps = np.cumsum(np.random.default_rng(0).choice([0.02, 0.033, 0.05, 0.25], 30))
        features, quality = rows(results, "vision", name)
        gaps = np.abs(features.times[:, np.newaxis] - (stamps - stamps[0])).min(axis=1)
        assert gaps.max() < 2e-3 and quality["faces"] == 1
        assert len(features.times) == quality["frames"] < 30


def test_a_face_is_missing_when_it_was_away(results):
    features, quality = rows(results, "vision", "face now and then.mp4")
    missing = np.isnan(features.values).all(axis=1)
    assert np.array_equal(missing, (features.times > 0.39) & (features.times < 0.79))
    assert quality["faces"] == pytest.approx(1 - missing.mean())


def test_sound_keeps_its_time_when_it_begins_late(results):
    features, quality = rows(results, "audio", "late sound.mkv")
    loud = features.values[:, 1] > features.values[:, 1].mean()
    assert features.times[loud.argmax()] == pytest.approx(0.7, abs=0.1)
    assert quality["seconds"] == pytest.approx(1.7, abs=0.1)


def test_quality_of_sound(results):
    _, plain = rows(results, "audio", "plain.mp4")
    _, silent = rows(results, "audio", "silence.mp4")
    assert plain["voiced"] > 0.8 and plain["silence"] == 0 and plain["clipping"] == 0
    assert silent["voiced"] == 0 and silent["silence"] == 1
    assert plain["seconds"] == pytest.approx(1, abs=0.1)
    assert pd.notna(rows(results, "audio", "one frame.mp4")[1]["seconds"])


@pytest.fixture(scope="module")
def an_hour(tmp_path_factory, seconds=3600, fps=5, sample_rate=16000):
    path = tmp_path_factory.mktemp("hour") / "hour.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *FACE.shape[:2], "yuv420p"
        audio = container.add_stream("aac", rate=sample_rate, layout="mono")
        spoken = np.ascontiguousarray(voice(1, sample_rate), np.float32)
        for second in range(seconds):
            for _ in range(fps):
                container.mux(video.encode(av.VideoFrame.from_ndarray(FACE, format="rgb24")))
            frame = av.AudioFrame.from_ndarray(spoken, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = sample_rate, second * sample_rate
            container.mux(audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


MEASURED = """
import resource, sys
from cmc.features import extract, extractors
modality, name, path, out = sys.argv[1:]
with extractors.make(modality, name) as extractor:
    extract.shard(modality, extractor, ["hour"], [path], out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("modality, frames", [("audio", 155_000), ("vision", 18_000)])
def test_an_hour_fits_into_memory(an_hour, tmp_path, modality, frames):
    out = tmp_path / "shard.h5"
    line = [sys.executable, "-c", MEASURED, modality, EXTRACTORS[modality], str(an_hour), str(out)]
    gigabytes = float(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    with store.Reader(out) as reader:
        assert reader.offsets(modality)[-1] == pytest.approx(frames, abs=100)
    assert gigabytes < 1.5
