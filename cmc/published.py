"""Parameter names of the checkpoints that CMC's published code writes, and ours."""

import re
from collections.abc import Mapping

from torch import Tensor

LETTERS = {"l": "text", "a": "audio", "v": "vision"}
ORDER = ("text", "audio", "vision")  # of proj1s, proj2s, out_layers and the router's outputs

LAYER = {
    "self_attn.in_proj_weight": "attention.qkv.weight",
    "self_attn.in_proj_bias": "attention.qkv.bias",
    "self_attn.out_proj.weight": "attention.out.weight",
    "self_attn.out_proj.bias": "attention.out.bias",
}
HEAD = {"proj1": "linear1", "proj2": "linear2", "out_layer": "linear3"}


def rename(name: str, modality: str | None = None) -> str:
    """Our name of a published parameter.

    Parameters
    ----------
    name : str
        Such as ``encoder_a.layers.0.linear1.weight``, ``proj1s.2.bias``, ``router.linear.weight``.
    modality : str, optional
        The modality of a unimodal checkpoint; its names then have no ``unimodal.<modality>.`` in front.

    Raises
    ------
    KeyError
        A name that the published models don't have.
    """
    if match := re.fullmatch(r"router\.linear\.(weight|bias)", name):
        return f"router.{match[1]}"
    if match := re.fullmatch(r"(norm|proj)_([lav])\.(\w+)", name):
        kind, letter, tail = match.groups()
        modality_of, tail = LETTERS[letter], f"encoder.{kind}.{tail}"
    elif match := re.fullmatch(r"encoder_([lav])\.layers\.(\d+)\.(.+)", name):
        letter, layer, tail = match.groups()
        modality_of, tail = LETTERS[letter], f"encoder.blocks.{layer}.{LAYER.get(tail, tail)}"
    elif match := re.fullmatch(r"(proj1|proj2|out_layer)s\.([012])\.(weight|bias)", name):
        kind, expert, tail = match.groups()
        modality_of, tail = ORDER[int(expert)], f"classifier.{HEAD[kind]}.{tail}"
    elif modality and (match := re.fullmatch(r"(proj1|proj2|out_layer)\.(weight|bias)", name)):
        modality_of, tail = modality, f"classifier.{HEAD[match[1]]}.{match[2]}"
    else:
        raise KeyError(f"{name!r} is no parameter of CMC's published models")
    return tail if modality else f"unimodal.{modality_of}.{tail}"


def convert(state: Mapping[str, Tensor], modality: str | None = None) -> dict[str, Tensor]:
    """Our state dict from a published one; 1-wide convolutions become the matrices that they are."""
    return {
        rename(name, modality): tensor.squeeze(-1) if re.match(r"proj_[lav]\.", name) else tensor
        for name, tensor in state.items()
    }
