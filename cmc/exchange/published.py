"""Checkpoints that CMC's published code writes: their parameter names in ours, and whole-model files.

A whole-model file (`torch.save(model)`) is a pickle whose classes we don't have, and a pickle can run code. It is
read by `Unpickler`, which builds tensors itself, turns the classes that a model consists of into inert stand-ins,
and refuses every other name. Nothing of the file runs.
"""

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmc.models.cmc import Dimensions, MultimodalModel, UnimodalModel

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


STAND_INS = ("torch.nn.", "torch._C._nn", "transformers.", "tokenizers", "src.")
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class PublishedError(Exception):
    """A published checkpoint that can't be read, or must not be."""


class StandIn:
    """Holds the attributes of an object whose class we don't have; does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> "StandIn":
        return object.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Arguments are not looked at."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class Unpickler(pickle._Unpickler):
    """The pure Python unpickler, with a closed list of names; the C one allocates what a file merely claims."""

    def __init__(self, archive: zipfile.ZipFile, root: str, path: Path) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root, self.path = archive, root, path

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("__builtin__", "set"): set,
            ("builtins", "set"): set,
            ("_codecs", "encode"): encode,
            ("torch._utils", "_rebuild_tensor_v2"): tensor,
            ("torch._utils", "_rebuild_parameter"): parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if f"{module}.".startswith(STAND_INS):
            return type(name, (StandIn,), {"__module__": module})
        raise PublishedError(
            f"{self.path} names {module}.{name}, which no model of CMC's published code needs; it could run code "
            "and was not read. Get the file from a source that you trust."
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage: ('storage', type, key, device, elements)."""
        _, dtype, key, _, count = pid
        if not isinstance(dtype, torch.dtype) or not re.fullmatch(r"\d+", str(key)):
            raise PublishedError(f"{self.path} has a storage of unknown kind: {pid}")
        entry = f"{self.root}/data/{key}"
        size = count * dtype.itemsize
        if self.archive.getinfo(entry).file_size != size:
            raise PublishedError(f"{self.path}: {entry} should have {size} bytes for {count} numbers")
        return (
            torch.frombuffer(bytearray(self.archive.read(entry)), dtype=dtype)
            if count
            else torch.empty(0, dtype=dtype)
        )


def encode(text: str, encoding: str) -> bytes:
    """What old protocols write bytes as; no other codec than latin1."""
    if encoding != "latin1":
        raise PublishedError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_rest: object) -> Tensor:
    """A tensor of its own over a part of a storage."""
    if math.prod(size) > storage.numel():
        raise PublishedError(f"a tensor of shape {tuple(size)} in a storage of {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset).clone()


def parameter(data: Tensor, *_rest: object) -> Tensor:
    return data


@dataclass(frozen=True)
class Published:
    """A model of the published code, as one of ours.

    Attributes
    ----------
    model : UnimodalModel or MultimodalModel
        In evaluation mode.
    modality : str or None
        Of a unimodal model.
    bert : Module or None
        The finetuned language model, in evaluation mode, without a pooling layer.
    """

    model: nn.Module
    modality: str | None
    bert: nn.Module | None


def load(path: str | Path, *, heads: int | None = None, bert: nn.Module | None = None) -> Published:
    """Read a checkpoint of CMC's published code: a whole model, or a plain state dict.

    Parameters
    ----------
    path : path
        What `torch.save(model)` or `torch.save(model.state_dict())` wrote.
    heads : int, optional
        Attention heads; a state dict doesn't tell them, so it needs them. Nor does it tell top_k and the
        fusion's temperature: they are 3 and 0.07, as published.
    bert : Module, optional
        A state dict's language model: one of the same configuration, without a pooling layer, whose weights
        are replaced. A whole model brings its own.

    Raises
    ------
    PublishedError
        If the file is damaged, names anything that a model doesn't consist of, or is no model of CMC's.
    ValueError
        If a state dict needs `heads` or `bert`.
    """
    held = read(Path(path))
    whole = isinstance(held, StandIn)
    state = state_of(held) if whole else held
    own = {name: t for name, t in state.items() if not name.startswith("text_model.")}
    letters = sorted(
        {match[1] for name in own if (match := re.match(r"proj_([lav])\.", name))}, key="lav".index
    )
    if not whole and heads is None:
        raise ValueError(
            f"{path} is a state dict, which doesn't tell the number of attention heads: give heads"
        )
    if not whole and len(own) < len(state) and bert is None:
        raise ValueError(
            f"{path} is a state dict with a language model: give one of its configuration as bert"
        )
    try:
        modality = LETTERS[letters[0]] if len(letters) == 1 else None
        layers = {match[1] for name in own if (match := re.match(r"encoder_[lav]\.layers\.(\d+)\.", name))}
        dims = Dimensions(
            features={LETTERS[letter]: own[f"proj_{letter}.weight"].shape[1] for letter in letters},
            dim=own[f"proj_{letters[0]}.weight"].shape[0],
            layers=len(layers),
            **(attributes(held, letters[0]) if whole else {"heads": heads}),
        )
        model = UnimodalModel(dims, modality) if modality else MultimodalModel(dims)
        model.load_state_dict(convert(own, modality))
        bert = language_model(held, state) if whole else filled(bert, state)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise PublishedError(f"{path} is no model of CMC's published code: {error}") from None
    return Published(model.eval(), modality, bert)


def read(path: Path) -> StandIn | dict[str, Tensor]:
    """The whole model as a stand-in, or the state dict."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("/data.pkl")
            held = Unpickler(archive, root, path).load()
    except PublishedError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise PublishedError(
            f"{path} can't be read as a PyTorch file ({type(error).__name__}: {error})"
        ) from None
    if isinstance(held, dict) and held and all(isinstance(t, Tensor) for t in held.values()):
        return held
    if not isinstance(held, StandIn):
        raise PublishedError(f"{path} holds a {type(held).__name__}, no model")
    return held


def attributes(whole: StandIn, letter: str) -> dict[str, Any]:
    """What a whole model knows of itself beyond the shapes of its weights."""
    layers = vars(vars(vars(whole)["_modules"][f"encoder_{letter}"])["_modules"]["layers"])["_modules"]
    own = vars(whole)
    return {
        "heads": vars(vars(layers["0"])["_modules"]["self_attn"])["num_heads"],
        "classifier_dropout": own["out_dropout"],
        "top_k": own.get("top_k", 1),
        "temperature": own.get("temperature", 0.07),
    }


def state_of(module: StandIn, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers of a stand-in and all below it, by their dotted names."""
    attributes = vars(module)
    found = {}
    for kind in ("_parameters", "_buffers"):
        found |= {prefix + n: t for n, t in attributes.get(kind, {}).items() if isinstance(t, Tensor)}
    for name, child in attributes.get("_modules", {}).items():
        if isinstance(child, StandIn):
            found |= state_of(child, f"{prefix}{name}.")
    return found


def language_model(whole: StandIn, state: Mapping[str, Tensor]) -> nn.Module | None:
    """The finetuned BERT inside a model, its configuration from the attributes of its stand-in."""
    wrapper = vars(whole)["_modules"].get("text_model")
    if wrapper is None:
        return None
    from transformers import BertConfig, BertModel

    plain = (str, int, float, bool, type(None))
    config = vars(vars(vars(wrapper)["_modules"]["model"])["config"])
    settings = {k: v for k, v in config.items() if not k.startswith("_") and isinstance(v, plain)}
    return filled(BertModel(BertConfig(**settings), add_pooling_layer=False), state)


def filled(bert: nn.Module | None, state: Mapping[str, Tensor]) -> nn.Module | None:
    """`bert` with the language model's weights of a published state dict."""
    prefix = "text_model.model."
    if bert is None:
        return None
    weights = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    bert.load_state_dict({n: t for n, t in weights.items() if n in bert.state_dict()})
    return bert.eval()
