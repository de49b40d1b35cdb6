"""What a model costs: parameters, arithmetic, time and memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cmc.training import checkpoint, dataset
from cmc.training.baseline import TrainedBaseline
from cmc.training.dataset import Split
from cmc.training.trained import TrainedModel

REPEATS = 3  # the fastest counts
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # which nobody trains
CLIPS = 256  # that are timed


Row = dict[str, object]


def of_variant(
    variant: str,
    features: str | Path,
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    benchmarks: Sequence[str | Path],
    device: str = "cpu",
    unimodal: bool = False,
) -> list[Row]:
    """What a variant costs, and perhaps its unimodal models.

    Parameters
    ----------
    variant : str
    features : path
    pretrained, finetuned : sequence of path
        Checkpoints of both stages, one a run and in the same order; beside each the table of its epochs.
    benchmarks : sequence of path
        What Snakemake measured of the training jobs (TSV), of those that exist.
    device : str
    unimodal : bool
        Whether its unimodal models have rows too. Stage 1 trains them together: its time is in the variant's.

    Returns
    -------
    list of dict
        See `row`.
    """
    before, *_ = checkpoint.load(pretrained[0])
    after, dims, facts = checkpoint.load(finetuned[0])
    model = TrainedModel(before, after, dims, facts["recipe"]["text_encoder"], device)
    test = some_clips(features, facts, device)
    runs = list(zip(pretrained, finetuned, strict=True))
    found = [row(variant, model.consensus, test, after, device) | training(runs, benchmarks)]
    for modality in test.features if unimodal else ():
        alone = replace(test, features={modality: test.features[modality]})
        found.append(row(modality, model.unimodal, alone, checkpoint.part(before, f"{modality}."), device))
    return found


def of_baseline(
    name: str,
    features: str | Path,
    checkpoints: Sequence[str | Path],
    benchmarks: Sequence[str | Path],
    device: str = "cpu",
) -> list[Row]:
    """What a trained baseline costs; parameters as those of `of_variant`."""
    model = TrainedBaseline(checkpoints[0], device)
    found = row(name, model.outputs, some_clips(features, model.facts, device), model.tensors, device)
    return [found | training([[path] for path in checkpoints], benchmarks)]


def row(
    name: str, read: Callable[[Split], object], clips: Split, tensors: Mapping[str, Tensor], device: str
) -> Row:
    """What a trained model costs.

    Parameters
    ----------
    name : str
    read : callable
        Reads clips.
    clips : Split
        Some of the test split.
    tensors : mapping
        Its checkpoint; ``bert.*`` is its language model.
    device : str

    Returns
    -------
    dict
        model; parameters, and of these the language model's if it is finetuned; gflops_a_clip: billions of
        multiplications and additions of a mean test clip, its language model's included where it runs;
        inference_ms_a_clip, without extraction; device. Times are of the machine they were measured on.
    """
    sizes = {key: tensor.numel() for key, tensor in tensors.items() if not key.endswith(STATISTICS)}
    with FlopCounterMode(display=False) as counter:
        read(clips)
    return {
        "model": name,
        "parameters": sum(sizes.values()),
        "parameters_language_model": sum(size for key, size in sizes.items() if key.startswith("bert.")),
        "gflops_a_clip": round(counter.get_total_flops() / len(clips) / 1e9, 6),
        "inference_ms_a_clip": round(1000 * min(timed(read, clips) for _ in range(REPEATS)) / len(clips), 4),
        "device": torch.cuda.get_device_name() if str(device).startswith("cuda") else "cpu",
    }


def training(runs: Sequence[Sequence[str | Path]], benchmarks: Sequence[str | Path]) -> Row:
    """What training took: runs; epochs and training_seconds of all stages, means over runs; peak_memory_mb, the
    largest of a job. `runs` are the checkpoints of each run's stages."""
    histories = [pd.concat([pd.read_csv(Path(path).with_suffix(".csv")) for path in paths]) for paths in runs]
    rss = [pd.read_csv(path, sep="\t")["max_rss"] for path in benchmarks if Path(path).is_file()]
    peak = pd.to_numeric(pd.concat(rss), errors="coerce").max() if rss else np.nan
    return {
        "runs": len(histories),
        "epochs": round(float(np.mean([len(one) for one in histories])), 1),
        "training_seconds": round(float(np.mean([one["seconds"].sum() for one in histories])), 1),
        "peak_memory_mb": None if np.isnan(peak) else round(float(peak)),
    }


def some_clips(features: str | Path, facts: Mapping[str, Any], device: str) -> Split:
    """The first `CLIPS` test clips, or all of fewer, as the model of a checkpoint reads them."""
    recipe = facts["recipe"]
    return first(dataset.load(features, "test", device, recipe["mask_padding"], recipe["fold"]), CLIPS)


def first(clips: Split, count: int) -> Split:
    """The first clips of a split, or all of fewer."""
    count = min(len(clips), count)

    def cut(ragged: dataset.Ragged) -> dataset.Ragged:
        return dataset.Ragged(ragged.values[: ragged.offsets[count]], ragged.offsets[: count + 1])

    return replace(
        clips,
        clips=clips.clips.iloc[:count],
        features={name: cut(own) for name, own in clips.features.items()},
        tokens=cut(clips.tokens) if clips.tokens else None,
    )


def timed(read: Callable[[Split], object], clips: Split) -> float:
    """Seconds that reading some clips takes."""
    start = time.perf_counter()
    read(clips)
    return time.perf_counter() - start


COLUMNS = [
    "model",
    "runs",
    "parameters",
    "parameters_language_model",
    "gflops_a_clip",
    "inference_ms_a_clip",
    "epochs",
    "training_seconds",
    "peak_memory_mb",
    "device",
]


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """All rows, unknown values empty."""
    return pd.DataFrame(rows, columns=COLUMNS).astype({"runs": "Int64", "peak_memory_mb": "Int64"})
