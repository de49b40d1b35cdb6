"""Multi-head self-attention within each clip of a ragged batch.

On a GPU this is PyTorch's fused attention. On a CPU, dropout on the attention weights would force its slow path,
and heads of 8 dimensions suit its kernels badly; `CPUAttention` computes the same in a quarter of the time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmc.models.sequences import Layout, in_rectangles, spread

RANDOM_STEPS = 1 << 16  # dropout rates are multiples of 1 / RANDOM_STEPS: four decisions from 64 random bits


class Attention(nn.Module):
    """Self-attention of `heads` heads with dropout on the attention weights."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:  # (frames, dim) -> (frames, dim)
        return self.out(in_rectangles(self.attend, self.qkv(x), layout))

    def attend(
        self, qkv: Tensor, mask: Tensor | None
    ) -> Tensor:  # (clips, time, 3 dim) -> (clips, time, dim)
        clips, time, _ = qkv.shape
        dropout = self.dropout if self.training else 0.0
        parts = qkv.view(clips, time, 3, self.heads, -1)
        if qkv.device.type == "cpu":
            q, k, v = parts.permute(2, 0, 3, 4, 1).contiguous()  # each (clips, heads, dim / heads, time)
            return CPUAttention.apply(q, k, v, mask, dropout).permute(0, 3, 1, 2).reshape(clips, time, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (clips, heads, time, dim / heads)
        seen = None if mask is None else spread(mask, self.heads, time, q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return attended.transpose(1, 2).reshape(clips, time, -1)


class CPUAttention(torch.autograd.Function):
    """softmax(q^T k / sqrt(d)) with dropout, times v; time is the last axis of every argument.

    In that layout the products with a narrow matrix run about four times as fast as in the usual one. The
    backward pass keeps the attention weights alone: the sign of a weight says whether dropout spared it.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        """(clips, heads, d, time) each, mask of `Group` -> (clips, heads, d, time)."""
        scale = q.shape[2] ** -0.5
        scores = (q * scale).mT @ k  # (clips, heads, time, time)
        if mask is not None:
            scores.add_(mask[:, None, None, : scores.shape[-1]])
        weights = torch.softmax(scores, dim=-1)
        steps = round(dropout * RANDOM_STEPS)
        if steps:
            weights = torch.copysign(weights, spared(weights, steps))
        gain = 1 / (1 - steps / RANDOM_STEPS)
        out = (v * gain) @ weights.relu().mT
        ctx.save_for_backward(q, k, v, weights, out)
        ctx.scale, ctx.gain = scale, gain
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, out = ctx.saved_tensors
        kept = weights.relu()
        grad_v = (grad * ctx.gain) @ kept
        grad_weights = torch.ops.aten.threshold_backward((grad * ctx.gain).mT @ v, weights, 0.0)
        # softmax: dS = P (dP - sum(dP P)), and that sum is the product of the output and its gradient
        grad_weights.sub_((grad * out).sum(dim=2)[..., None]).mul_(weights.abs())
        grad_q = (k @ grad_weights.mT).mul_(ctx.scale)
        grad_k = (q * ctx.scale) @ grad_weights
        return grad_q, grad_k, grad_v, None, None


def random_lanes(words: Tensor) -> Tensor:
    """Fill int64 numbers (n,) with random bits; the same memory as int16 (4 n,), each of `RANDOM_STEPS` values."""
    return words.random_(-(2**63), None).view(torch.int16)


def spared(like: Tensor, steps: int) -> Tensor:
    """Numbers of the shape of `like`, negative with probability steps / RANDOM_STEPS."""
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    lanes = random_lanes(words)[: like.numel()].view(like.shape)
    return lanes.to(like.dtype).sub_(steps - RANDOM_STEPS // 2 - 0.5)
