"""Models of the Hugging Face kind on this machine: where they are, whether they are whole, loading them."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmc import files

if TYPE_CHECKING:  # they take seconds to import, and `resolve`, called before any job, needs neither
    from transformers import PretrainedConfig, PreTrainedModel

PACKAGE = "package:"  # prefix of a model that a Python package brings
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
WEIGHT_FILES = (  # the one that transformers takes is the first that is there
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
READERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "preprocessor_config.json")
DESCRIPTIONS = ("*.json", "*.txt", "*.model")
DOWNLOADED = (*DESCRIPTIONS, *WEIGHTS)
# models of text whose config.json may leave out that they have a decoder
WITH_DECODER = (
    "t5",
    "mt5",
    "longt5",
    "umt5",
    "switch_transformers",
    "bart",
    "mbart",
    "pegasus",
    "marian",
    "led",
)
WIDTH_KEYS = ("hidden_size", "dim", "d_model", "n_embd")  # as families of models call it
LFS_POINTER = b"version https://git-lfs"
UNUSED = ("pooler.", "masked_spec_embed")  # weights that only other tasks need; they may be missing

OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}  # of every from_pretrained


def load(encoder: str, layer: int = -1, download: bool = False) -> "PreTrainedModel":
    """An encoder ready for use: cut after a layer, in evaluation mode and float32, without a pooling layer.

    Code that comes with a model is never run, and weights are read as weights only.

    Parameters
    ----------
    encoder, download
        See `resolve`.
    layer : int
        The last layer that is kept, and of which `last_hidden_state` is: 1 is the first, -1 the last. Those
        behind it are not even read. Where the architecture ends in a norm, it stands behind the layer kept.

    Raises
    ------
    FileNotFoundError
        The encoder isn't on this machine.
    ValueError
        It has no such layer, has a decoder, or its weight file lacks weights, which the library would fill with
        random numbers.
    """
    directory = resolve(encoder, download)
    import torch
    import transformers

    # Its report of missing weights is an error here, below; of weights left over, no news.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(directory, **OPTIONS)
    if config.is_encoder_decoder:
        raise ValueError(
            f"{encoder} ({config.model_type}) has a decoder too: give a mere encoder, such as a BERT"
        )
    config.num_hidden_layers = kept(encoder, layer, config)
    model, found = transformers.AutoModel.from_pretrained(
        directory, config=config, dtype=torch.float32, output_loading_info=True, **OPTIONS
    )
    missing = [name for name in found["missing_keys"] if not name.startswith(UNUSED)]
    if missing:
        raise ValueError(f"{encoder}: {len(missing)} weights are missing, {missing[0]} for one: get it again")
    model.pooler = None  # hidden states need none; left in, fine-tuning would find it without a gradient
    return model.eval()


def kept(encoder: str, layer: int, config: "PretrainedConfig") -> int:
    """How many layers are kept up to `layer`, which counts from 1, or down from -1 at the last."""
    count = config.num_hidden_layers
    if not 1 <= abs(layer) <= count:
        raise ValueError(f"layer is {layer}; {encoder} has {count}: choose 1 to {count}, or -1 for the last")
    return layer if layer > 0 else count + 1 + layer


def resolve(encoder: str, download: bool = False) -> Path:
    """Directory of a model on this machine. Cheap, and silent on the network unless `download`.

    Parameters
    ----------
    encoder : str
        A directory as `save_pretrained` writes it; or "package:" and a Python package whose
        `get_model_path()` gives such a directory; or a name on the Hugging Face hub.
    download : bool
        Fetch a hub name that isn't here yet.

    Raises
    ------
    FileNotFoundError
        It isn't here, or not whole; the message tells the ways out.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if not download:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if encoder.startswith(PACKAGE):
        directory = _package_directory(encoder.removeprefix(PACKAGE))
    elif Path(encoder).expanduser().is_dir():
        directory = Path(encoder).expanduser()
    else:
        directory = _hub_directory(encoder, download)
    for patterns in (("config.json",), WEIGHTS, READERS):
        if not _found(directory, patterns):
            raise FileNotFoundError(f"The encoder in {directory} lacks {' or '.join(patterns)}.")
    return directory


def _package_directory(package: str) -> Path:
    try:
        return Path(importlib.import_module(package).get_model_path())
    except ModuleNotFoundError as error:
        reason = f"The encoder's package {package} is not installed: `pip install {package}`."
        raise FileNotFoundError(reason) from error


def _hub_directory(name: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=list(DOWNLOADED)))
    except (OSError, ValueError) as error:  # every error of the hub's is one of them
        failure = "could not be downloaded" if download else "is not on this machine"
        raise FileNotFoundError(
            f"The encoder {name!r} {failure}. Ways out: give the path of a directory that holds it; or "
            f"fetch it where there is a network, `hf download {name}`; or set `download: true`."
        ) from error


def _found(directory: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of a directory that match the first pattern that any matches."""
    return next((sorted(found) for pattern in patterns if (found := list(directory.glob(pattern)))), [])


def problem(encoder: str, download: bool = False) -> str | None:
    """Why an encoder can't be used, as far as its files tell; None if they don't.

    Asked before any job: no model is loaded, and neither torch nor transformers.

    Parameters
    ----------
    encoder, download
        See `resolve`.
    """
    try:
        directory = resolve(encoder, download)
    except FileNotFoundError as error:
        return str(error)
    return unreadable(directory) or unsuitable(encoder, directory) or untokenizable(directory)


def unreadable(directory: Path) -> str | None:
    """Why a folder's files can't be a whole model, if they can't."""
    try:
        described = _described(directory)
    except ValueError as error:
        return f"{directory / 'config.json'} is no JSON ({error}): get the encoder again."
    weights = next((name for name in WEIGHT_FILES if (directory / name).is_file()), "")
    if weights.endswith(".index.json"):
        parts = json.loads((directory / weights).read_text(encoding="utf-8"))["weight_map"].values()
        if missing := sorted(part for part in set(parts) if not (directory / part).is_file()):
            return f"The encoder in {directory} lacks {missing[0]}, which {weights} names: get it again."
    for path in _found(directory, WEIGHTS):
        with open(path, "rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                return f"{path} is a pointer of Git LFS, not the weights: run `git lfs pull` in {directory}."
    if "model_type" not in described:
        return (
            f'{directory / "config.json"} has no "model_type", as those of old BERTs. Add the line '
            '"model_type": "bert", (or "roberta", whichever it is) behind its first brace.'
        )
    return None


def unsuitable(encoder: str, directory: Path) -> str | None:
    """Why a model is no encoder, if it is none."""
    described = _described(directory)
    if described.get("is_encoder_decoder") or described["model_type"] in WITH_DECODER:
        return (
            f"{encoder} ({described['model_type']}) has a decoder too: give a mere encoder, such as a BERT."
        )
    return None


def untokenizable(directory: Path) -> str | None:
    """Which packages a model's tokenizer needs that aren't installed, and how to get them."""
    if any((directory / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        return None
    found = sorted(directory.glob("*.model"))
    needed = (
        ("tiktoken",)
        if [path.name for path in found] == ["tiktoken.model"]
        else ("sentencepiece", "protobuf")
    )
    missing = [package for package in needed if found and not installed(package)]
    if missing:
        return (
            f"The tokenizer of the encoder in {directory} ({found[0].name} without a tokenizer.json) needs "
            f"packages that are not installed: pip install {' '.join(missing)}"
        )
    return None


def installed(package: str) -> bool:
    """Whether a package of the package index is installed, under whatever name it is imported."""
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def width(encoder: str) -> int | None:
    """Dimensions of an encoder's hidden states, from its config.json alone; None if that does not tell."""
    described = _described(resolve(encoder))
    return next((described[key] for key in WIDTH_KEYS if isinstance(described.get(key), int)), None)


def kind(model: str) -> str | None:
    """Architecture of a model, as its config.json calls it; None if that does not tell."""
    return _described(resolve(model)).get("model_type")


def vocabulary(encoder: str) -> int | None:
    """How many token ids an encoder knows, from its config.json alone; None if that does not tell."""
    return _described(resolve(encoder)).get("vocab_size")


def _described(directory: Path) -> dict[str, Any]:
    described = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if not isinstance(described, dict):
        raise ValueError("no object")
    return described


def facts(encoder: str, download: bool = False, tokens: bool = True) -> dict[str, str | int | None]:
    """What identifies an encoder, and its token ids.

    Parameters
    ----------
    encoder, download
        See `resolve`.
    tokens : bool
        Whether it is one of text.

    Returns
    -------
    dict
        encoder: as given; sha256: of its files. Of text also width: dimensions of its hidden states;
        vocabulary: how many token ids it knows; cls, sep: the ids with which each text begins and ends, None if
        there are none.
    """
    directory = resolve(encoder, download)
    found: dict[str, str | int | None] = {"encoder": encoder, "sha256": model_sha256(directory)}
    if not tokens:
        return found
    import transformers

    config = transformers.AutoConfig.from_pretrained(directory, **OPTIONS)
    special = transformers.AutoTokenizer.from_pretrained(directory, **OPTIONS)("")["input_ids"]
    return found | {
        "width": config.hidden_size,
        "vocabulary": config.vocab_size,
        "cls": special[0] if special else None,
        "sep": special[-1] if special else None,
    }


def unfit(encoder: str, width: int, vocabulary: int, features: int, largest: int = 0) -> str | None:
    """Why an encoder can't be finetuned behind text features, None if it can.

    Parameters
    ----------
    encoder : str
        As the config names it.
    width, vocabulary : int
        Dimensions of its hidden states; how many token ids it knows.
    features, largest : int
        Dimensions of the features' hidden states; their largest token id.
    """
    way_out = "set text_encoder to the one that made them, or finetune.train_text_encoder to false"
    if features != width:
        return (
            f"the features' hidden states have {features} dimensions, those of {encoder} {width}: {way_out}"
        )
    if largest >= vocabulary:
        return f"the features hold the token id {largest}, but {encoder} knows {vocabulary}: {way_out}"
    return None


def model_files(directory: Path) -> list[Path]:
    """The files that determine what an encoder computes: weights, config, tokenizer."""
    described = {path for pattern in DESCRIPTIONS for path in directory.glob(pattern)}
    return sorted(described.union(_found(directory, WEIGHTS)))


def model_sha256(directory: Path) -> str:
    """SHA-256 of an encoder's files and their names, as hexadecimal digits."""
    digest = hashlib.sha256()
    for path in model_files(directory):
        digest.update(f"{path.name} {files.sha256(path)}\n".encode())
    return digest.hexdigest()
