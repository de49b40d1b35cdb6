"""Time both stages' epochs on a made-up feature file of CH-SIMS's size.

    python benchmarks/training.py --stage pretrain
    python benchmarks/training.py --stage finetune --batches 4

Clip lengths are as CH-SIMS has them: log-normal, mean 3.7 s, 0.5 to 10 s; 43 audio frames a second, video frames
and tokens in proportion, up to 400 x 33, 55 x 709 and 39 x 768. Numbers and labels are random: only time counts.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertModel

from cmc import LABELS
from cmc.features import store
from cmc.features.contract import Features
from cmc.labels import Scheme
from cmc.models.attention import CPUAttention
from cmc.models.cmc import Dimensions, MultimodalModel
from cmc.training import dataset, encoder
from cmc.training.finetune import FinetuneSettings, Finetuning
from cmc.training.pretrain import Pretraining, PretrainSettings

CLIPS = {"train": 1368, "valid": 456, "test": 457}
LONGEST_SECONDS, MEAN_SECONDS, SPREAD = 10.0, 3.7, 0.5  # spread of the logarithm
SHAPES = {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)}  # of a clip of the longest length
AUDIO_RATE = 43.07  # frames a second; 10 s make more than the 400 that CH-SIMS keeps
VOCABULARY = 21128
SCHEME = Scheme(has0="nonpositive_positive")


def make_features(path: Path, scale: float) -> None:
    rng = np.random.default_rng(0)
    counts = {name: max(8, round(count * scale)) for name, count in CLIPS.items()}
    split = np.repeat(list(counts), list(counts.values()))
    seconds = rng.lognormal(np.log(MEAN_SECONDS) - SPREAD**2 / 2, SPREAD, len(split)).clip(
        0.5, LONGEST_SECONDS
    )
    labels = rng.integers(-1, 2, len(split)).astype(float)
    table = pd.DataFrame(
        {
            "clip_id": np.arange(len(split)).astype(str),
            "split": split,
            **dict.fromkeys(LABELS.values(), labels),
        }
    )
    with store.create(path) as out:
        for modality, (longest, width) in SHAPES.items():
            rate = AUDIO_RATE if modality == "audio" else longest / LONGEST_SECONDS
            dtype = "float32" if modality == "audio" else "float16"
            out.modality(
                modality, store.Recipe("random", "1", {}, [f"c{i}" for i in range(width)], rate, dtype)
            )
            for length in np.clip(np.ceil(seconds * rate), 3, longest).astype(int):
                ids = rng.integers(1, VOCABULARY, length).astype(np.int32) if modality == "text" else None
                values = rng.standard_normal((length, width), dtype=np.float32)
                out.append(modality, Features(values, token_ids=ids))
        out.finish(table)


class Clock:
    """CPU and wall seconds of a block."""

    def __enter__(self):
        self.start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error):
        self.cpu, self.wall = time.process_time() - self.start[0], time.perf_counter() - self.start[1]


class AttentionClock:
    """CPU seconds within the attention of CMC's encoders, forward and backward, on a CPU."""

    def __init__(self) -> None:
        self.cpu = 0.0
        for name in ("forward", "backward"):
            setattr(CPUAttention, name, staticmethod(self.timed(getattr(CPUAttention, name))))

    def timed(self, function):
        def wrapped(*args):
            start = time.process_time()
            result = function(*args)
            self.cpu += time.process_time() - start
            return result

        return wrapped


def show_shares(whole: float, attention: float, bert: float = 0.0) -> None:
    shares = {"BERT": bert, "attention": attention, "the rest": whole - bert - attention}
    print("  of that: " + ", ".join(f"{name} {part / whole:.0%}" for name, part in shares.items()))


def show(what: str, clock: Clock, share: float = 1.0) -> None:
    """Print a row; `share` is what part of a whole epoch was timed."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what:34} {clock.cpu / share:8.1f} CPU s {clock.wall / share:8.1f} s wall {peak:6.2f} GB peak",
        flush=True,
    )


def time_pretraining(dims: Dimensions, train, valid, args) -> None:
    batches = lambda epoch: dataset.shuffled(len(train), 64, 1, epoch)  # noqa: E731
    stage = Pretraining(dims, PretrainSettings(), train, valid, SCHEME, batches, args.device)
    if args.warm:
        stage.train_epoch(1)
    attention = AttentionClock()
    with Clock() as training:
        stage.train_epoch(2)
    show("stage 1, training", training)
    show_shares(training.cpu, attention.cpu)
    with Clock() as validation:
        stage.validate(2)
    show("stage 1, validation", validation)
    quiet = dataclasses.replace(dims, attention_dropout=0.0)
    fused = Pretraining(quiet, PretrainSettings(), train, valid, SCHEME, batches, args.device)
    with Clock() as training:
        fused.train_epoch(2)
    show("stage 1, training, no att. dropout", training)


def time_finetuning(dims: Dimensions, train, valid, args) -> None:
    bert = BertModel(BertConfig(vocab_size=VOCABULARY), add_pooling_layer=False).to(args.device)
    bert.bf16 = args.bf16
    chosen = dataset.shuffled(len(train), 64, 1, 1)[: args.batches]
    share = sum(map(len, chosen)) / len(train)
    labels = {
        name: torch.stack([split.classes("M")] * 3).to(args.device)
        for name, split in (("train", train), ("valid", valid))
    }
    optimizer = torch.optim.Adam(bert.parameters(), lr=5e-5, fused=True)
    bert.train()
    with Clock() as alone:
        for clips in chosen:
            optimizer.zero_grad(set_to_none=True)
            encoder.text_states(bert, train, clips).values.sum().backward()
            optimizer.step()
    show("BERT-base alone, real tokens", alone, share)
    model = MultimodalModel(dims).to(args.device)
    stage = Finetuning(model, FinetuneSettings(), train, valid, labels, SCHEME, lambda epoch: chosen, bert)
    attention = AttentionClock()
    with Clock() as training:
        stage.train_epoch(1)
    show("stage 2, training", training, share)
    show_shares(training.cpu, attention.cpu, alone.cpu)
    print(f"stage 2 / BERT alone: {training.cpu / alone.cpu:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", choices=["pretrain", "finetune"], required=True)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of CH-SIMS's clips (to see that cost is linear)"
    )
    parser.add_argument(
        "--batches", type=int, default=4, help="batches of stage 2 to time; the rest is extrapolated"
    )
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="the text encoder in bfloat16, in stage 2")
    parser.add_argument("--warm", action="store_true", help="train an epoch before the one that is timed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        make_features(path, args.scale)
        with Clock() as loading:
            train, valid = (dataset.load(path, split, args.device) for split in ("train", "valid"))
        show("load", loading)
    dims = Dimensions(features=train.widths, layers=args.layers, heads=args.heads)
    (time_pretraining if args.stage == "pretrain" else time_finetuning)(dims, train, valid, args)


if __name__ == "__main__":
    main()
