"""How many kernels a training batch launches on a GPU, counted without one.

    python benchmarks/launches.py
    python benchmarks/launches.py --rectangles 1 2 4

On PyTorch's `meta` device operations have shapes and no numbers; each that is no mere view is a kernel, or a few,
on a GPU. Batches of CH-SIMS's size, float32; the optimizer's kernels, of which there are a dozen, are left out.
"""

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gpu import SIZES, Bench
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cmc.models import sequences
from cmc.training import loop

BATCHES = 4
VIEWS = """alias as_strided detach diagonal empty empty_like empty_strided expand narrow new_empty
    new_empty_strided permute _reshape_alias select slice split split_with_sizes squeeze t transpose unbind
    _unsafe_view unsqueeze view""".split()


class EpochOverError(Exception):
    """The host asks for the losses of all batches."""


class Counting(TorchDispatchMode):
    """Counts operations on the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = (one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor))
        name = function.overloadpacket.__name__
        if name not in VIEWS and any(tensor.is_meta for tensor in tensors):
            self.seen[name] += 1
        return result


def attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, dropout_p: float, **_: object
) -> Tensor:
    """The fused attention of a GPU. `meta` would take its steps one by one."""
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, True, dropout_p)[0]


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """One kernel, as on a GPU."""
    return torch.native_dropout(x, p, training)[0] if training and p else x


def as_on_a_gpu() -> None:
    F.scaled_dot_product_attention, F.dropout = attention, dropout
    torch.optim.Adam = lambda groups, lr, fused: NoStep(groups, lr=lr)  # fused Adam refuses the device

    def ask(_losses: loop.Losses) -> Tensor:
        raise EpochOverError

    loop.Losses.matrix = ask


class NoStep(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        pass


def train(stage: Any, batches: list[np.ndarray]) -> None:
    stage.order = lambda epoch: batches
    with contextlib.suppress(EpochOverError):
        stage.train_epoch(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rectangles", type=int, nargs="*", default=[sequences.GPU_GROUPS])
    parser.add_argument("--most", type=int, default=0, help="show this many operations by name")
    args = parser.parse_args()
    as_on_a_gpu()
    bench = Bench(SIZES["CH-SIMS"], "meta", tiny=False)
    stages: dict[str, Callable[[], Any]] = {
        "stage 1": bench.pretraining,
        "stage 2": lambda: bench.finetuning(bf16=False),
    }
    for count in args.rectangles:
        sequences.GPU_GROUPS = count
        for name, make in stages.items():
            stage, batches = make(), bench.batches[:BATCHES]
            with Counting() as counted:
                train(stage, batches)
            started = time.process_time()
            for clips in batches:
                bench.train.batch(clips)
            planning = (time.process_time() - started) / BATCHES
            seen = {name: number // BATCHES for name, number in counted.seen.most_common()}
            print(
                f"{name}, {count} rectangles: {sum(counted.seen.values()) / BATCHES:.0f} launches a batch; "
                f"its features are arranged in {1000 * planning:.1f} ms"
            )
            if args.most:
                print(
                    "   " + ", ".join(f"{name} {number}" for name, number in list(seen.items())[: args.most])
                )


if __name__ == "__main__":
    main()
