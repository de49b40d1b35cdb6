"""Time the import of an official feature file of CH-SIMS's size, and its export again.

    python benchmarks/importing.py
    python benchmarks/importing.py --protocol 2

Clip lengths are as CH-SIMS has them: log-normal, mean 3.7 s, 0.5 to 10 s; audio frames, video frames and tokens in
proportion, up to 400 x 33, 55 x 709 and 39 x 768, padded with zeros. Numbers are random, which compresses worst.
"""

import argparse
import multiprocessing
import pickle
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from cmc import files
from cmc.exchange import mmsa, official

CLIPS = {"train": 1368, "valid": 456, "test": 457}
LONGEST_SECONDS, MEAN_SECONDS, SPREAD = 10.0, 3.7, 0.5  # spread of the logarithm
RATES = {"text": 3.9, "audio": 43.07, "vision": 5.5}  # tokens or frames a second
SHAPES = {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)}  # of a clip of the longest length
CLS, SEP, VOCABULARY = 101, 102, 21128


def make(path: Path, scale: float, protocol: int) -> None:
    rng = np.random.default_rng(0)
    splits = {name: split(name, round(count * scale), rng) for name, count in CLIPS.items()}
    with open(path, "wb") as file:
        pickle.dump(splits, file, protocol)


def split(name: str, count: int, rng: np.random.Generator) -> dict:
    seconds = rng.lognormal(np.log(MEAN_SECONDS) - SPREAD**2 / 2, SPREAD, count).clip(0.5, LONGEST_SECONDS)
    lengths = {
        modality: np.clip(np.ceil(seconds * RATES[modality]), 3, longest).astype(int)
        for modality, (longest, _) in SHAPES.items()
    }
    result = {}
    for modality, (longest, width) in SHAPES.items():
        result[modality] = rng.standard_normal((count, longest, width), dtype=np.float32)
        result[modality][np.arange(longest) >= lengths[modality][:, None]] = 0
    real = np.arange(SHAPES["text"][0]) < lengths["text"][:, None]
    ids = np.where(real, rng.integers(1, VOCABULARY, real.shape), 0)
    ids[:, 0], ids[np.arange(count), lengths["text"] - 1] = CLS, SEP
    labels = (rng.integers(-5, 6, count) / 5).astype(np.float32)
    return result | {
        "id": [f"video_{name}$_${i:04d}" for i in range(count)],
        "raw_text": ["a sentence"] * count,
        "text_bert": np.stack([ids, real, np.zeros_like(ids)], axis=1).astype(np.float32),
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"].tolist(),
        "regression_labels": labels,
        **{f"regression_labels_{letter}": labels for letter in "TAV"},
    }


def measured(work: Callable) -> tuple[float, float, float]:
    """CPU seconds, wall seconds, and the most memory that this process ever had, in bytes."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return time.process_time() - cpu, time.perf_counter() - wall, peak


def in_a_process(work: Callable, *arguments):
    """The result of a function in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def nothing() -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of CH-SIMS's clips")
    parser.add_argument("--protocol", type=int, choices=range(2, 6), default=4, help="of the pickle")
    parser.add_argument("--folder", type=Path, help="where to work; else the system's temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path, features, exported = (Path(folder) / name for name in ("f.pkl", "f.h5", "mmsa.pkl"))
        in_a_process(make, path, args.scale, args.protocol)
        size = path.stat().st_size
        jobs = {
            "an idle process": nothing,
            "SHA-256 alone": partial(files.sha256, path),
            "import": partial(
                official.import_features,
                path,
                features,
                Path(folder) / "q.csv",
                label_range=(-1, 1),
                max_share=0,
            ),
            "export": partial(mmsa.write, features, exported),
        }
        print(f"pickle of protocol {args.protocol}: {size / 1e6:.0f} MB")
        for name, job in jobs.items():
            cpu, wall, peak = in_a_process(measured, job)
            memory = f"{peak / 1e6:6.0f} MB peak, {peak / size:.2f} of the pickle"
            print(f"{name:16} {cpu:6.1f} CPU s {wall:6.1f} s wall {memory}", flush=True)
        for made in (features, exported):
            print(
                f"{made.name}: {made.stat().st_size / 1e6:.0f} MB, {made.stat().st_size / size:.2f} of the pickle"
            )


if __name__ == "__main__":
    main()
