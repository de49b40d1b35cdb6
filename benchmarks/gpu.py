"""What an epoch of both stages costs on a GPU, on made-up clips of CH-SIMS's and MOSEI's size.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu     # a few clips and a tiny language model: shows that the script runs

`benchmarks/gpu.sh` runs the tests marked gpu first. Numbers, labels and the language model (BERT-base) are random:
only time counts. torch computes as in the workflow's jobs, so that equal runs give equal bytes.
"""

import argparse
import dataclasses
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertModel

from cmc import LABELS
from cmc.labels import Scheme
from cmc.models import sequences
from cmc.models.cmc import Dimensions, MultimodalModel
from cmc.training import dataset, determinism
from cmc.training.dataset import Ragged, Split
from cmc.training.finetune import FinetuneSettings, Finetuning
from cmc.training.pretrain import Pretraining, PretrainSettings

SCHEME = Scheme(has0="nonpositive_positive")
WARM, PROFILED = 3, 3  # batches before a measurement, and under the profiler
LAUNCHED_BY_NAMES = ("Optimizer.", "ProfilerStep")  # spans that the profiler shows beside kernels


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a data set. Lengths of clips are log-normal."""

    clips: dict[str, int]
    mean_seconds: float
    spread: float  # of the logarithm
    longest_seconds: float
    shapes: dict[str, tuple[int, int]]  # modality -> frames of a clip that none exceeds, width
    rates: dict[str, float]  # modality -> frames a second
    batch: int = 64
    timed: int | None = None  # batches of an epoch that are timed, the rest is extrapolated; None: all


SIZES = {
    "CH-SIMS": Size(
        {"train": 1368, "valid": 456}, 3.7, 0.5, 10.0,
        {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)},
        {"text": 3.9, "audio": 43.07, "vision": 5.5},
    ),
    "MOSEI": Size(
        {"train": 16326, "valid": 1871}, 7.3, 0.6, 30.0,
        {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)},
        {"text": 3.0, "audio": 20.0, "vision": 15.0},
        timed=40,
    ),
}  # fmt: skip
TINY = Size(
    {"train": 40, "valid": 8}, 3.7, 0.5, 10.0,
    {"text": (10, 32), "audio": (20, 5), "vision": (10, 6)}, {"text": 1.0, "audio": 2.0, "vision": 1.0},
    batch=8,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of an epoch: seconds; of a batch: kernels launched, seconds that they compute; and memory in GB."""

    training: float
    validation: float
    launches: float
    busy: float
    peak: float


def split_of(size: Size, name: str, vocabulary: int, device: str) -> Split:
    rng = np.random.default_rng(len(name))
    count = size.clips[name]
    seconds = rng.lognormal(np.log(size.mean_seconds) - size.spread**2 / 2, size.spread, count)
    seconds = seconds.clip(0.5, size.longest_seconds)
    torch.manual_seed(0)
    features, tokens = {}, None
    for modality, (longest, width) in size.shapes.items():
        lengths = np.clip(np.ceil(seconds * size.rates[modality]), 3, longest).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = torch.randn(int(offsets[-1]), width, device=device)
        features[modality] = Ragged(values if modality == "audio" else values.half(), offsets)
        if modality == "text":
            ids = torch.randint(1, vocabulary, (int(offsets[-1]),), device=device)
            tokens = Ragged(ids, offsets)
    labels = rng.integers(-1, 2, count).astype(float)
    clips = pd.DataFrame({"clip_id": np.arange(count).astype(str), **dict.fromkeys(LABELS.values(), labels)})
    return Split(clips, features, tokens)


def language_model(device: str, tiny: bool) -> nn.Module:
    """BERT-base, or a tiny one."""
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=100, **small) if tiny else BertConfig(vocab_size=21128)
    with torch.device(device):
        return BertModel(config, add_pooling_layer=False)


class Bench:
    """A data set's splits on a device, and the stages that train on them."""

    def __init__(self, size: Size, device: str, tiny: bool) -> None:
        self.size, self.device, self.tiny = size, device, tiny
        vocabulary = 100 if tiny else 21128
        self.train, self.valid = (split_of(size, name, vocabulary, device) for name in ("train", "valid"))
        self.dims = Dimensions(features=self.train.widths, layers=1 if tiny else 5)
        self.batches = dataset.shuffled(len(self.train), size.batch, 1, 1)

    def pretraining(self) -> Pretraining:
        return Pretraining(
            self.dims, PretrainSettings(), self.train, self.valid, SCHEME, lambda epoch: [], self.device
        )

    def finetuning(self, bf16: bool) -> Finetuning:
        bert: Any = language_model(self.device, self.tiny)
        bert.bf16 = bf16
        labels = {
            name: torch.stack([split.classes("M")] * 3).to(self.device)
            for name, split in (("train", self.train), ("valid", self.valid))
        }
        model = MultimodalModel(self.dims).to(self.device)
        return Finetuning(
            model, FinetuneSettings(), self.train, self.valid, labels, SCHEME, lambda epoch: [], bert
        )

    def cost(self, make: Callable[[], Any], timed: int | None = None, validate: bool = True) -> Cost:
        """Of a stage's epoch, of which some batches may stand for all."""
        forget(self.device)
        stage = make()

        def train(batches: list[np.ndarray]) -> float:
            stage.order = lambda epoch: batches
            return seconds(lambda: stage.train_epoch(1), self.device)

        train(self.batches[:WARM])
        chosen = self.batches[:timed]
        training = train(chosen) * len(self.batches) / len(chosen)
        # of the profiled batches once more without the profiler, which slows the host down
        few = self.batches[:PROFILED]
        alone = train(few)
        launches, computing = kernels(lambda: train(few))
        validation = 0.0
        if validate:
            stage.validate(1)
            validation = seconds(lambda: stage.validate(1), self.device)
        return Cost(training, validation, launches / len(few), computing / alone, peak(self.device))


def on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def forget(device: str) -> None:
    if on_gpu(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if on_gpu(device) else float("nan")


def wait(device: str) -> None:
    if on_gpu(device):
        torch.cuda.synchronize()


def seconds(function: Callable[[], object], device: str) -> float:
    wait(device)
    start = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - start


def kernels(function: Callable[[], object]) -> tuple[int, float]:
    """Kernels that a function launches on a GPU, and the seconds in which they, or copies, run."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities, acc_events=True) as found:
        function()
    events = [
        event
        for event in found.events() or []
        if event.device_type == DeviceType.CUDA and not event.name.startswith(LAUNCHED_BY_NAMES)
    ]
    if torch.cuda.is_available() and not events:
        raise RuntimeError("the profiler saw nothing of the GPU")
    launched = [event for event in events if not event.name.startswith(("Memcpy", "Memset"))]
    return len(launched), sum(event.time_range.elapsed_us() for event in events) / 1e6


class Published(nn.Module):
    """One batch as the published code computes it, as far as its description goes: a lower bound of its cost.

    Every clip is filled up to the longest, each encoder is PyTorch's own, the language model runs with every batch
    (frozen in stage 1), its moving average follows parameter by parameter, and Adam is not fused.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.shapes, self.device = bench.size.shapes, bench.device
        dims = bench.dims
        self.bert = language_model(bench.device, bench.tiny)
        self.projections = nn.ModuleDict({k: nn.Linear(w, dims.dim) for k, (_, w) in self.shapes.items()})
        self.encoders = nn.ModuleDict()
        for name in self.shapes:
            layer = nn.TransformerEncoderLayer(
                dims.dim, dims.heads, 4 * dims.dim, dims.dropout, batch_first=True, norm_first=True
            )
            self.encoders[name] = nn.TransformerEncoder(layer, dims.layers, enable_nested_tensor=False)
        self.head = nn.Linear(dims.dim, dims.classes)
        self.to(bench.device).train()
        batch = bench.size.batch
        self.ids = torch.randint(1, 100, (batch, self.shapes["text"][0]), device=self.device)
        self.x = {
            k: torch.randn(batch, *self.shapes[k], device=self.device) for k in self.shapes if k != "text"
        }
        self.target = torch.zeros(batch, dtype=torch.int64, device=self.device)

    def batch(self, optimizer: torch.optim.Optimizer, average: list[torch.Tensor], stage: int) -> None:
        with torch.set_grad_enabled(stage == 2):
            text = self.bert(input_ids=self.ids).last_hidden_state
        x = self.x | {"text": text}
        logits = [self.head(self.encoders[k](self.projections[k](x[k])).mean(dim=1)) for k in self.shapes]
        loss = torch.stack([nn.functional.cross_entropy(one, self.target) for one in logits]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if stage == 1:
            for old, new in zip(average, self.parameters(), strict=True):
                old.mul_(0.9).add_(new.detach(), alpha=0.1)

    def milliseconds(self, stage: int) -> float:
        """Of a batch of stage 1 or 2."""
        own = [p for name, p in self.named_parameters() if stage == 2 or not name.startswith("bert.")]
        optimizer = torch.optim.Adam(own, lr=1e-3)
        average = [p.detach().clone() for p in self.parameters()]
        for _ in range(WARM):
            self.batch(optimizer, average, stage)
        step = lambda: [self.batch(optimizer, average, stage) for _ in range(PROFILED)]  # noqa: E731
        return 1000 * seconds(step, self.device) / PROFILED


HEAD = ("", "train s", "valid s", "ms a batch", "launches a batch", "GPU computes", "peak GB")


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def show(name: str, cost: Cost, batches: int) -> None:
    row(
        name,
        f"{cost.training:.2f}",
        f"{cost.validation:.2f}" if cost.validation else "",
        f"{1000 * cost.training / batches:.1f}",
        f"{cost.launches:.0f}",
        f"{cost.busy:.0%}",
        f"{cost.peak:.2f}",
    )


def table(title: str) -> None:
    print(f"\n{title}")
    row(*HEAD)
    row(*["---"] * len(HEAD))


@contextmanager
def as_it_was(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def any_order() -> Iterator[None]:
    """Sums in any order: the cost of equal bytes. Without another attention, which PyTorch would then choose."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)
        torch.backends.cuda.enable_cudnn_sdp(before)


CHOICES: dict[str, Callable[[], Any]] = {
    "1 rectangle a batch": lambda: as_it_was(sequences, "GPU_GROUPS", 1),
    "4 rectangles": lambda: as_it_was(sequences, "GPU_GROUPS", 4),
    "8 rectangles": lambda: as_it_was(sequences, "GPU_GROUPS", 8),
    "new memory filled": lambda: as_it_was(torch.utils.deterministic, "fill_uninitialized_memory", True),
    "sums in any order": any_order,
}


FAILED: list[str] = []


@contextmanager
def told(what: str) -> Iterator[None]:
    """A measurement that fails is told of, and the others go on."""
    try:
        yield
    except Exception as error:
        FAILED.append(what)
        print(f"{what} failed: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()


def data_set(name: str, size: Size, device: str, tiny: bool) -> None:
    bench = Bench(size, device, tiny)
    stages: dict[str, Callable[[], Any]] = {
        "stage 1": bench.pretraining,
        "stage 2, float32": lambda: bench.finetuning(bf16=False),
        "stage 2, bf16": lambda: bench.finetuning(bf16=True),
    }
    what = f"{len(bench.train)} + {len(bench.valid)} clips, {len(bench.batches)} batches"
    table(f"{name}: {what}" + (f", from {size.timed} batches" if size.timed else ""))
    for stage, make in stages.items():
        with told(stage):
            show(stage, bench.cost(make, size.timed), len(bench.batches))
    if name == "MOSEI":
        return
    table("Choices, from 10 batches")
    for choice, settings in CHOICES.items():
        for stage in ("stage 1", "stage 2, bf16"):
            with told(f"{stage}, {choice}"), settings():
                cost = bench.cost(stages[stage], 10, validate=False)
                show(f"{stage}, {choice}", cost, len(bench.batches))
    print("\nA batch as the published code computes it, as far as described (a lower bound)")
    with told("published"):
        published = Published(bench)
        for number in (1, 2):
            print(f"stage {number}: {published.milliseconds(number):.1f} ms", flush=True)


def beside_others(place: int, jobs: int, device: str, tiny: bool, before: float, barrier, times) -> None:
    """One of several runs on one GPU: an epoch of stage 1 and of stage 2, started together with the others'."""
    determinism.same_bytes()
    torch.set_num_threads(1)
    bench = Bench(TINY if tiny else SIZES["CH-SIMS"], device, tiny)
    stages = [bench.pretraining(), bench.finetuning(bf16=on_gpu(device))]
    for number, stage in enumerate(stages):
        stage.order = lambda epoch: bench.batches
        stage.train_epoch(1)
        wait(device)
        barrier.wait()
        times[2 * place + number] = seconds(lambda stage=stage: stage.train_epoch(2), device)
    barrier.wait()
    if place == 0 and on_gpu(device):
        print(f"{jobs} runs take {used(device) - before:.1f} GB of the GPU's memory", flush=True)
    barrier.wait()


def used(device: str) -> float:
    """GB of a GPU's memory that any process has."""
    if not on_gpu(device):
        return float("nan")
    free, whole = torch.cuda.mem_get_info()
    return (whole - free) / 2**30


def side_by_side(jobs: int, device: str, tiny: bool) -> None:
    forget(device)
    context = torch.multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(jobs), context.Array("d", 2 * jobs)
    torch.multiprocessing.spawn(
        beside_others, (jobs, device, tiny, used(device), barrier, times), nprocs=jobs
    )
    first, second = (max(times[number::2]) for number in (0, 1))
    print(
        f"{jobs} side by side: stage 1 {first:.2f} s, stage 2 in bf16 {second:.2f} s an epoch; "
        f"{jobs / first:.2f} and {jobs / second:.2f} epochs a second in all",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--beside", type=int, nargs="*", default=[1, 2, 4], help="runs on one GPU at a time")
    args = parser.parse_args()
    determinism.same_bytes()
    torch.set_num_threads(1)
    tiny = not on_gpu(args.device)
    name = torch.cuda.get_device_name() if on_gpu(args.device) else "CPU, tiny sizes: not a measurement"
    print(f"{name}; torch {torch.__version__}")
    for title, size in ({"tiny": TINY} if tiny else SIZES).items():
        data_set(title, size, args.device, tiny)
    print("\nSeveral runs at once, CH-SIMS's size")
    for jobs in args.beside:
        with told(f"{jobs} side by side"):
            side_by_side(jobs, args.device, tiny)
    if FAILED:
        sys.exit(f"failed: {', '.join(FAILED)}")


if __name__ == "__main__":
    main()
