"""Baselines compute what their published modules do; padding changes no prediction; every parameter learns."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cmc import MODALITIES
from cmc.models import baselines
from cmc.models.baselines import lf_dnn, lmf, misa, mult, self_mm, tfn
from cmc.models.sequences import Sequences

GOLDEN = Path(os.environ.get("CMC_GOLDEN_BASELINES", Path(__file__).parent.parent / "golden/baselines"))
DIMS = json.loads((GOLDEN / "dims.json").read_text())
WIDTH, HIDDEN = (dict(zip(MODALITIES, DIMS[key], strict=True)) for key in ("width", "hidden"))
NO_DROPOUT = {"audio": 0.0, "vision": 0.0}
OURS = [  # published name of a parameter -> ours
    (r"^(\w+)_subnet\.rnn\.", r"encoders.\1.rnn."),
    (r"^text_subnet\.linear_1\.", "encoders.text.linear."),
    (r"^(\w+)_subnet\.norm\.", r"encoders.\1.norm."),
    (r"^(\w+)_subnet\.linear_(\d)\.", r"encoders.\1.linear\2."),
    (r"^post_fusion_layer_(\d)\.", r"head.linear\1."),
    (r"^(\w+)_factor$", r"factors.\1"),
    (r"\bvideo\b", "vision"),
]
MULT = [
    (r"^proj_(\w)\.", r"project.\1."),
    (r"^trans_(\w)_with_(\w)\.", r"cross.\1_\2."),
    (r"^trans_(\w)_mem\.", r"memory.\1."),
    (r"self_attn\.in_proj_(weight|bias)", r"project.\1"),
    (r"self_attn\.out_proj", "out"),
    (r"\bfc(\d)", r"linear\1"),
    (r"layer_norms\.0", "norm1"),
    (r"layer_norms\.1", "norm2"),
    (r"layer_norm\b", "norm"),
    (r"^proj(\d)\.", r"linear\1."),
    (r"^out_layer\.", "out."),
    (r"(?<=[._])l(?=[._])", "text"),
    (r"(?<=[._])a(?=[._])", "audio"),
    (r"(?<=[._])v(?=[._])", "vision"),
]
LETTERS = {"t": "text", "a": "audio", "v": "vision"}
MISA = [
    (r"^([av])rnn(\d)\.", lambda m: f"recurrent.{LETTERS[m[1]]}.rnn{m[2]}."),
    (r"^([av])layer_norm\.", lambda m: f"recurrent.{LETTERS[m[1]]}.norm."),
    (r"^project_([tav])\.project_\w_layer_norm\.", lambda m: f"project.{LETTERS[m[1]]}.norm."),
    (r"^project_([tav])\.project_\w\.", lambda m: f"project.{LETTERS[m[1]]}.linear."),
    (r"^private_([tav])\.private_\w_\d\.", lambda m: f"private.{LETTERS[m[1]]}."),
    (r"^shared\.shared_1\.", "shared."),
    (r"^recon_([tav])\.recon_\w_1\.", lambda m: f"reconstruct.{LETTERS[m[1]]}."),
    (r"^discriminator\.discriminator_layer_(\d)\.", r"discriminator\1."),
    (r"^transformer_encoder\.layers\.0\.", "encoder."),
    (r"^fusion\.fusion_layer_1\.", "linear1."),
    (r"^fusion\.fusion_layer_3\.", "linear2."),
]
SELF_MM = [
    (r"^(audio|video)_model\.rnn\.", r"recurrent.\1.rnn."),
    (r"^(audio|video)_model\.linear_1\.", r"recurrent.\1.linear."),
    (r"^post_(\w+)_layer_(\d)\.", r"heads.\1.linear\2."),
    (r"\bvideo\b", "vision"),
]
UNUSED = r"^(output_range|output_shift|sp_discriminator\.|tlayer_norm\.)"


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def converted(arrays, rules):
    state = {}
    for key, value in arrays.items():
        name = key.removeprefix("param/")
        if key.startswith("param/") and not re.search(UNUSED, name):
            for pattern, ours in rules:
                name = re.sub(pattern, ours, name)
            state[name] = value
    return state


def of_tfn(state):
    """Its first layer behind the fusion is its own, with the weight the other way round."""
    renamed = {key.replace("head.linear1", "fusion").replace("head.", ""): own for key, own in state.items()}
    return renamed | {"fusion.weight": renamed["fusion.weight"].T}


def close(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def inputs_of(arrays):
    """Padding counts, as published; audio and vision are means already."""
    found = {name: arrays[f"x_{name}"] for name in MODALITIES}
    return {name: Sequences.padded(x if x.ndim == 3 else x[:, None]) for name, x in found.items()}


def model_of(module, outputs, rules, arrays, **settings):
    model = module.Model(WIDTH, outputs, module.Settings(**settings)).double().eval()
    state = converted(arrays, rules)
    missing, unexpected = model.load_state_dict(of_tfn(state) if module is tfn else state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return model


CASES = [
    (
        lf_dnn,
        "lf_dnn",
        dict(hidden=HIDDEN, text_out=DIMS["text_out"], post_fusion=DIMS["fusion"], dropouts=NO_DROPOUT),
    ),
    (
        tfn,
        "tfn",
        dict(hidden=HIDDEN, text_out=DIMS["text_out"], post_fusion=DIMS["fusion"], dropouts=NO_DROPOUT),
    ),
    (lmf, "lmf", dict(hidden=HIDDEN, rank=DIMS["rank"], dropouts=NO_DROPOUT)),
]


@pytest.mark.parametrize(("objective", "outputs"), [("classification", 3), ("regression", 1)])
@pytest.mark.parametrize(("module", "name", "settings"), CASES, ids=[name for _, name, _ in CASES])
def test_utterance_fusion(module, name, settings, objective, outputs):
    arrays = load(f"{name}_{objective}")
    model, inputs = model_of(module, outputs, OURS, arrays, **settings), inputs_of(arrays)
    h = model.encoders(inputs)
    for modality in MODALITIES:
        close(h[modality], arrays[f"h_{modality}"])
    if name != "tfn":  # which never has all of it in memory
        close(model.fuse(h).reshape(arrays["fused"].shape), arrays["fused"])
    close(model(inputs), arrays["output"])


@pytest.mark.parametrize(("objective", "outputs"), [("classification", 3), ("regression", 1)])
def test_mult(objective, outputs):
    arrays = load(f"mult_{objective}")
    kernels = {
        name: arrays[f"param/proj_{name[0] if name != 'text' else 'l'}.weight"].shape[-1]
        for name in MODALITIES
    }
    dims = dict(dim=DIMS["mult_dim"], heads=DIMS["mult_heads"], layers=DIMS["mult_layers"], kernels=kernels)
    for name, letter in zip(MODALITIES, "lav", strict=True):
        if WIDTH[name] == DIMS["mult_dim"]:
            del arrays[f"param/proj_{letter}.weight"]  # which is there and not used
    model, inputs = model_of(mult, outputs, MULT, arrays, **dims), inputs_of(arrays)
    last = model.last(inputs)
    for modality in MODALITIES:
        close(last[modality], arrays[f"last_{modality}"], 1e-7)
    close(model(inputs), arrays["output"], 1e-7)


@pytest.mark.parametrize("adversarial", [False, True])
def test_misa(adversarial):
    arrays = load("misa_adversarial" if adversarial else "misa_cmd")
    width = WIDTH | {"text": arrays["x_text"].shape[-1]}
    settings = misa.Settings(hidden=DIMS["misa_hidden"], adversarial=adversarial, text_lengths=True)
    model = misa.Model(width, 3, settings).double().eval()
    model.load_state_dict(converted(arrays, MISA))
    lengths = arrays["lengths"]
    real = torch.arange(arrays["x_text"].shape[1]) < lengths[:, None]
    inputs = {
        "text": Sequences.ragged(arrays["x_text"][real], lengths),
        "audio": Sequences.padded(arrays["x_audio"]),
        "vision": Sequences.padded(arrays["x_vision"]),
    }
    found = model.vectors(inputs)
    for name, ours in {
        "orig": found.original,
        "private": found.private,
        "shared": found.shared,
        "recon": found.reconstructed,
    }.items():
        close(ours[:, [misa.ORDER.index(modality) for modality in MODALITIES]], arrays[name])
    close(model(inputs), arrays["output"])
    close(misa.difference_loss(found), arrays["loss_diff"])
    close(misa.reconstruction_loss(found), arrays["loss_recon"])
    if not adversarial:
        close(misa.moments_loss(found.shared), arrays["loss_cmd"])


def published_self_mm(arrays):
    def width(name, axis=0):
        return arrays[f"param/{name}"].shape[axis]

    both = {"audio": "audio", "vision": "video"}
    settings = self_mm.Settings(
        recurrent={name: width(f"{own}_model.rnn.weight_hh_l0", 1) for name, own in both.items()},
        out={name: width(f"{own}_model.linear_1.weight") for name, own in both.items()},
        post={space: width(f"post_{both.get(space, space)}_layer_1.weight") for space in self_mm.SPACES},
        limit=DIMS["H"],
    )
    widths = {name: arrays[f"x_{name}"].shape[-1] for name in MODALITIES}
    model = self_mm.Model(widths, 1, settings).double().eval()
    model.load_state_dict(converted(arrays, SELF_MM))
    return model


def test_self_mm():
    arrays = load("self_mm")
    model, inputs = published_self_mm(arrays), {}
    for name in MODALITIES:
        values, lengths = arrays[f"x_{name}"], arrays[f"{name}_lengths"]
        inputs[name] = Sequences.ragged(values[torch.arange(values.shape[1]) < lengths[:, None]], lengths)
    model.begin(torch.zeros(len(values), dtype=torch.float64))
    scores, _ = model.outputs(inputs, torch.arange(len(values)))
    close(scores, arrays["output_M"])
    close(model(inputs), arrays["output_M"])
    for space in self_mm.SPACES:
        close(model.seen[space], arrays[f"h_{space}"])
    for name in MODALITIES:
        close(model.heads[name](model.vectors(inputs)[name]), arrays[f"output_{name[0].upper()}"])


def test_labels_of_self_mm():
    """Of several epochs, the loss of each batch and the labels after it."""
    arrays = load("self_mm")
    model, labels = published_self_mm(arrays), arrays["labels0"]
    model.begin(labels)
    steps = sorted({int(key[4:].split("/")[0]) for key in arrays if key.startswith("step")})
    changed = 0
    for step in steps:
        own = {key.split("/")[1]: value for key, value in arrays.items() if key.startswith(f"step{step}/")}
        clips = own["clips"]
        losses = [(own["y_M"][:, 0] - labels[clips]).abs().mean()]
        losses += [model.unimodal_loss(name, own[f"y_{name[0].upper()}"], clips) for name in MODALITIES]
        close(sum(losses), own["loss"])
        model.seen = {space: own[f"h_{space}"] for space in self_mm.SPACES}
        model.after_batch(int(own["epoch"]), clips)
        for name in MODALITIES:
            close(model.remembered[f"labels_{name}"], own[f"labels_{name}"])
            changed += int((own[f"labels_{name}"] != labels).sum())
    assert changed and len(steps) > 4


def test_labels_of_self_mm_stay_where_one_side_has_no_clip():
    model = small("self_mm")
    labels = torch.tensor([0.4, 0.0, 0.8], dtype=torch.float64)
    model.begin(labels)
    for epoch in (1, 2):
        model.outputs(ragged(clips(LENGTHS)), torch.arange(3))
        model.after_batch(epoch, torch.arange(3))
    for space in self_mm.SPACES:
        close(model.remembered[f"labels_{space}"], labels)


def vectors():
    generator = torch.Generator().manual_seed(1)
    shapes = (3, 2 * tfn.PART + 5), (3, 4), ((2 * tfn.PART + 5) * 4, 6)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_the_fusion_of_tfn_by_parts_is_a_layer_over_the_outer_product():
    first, second, weight = vectors()
    found = tfn.CPUFusion.apply(first, second, weight, 0.0)
    close(found, (first[:, :, None] * second[:, None, :]).flatten(1) @ weight)
    assert torch.autograd.gradcheck(lambda *own: tfn.CPUFusion.apply(*own, 0.0), (first, second, weight))


def test_the_fusion_of_tfn_drops_products_at_random():
    def fused(*own):
        torch.manual_seed(5)
        return tfn.CPUFusion.apply(*own, 0.4)

    first, second, weight = vectors()
    assert torch.autograd.gradcheck(fused, (first, second, weight))
    ones = [torch.ones(64, 48), torch.ones(64, 40), torch.eye(48 * 40)]
    torch.manual_seed(0)
    kept = tfn.CPUFusion.apply(*ones, 0.4)  # each product by itself
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.6], rel=1e-4)
    share, clips, places = (kept > 0).float().mean(), *((kept > 0).float().mean(dim=d) for d in (1, 0))
    assert abs(share - 0.6) < 0.005 and (clips - 0.6).abs().max() < 0.05 and (places - 0.6).abs().max() < 0.3
    assert (kept[0] != kept[1]).any()
    pairs = ((kept[:, :-1] > 0) == (kept[:, 1:] > 0)).float().mean()
    assert abs(pairs - 0.52) < 0.01  # neighbours are independent


# what they share

SMALL = {
    "lf_dnn": {"hidden": HIDDEN, "text_out": 6, "post_fusion": 5},
    "tfn": {"hidden": HIDDEN, "text_out": 6, "post_fusion": 5},
    "lmf": {"hidden": HIDDEN},
    "mult": {"dim": 8, "heads": 2, "layers": 1},
    "misa": {"hidden": 8},
    "self_mm": {
        "recurrent": {"audio": 5, "vision": 4},
        "out": {"audio": 4, "vision": 3},
        "post": dict.fromkeys(self_mm.SPACES, 6),
        "dropouts": dict.fromkeys(self_mm.SPACES, 0.0),
    },
}
REGRESSIONS = {"self_mm"}


def small(name, settings=()):
    outputs = 1 if name in REGRESSIONS else 4
    return baselines.build(name, WIDTH, outputs, SMALL[name] | dict(settings)).double()


def clips(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: [torch.randn(n, width, generator=generator, dtype=torch.float64) for n in own]
        for (name, width), own in zip(WIDTH.items(), lengths, strict=True)
    }


def ragged(parts):
    return {
        name: Sequences.ragged(torch.cat(own), torch.tensor([len(one) for one in own]))
        for name, own in parts.items()
    }


LENGTHS = [[5, 9, 7], [20, 3, 11], [6, 14, 1]]


def test_all_are_listed():
    assert set(SMALL) == set(baselines.ARCHITECTURES)


@pytest.mark.parametrize("name", SMALL)
def test_a_prediction_does_not_depend_on_the_batch(name):
    model, parts = small(name).eval(), clips(LENGTHS)
    together = model(ragged(parts))
    for place in range(3):
        alone = model(ragged({modality: own[place : place + 1] for modality, own in parts.items()}))
        close(alone[0], together[place])


@pytest.mark.parametrize("adversarial", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name, adversarial):
    model = small(name, {"adversarial": True} if name == "misa" and adversarial else {}).train()
    places, scores = torch.arange(3), torch.tensor([-0.4, 0.2, 1.0], dtype=torch.float64)
    model.begin(scores)
    for space in MODALITIES if name == "self_mm" else ():  # only clips whose labels differ count
        model.remembered[f"labels_{space}"] += 0.5
    outputs, extra = model.outputs(ragged(clips(LENGTHS)), places)
    assert set(extra) == set(model.extra_losses) and outputs.shape == (3, 1 if name in REGRESSIONS else 4)
    if name in REGRESSIONS:
        task = (outputs[:, 0] - scores).abs().mean()
    else:
        task = torch.nn.functional.cross_entropy(outputs, torch.tensor([0, 3, 1]))
    (task + sum(extra.values())).backward()
    lacking = [key for key, own in model.named_parameters() if own.grad is None or not own.grad.any()]
    assert not lacking


def test_misa_as_published_hears_no_more_frames_than_there_are_tokens():
    parts = clips(LENGTHS)
    longer = parts | {"audio": [torch.cat([own, own + 1]) for own in parts["audio"]]}
    for text_lengths, same in ((True, False), (False, False)):
        model = baselines.build("misa", WIDTH, 3, {"hidden": 8, "text_lengths": text_lengths}).double().eval()
        first, second = model(ragged(parts)), model(ragged(longer))
        # the first clip has more sound than tokens already
        assert torch.allclose(first[0], second[0], atol=1e-12) == text_lengths
        assert torch.allclose(first, second, atol=1e-12) is same


def test_widths_that_are_not_there_are_told():
    with pytest.raises(ValueError, match="lf_dnn needs text, audio and vision; there are text, audio"):
        baselines.build("lf_dnn", {"text": 4, "audio": 3}, 3, {})
    with pytest.raises(ValueError, match="no baseline is called lfdnn"):
        baselines.build("lfdnn", WIDTH, 3, {})
    with pytest.raises(ValueError, match="self_mm learns scores, not classes"):
        baselines.build("self_mm", WIDTH, 3, {})


def test_alike_vectors_have_a_gradient():
    """Their fifth moments differ by less than float32 can square."""
    shared = (0.5 + 1e-6 * torch.randn(8, 3, 4)).requires_grad_()
    misa.moments_loss(shared).backward()
    assert shared.grad.isfinite().all()


def test_the_documented_example_of_ones_own():
    text = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    names = {"__name__": "mine"}
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], names)
    model = names["Model"](WIDTH, 4, names["Settings"](hidden=5)).double()
    logits, extra = model.outputs(ragged(clips(LENGTHS)), torch.arange(3))
    assert logits.shape == (3, 4) and not extra
