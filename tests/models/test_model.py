import numpy as np
import pytest
import torch

from cmc import MODALITIES
from cmc.models.cmc import Dimensions, MultimodalModel, UnimodalModel
from cmc.models.sequences import Sequences, additive, arrange, spread
from cmc.training import pseudo_labels
from cmc.training.losses import balanced, supervised_contrastive

WIDTHS = {"text": 6, "audio": 5, "vision": 4}
SMALL = dict(features=WIDTHS, dim=8, layers=2, heads=2)


def clips(lengths, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, width, generator=generator) for length in lengths]


def ragged(parts):
    return Sequences.ragged(torch.cat(parts), torch.tensor([len(part) for part in parts]))


@pytest.mark.parametrize("modality", MODALITIES)
def test_prediction_does_not_depend_on_the_batch(modality):
    model = UnimodalModel(Dimensions(**SMALL), modality).double().eval()
    parts = [part.double() for part in clips([3, 17, 9, 1, 12, 30, 2], WIDTHS[modality])]
    together, _ = model(ragged(parts))
    for part, expected in zip(parts, together, strict=True):
        torch.testing.assert_close(model(ragged([part]))[0][0], expected, rtol=1e-10, atol=1e-10)


def test_padding_that_counts_changes_predictions():
    """What mask_padding: false accepts, and the default does not."""
    model = UnimodalModel(Dimensions(**SMALL), "audio").eval()
    part = clips([5], WIDTHS["audio"])[0]
    padded = torch.cat([part, torch.zeros(4, WIDTHS["audio"])])
    assert not torch.allclose(model(ragged([part]))[0], model(ragged([padded]))[0])


def test_groups_hold_each_frame_once():
    lengths = torch.tensor([3, 50, 7, 7, 1, 20, 33, 2, 9])
    layout = arrange(lengths, torch.device("cpu"))
    every = list(range(int(lengths.sum())))
    assert sorted(layout.cells[~layout.padded[:, 0]].tolist()) == every
    assert layout.cells[layout.places].tolist() == every
    masks = [torch.zeros(g.clips, g.time) if g.mask is None else g.mask[:, : g.time] for g in layout.groups]
    assert torch.equal(torch.cat([m.flatten() for m in masks]).isinf(), layout.padded[:, 0])


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_need_no_copy_to_be_aligned(heads, dtype):
    """What PyTorch asks of a mask: every stride but the last is a multiple of 8."""
    real = np.arange(13) < np.array([13, 4, 1])[:, None]
    mask = spread(torch.from_numpy(additive(real)), heads, 13, dtype)
    assert mask.shape == (3, heads, 13, 13)
    assert not any(stride % 8 for stride in mask.stride()[:-1]) and mask.stride(-1) == 1
    assert torch.equal(mask[:, -1, -1] == 0, torch.from_numpy(real))


def test_order_of_clips_does_not_matter():
    model = MultimodalModel(Dimensions(**SMALL)).double().eval()
    order = [3, 0, 4, 1, 2]
    parts = {
        k: [p.double() for p in clips([4, 9, 2, 7, 5], WIDTHS[k], seed=i)] for i, k in enumerate(MODALITIES)
    }
    straight = model({k: ragged(p) for k, p in parts.items()})
    shuffled = model({k: ragged([p[i] for i in order]) for k, p in parts.items()})
    for one, other in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(one[order], other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fusion", ["pfm", "sum", "concat"])
@pytest.mark.parametrize("router", ["mcr", "uniform"])
def test_every_parameter_gets_a_gradient(fusion, router):
    model = MultimodalModel(Dimensions(**SMALL, fusion=fusion, router=router))
    output = model({k: ragged(clips([4, 9, 2], WIDTHS[k])) for k in MODALITIES})
    (output.logits.square().sum() + output.expert_logits.square().sum() + output.h.sum()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_router_keeps_top_k_experts():
    model = MultimodalModel(Dimensions(**SMALL, top_k=1)).eval()
    output = model({k: ragged(clips([4, 9, 2], WIDTHS[k])) for k in MODALITIES})
    assert ((output.router_weights == 1).sum(dim=1) == 1).all()
    assert (output.router_weights.sum(dim=1) == 1).all()
    silent = output.router_weights == 0
    assert (output.expert_logits[silent] == 0).all() and (output.expert_logits[~silent] != 0).any()


def test_two_modalities_are_enough():
    widths = {"text": 6, "audio": 5}
    model = MultimodalModel(Dimensions(features=widths, dim=8, layers=1, heads=2, top_k=2)).eval()
    output = model({k: ragged(clips([4, 9], width)) for k, width in widths.items()})
    assert output.expert_logits.shape == (2, 2, 3)


def test_contradictory_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"dim \(8\) must be a multiple of heads \(3\)"):
        Dimensions(**SMALL | {"heads": 3})
    with pytest.raises(ValueError, match="top_k"):
        MultimodalModel(Dimensions(features={"text": 6}, dim=8, heads=2))


def test_sequences_refuse_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match="lengths sum to 5"):
        Sequences.ragged(torch.zeros(6, 2), torch.tensor([2, 3]))
    with pytest.raises(ValueError, match="start at 0"):
        Sequences.ragged(torch.zeros(3, 2), torch.tensor([0, 3]))


def test_contrastive_loss_without_positives_is_zero():
    features = torch.nn.functional.normalize(torch.randn(2, 4), dim=1).requires_grad_()
    loss = supervised_contrastive(features, torch.tensor([0, 1]))
    loss.backward()
    assert loss == 0 and np.isfinite(features.grad.numpy()).all()
    assert supervised_contrastive(features[:1], torch.tensor([0])) == 0


# any number of classes


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_any_number_of_classes_learns(count):
    model = MultimodalModel(Dimensions(**SMALL, classes=count, classifier_dropout=0.0)).double()
    batch = {k: ragged([p.double() for p in clips([4, 9, 2], WIDTHS[k])]) for k in MODALITIES}
    output = model(batch)
    assert output.logits.shape == (3, count) and output.expert_logits.shape == (3, 3, count)
    labels = torch.tensor([0, count - 1, 1])
    experts = sum(torch.nn.functional.cross_entropy(output.expert_logits[:, i], labels) for i in range(3))
    (torch.nn.functional.cross_entropy(output.logits, labels) + experts).backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not lacking


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_pseudo_labels_stay_distributions_and_reach_what_the_model_believes(count):
    generator = torch.Generator().manual_seed(count)
    classes = torch.randint(count, (3, 50), generator=generator)
    logits = 5 * torch.randn(3, 50, count, generator=generator)
    labels = pseudo_labels.initial(classes, count)
    for _ in range(200):
        labels = pseudo_labels.update(labels, logits, 0.8)
        assert (labels >= 0).all()
        torch.testing.assert_close(labels.sum(dim=-1), torch.ones(3, 50))
    sure = logits.softmax(dim=-1).max(dim=-1).values > 0.9
    assert sure.any() and (pseudo_labels.hard(labels)[sure] == logits.argmax(dim=-1)[sure]).all()


def test_a_model_of_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        Dimensions(**SMALL, classes=1)


def test_balanced_classes_weigh_the_same_in_all():
    classes = torch.tensor([0] * 6 + [1] * 3 + [3] * 1)
    weights = balanced(classes, 4)
    torch.testing.assert_close(weights, torch.tensor([10 / 18, 10 / 9, 1.0, 10 / 3]))
    sums = torch.zeros(4).index_add(0, classes, weights[classes])
    torch.testing.assert_close(sums, torch.tensor([10 / 3, 10 / 3, 0.0, 10 / 3]))
