"""Equal runs on one machine compute the same bytes."""

import os

import torch


def same_bytes() -> None:
    """Have torch compute the same numbers every time; before its first operation on a GPU.

    An operation that has no such way raises an error that names it.
    """
    # cuBLAS reads it at its first product; without it PyTorch refuses to multiply matrices under what follows
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # not as warnings only: then the fused attention of a GPU would add up its gradients in any order
    torch.use_deterministic_algorithms(True)
    # else PyTorch fills each new tensor with NaN first, which nearly doubles the calls
    torch.utils.deterministic.fill_uninitialized_memory = False
