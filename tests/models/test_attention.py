import pytest
import torch
import torch.nn.functional as F

from cmc.models.attention import CPUAttention, spared


def tensors(clips=2, heads=2, dim=3, time=5):
    return [torch.randn(clips, heads, dim, time, dtype=torch.double, requires_grad=True) for _ in range(3)]


MASK = torch.tensor([[0.0] * 5, [0.0, 0.0, 0.0, -torch.inf, -torch.inf]])


@pytest.mark.parametrize("mask", [None, MASK])
def test_it_is_softmax_attention(mask):
    q, k, v = tensors()
    added = None if mask is None else mask[:, None, None, :].double()
    expected = F.scaled_dot_product_attention(q.mT, k.mT, v.mT, attn_mask=added).mT
    torch.testing.assert_close(CPUAttention.apply(q, k, v, mask, 0.0), expected)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("mask", [None, MASK])
def test_gradients_are_those_of_the_output(mask, dropout):
    def same_dropout(q, k, v):
        torch.manual_seed(3)
        return CPUAttention.apply(q, k, v, mask, dropout)

    assert torch.autograd.gradcheck(same_dropout, tensors())


def test_dropout_spares_the_rate_it_says():
    share = (spared(torch.empty(1000, 1000), 6554) < 0).double().mean()
    assert share == pytest.approx(0.1, abs=0.002)


def test_dropout_keeps_the_mean():
    q, k, v = tensors(time=6)
    whole = CPUAttention.apply(q, k, v, None, 0.0)
    dropped = torch.stack([CPUAttention.apply(q, k, v, None, 0.1) for _ in range(2000)])
    assert not torch.equal(dropped[0], whole)
    torch.testing.assert_close(dropped.mean(dim=0), whole, atol=0.05, rtol=0)
