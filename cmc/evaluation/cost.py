"""What a model costs: parameters, arithmetic, time and memory."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from cmc.training import checkpoint, dataset
from cmc.training.dataset import Split
from cmc.training.trained import TrainedModel

REPEATS = 3  # the fastest counts
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # which nobody trains
CLIPS = 256  # that are timed


def run(
    variant: str,
    features: str | Path,
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    benchmarks: Sequence[str | Path],
    device: str = "cpu",
) -> dict[str, object]:
    """What a variant costs: a row of a table.

    Parameters
    ----------
    variant : str
    features : path
    pretrained, finetuned : sequence of path
        Checkpoints of both stages, one a run and in the same order; beside each the table of its epochs.
    benchmarks : sequence of path
        What Snakemake measured of the training jobs (TSV), of those that exist.
    device : str

    Returns
    -------
    dict
        model, runs; parameters, and of these the language model's if it is finetuned; gflops_a_clip: billions of
        multiplications and additions of a mean test clip, its language model's included where it runs;
        inference_ms_a_clip, without extraction; epochs and training_seconds of both stages, means over runs;
        peak_memory_mb, the largest of a training job; device. Times are of the machine they were measured on.
    """
    model, _, facts = TrainedModel.load(pretrained[0], finetuned[0], device)
    recipe = facts["recipe"]
    test = dataset.load(features, "test", device, recipe["mask_padding"], recipe["fold"])
    tensors, _, _ = checkpoint.load(finetuned[0])
    sizes = {name: tensor.numel() for name, tensor in tensors.items() if not name.endswith(STATISTICS)}
    language = sum(size for name, size in sizes.items() if name.startswith("bert."))
    clips = min(len(test), CLIPS)
    some = first(test, clips)
    with FlopCounterMode(display=False) as counter:
        model.consensus(some)
    seconds = min(timed(model, some) for _ in range(REPEATS))
    histories = [
        pd.concat([pd.read_csv(Path(path).with_suffix(".csv")) for path in paths])
        for paths in zip(pretrained, finetuned, strict=True)
    ]
    rss = [pd.read_csv(path, sep="\t")["max_rss"] for path in benchmarks if Path(path).is_file()]
    peak = pd.to_numeric(pd.concat(rss), errors="coerce").max() if rss else np.nan
    return {
        "model": variant,
        "runs": len(histories),
        "parameters": sum(sizes.values()),
        "parameters_language_model": language,
        "gflops_a_clip": round(counter.get_total_flops() / clips / 1e9, 6),
        "inference_ms_a_clip": round(1000 * seconds / clips, 4),
        "epochs": round(float(np.mean([len(one) for one in histories])), 1),
        "training_seconds": round(float(np.mean([one["seconds"].sum() for one in histories])), 1),
        "peak_memory_mb": None if np.isnan(peak) else round(float(peak)),
        "device": torch.cuda.get_device_name() if str(device).startswith("cuda") else "cpu",
    }


def first(clips: Split, count: int) -> Split:
    """The first clips of a split."""

    def cut(ragged: dataset.Ragged) -> dataset.Ragged:
        return dataset.Ragged(ragged.values[: ragged.offsets[count]], ragged.offsets[: count + 1])

    return replace(
        clips,
        clips=clips.clips.iloc[:count],
        features={name: cut(own) for name, own in clips.features.items()},
        tokens=cut(clips.tokens) if clips.tokens else None,
    )


def timed(model: TrainedModel, clips: Split) -> float:
    """Seconds that the consensus of some clips takes."""
    start = time.perf_counter()
    model.consensus(clips)
    return time.perf_counter() - start
