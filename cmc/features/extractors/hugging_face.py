"""Token features of transcripts, from a frozen Hugging Face encoder."""

import logging
import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from cmc import hub
from cmc.features.contract import Features, Unusable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SETTINGS = {  # the encoder itself is the data set's `text_encoder`, since stage 2 trains it
    "max_tokens": {"type": "integer", "minimum": 3, "default": 512},
    "layer": {"type": "integer", "not": {"const": 0}, "default": -1},
}
BATCHES_SORTED = 32  # batches whose transcripts are sorted by length together; bounds what is held in memory
TOKENS_HELD = 1 << 17  # whose hidden states are in memory at once, but for a transcript longer than that
TOKENS_AT_ONCE = 1 << 13  # of a batch, padding included: long transcripts come in smaller batches

logger = logging.getLogger(__name__)


class HuggingFace:
    """Hidden states of a text encoder such as BERT or RoBERTa, one row a token, special tokens included.

    Parameters
    ----------
    encoder : str
        See `cmc.hub.resolve`.
    max_tokens : int
        Longer transcripts are cut to this, special tokens included, or to what the encoder takes if that is
        less; a warning tells how many were.
    layer : int
        Whose hidden states: 1 is the encoder's first layer, -1 its last.
    batch : int
        Transcripts encoded at once. Changes speed and memory; features only by rounding, some 1e-6, since
        matrices of other sizes are summed in another order. So does which transcripts are encoded together.
    download : bool
        May the encoder be fetched from the hub?

    Raises
    ------
    FileNotFoundError, ValueError
        See `cmc.hub.load`; or it has no tokenizer that can pad.
    """

    name = "hugging_face"
    version = f"transformers {version('transformers')}"
    rate = None
    dtype = "float16"

    def __init__(
        self, encoder: str, max_tokens: int = 512, layer: int = -1, batch: int = 64, download: bool = False
    ) -> None:
        self._model = hub.load(encoder, layer, download)
        self._tokenizer = tokenizer(encoder, download)
        self._unknown = unknown_token(self._tokenizer)
        self._limit = min(max_tokens, self._tokenizer.model_max_length, positions(self._model))
        self._batch = batch
        self.columns = [f"hidden_{i:04d}" for i in range(self._model.config.hidden_size)]
        self.settings = {
            "encoder": encoder,
            "layer": layer,
            "max_tokens": self._limit,
            "model_sha256": hub.model_sha256(hub.resolve(encoder, download)),
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
            for part in _parts(self._tokenize(texts[start : start + window])):
                yield from self._encode(part)

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
        while usable:
            size = min(self._batch, max(1, TOKENS_AT_ONCE // len(token_ids[usable[-1]])))
            chosen, usable = usable[-size:], usable[:-size]  # from the longest on, which is the padded length
            states = self._states([token_ids[i] for i in chosen])
            for i, values in zip(chosen, states, strict=True):
                ids = np.array(token_ids[i], np.int32)
                encoded[i] = Features(values, token_ids=ids, quality=self._quality(ids, special))
        return encoded

    def _quality(self, ids: np.ndarray, special: int) -> dict[str, float]:
        """Tokens, and the share of those of the text itself that stand for what the vocabulary lacks; the share is
        left out of encoders whose token for that has another use, too, or that have none."""
        if self._unknown is None:
            return {"tokens": len(ids)}
        return {"tokens": len(ids), "unknown": np.count_nonzero(ids == self._unknown) / (len(ids) - special)}

    def _states(self, token_ids: list[list[int]]) -> list[np.ndarray]:
        """Hidden states (tokens, hidden), float32, of each sequence of one batch."""
        import torch

        inputs = self._tokenizer.pad({"input_ids": token_ids}, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**inputs).last_hidden_state  # (batch, tokens, hidden)
        real = inputs["attention_mask"].bool()
        # A copy: a view would keep the whole padded batch in memory.
        return [row[kept].numpy().copy() for row, kept in zip(states, real, strict=True)]


def _parts(token_ids: list[list[int]]) -> Iterator[list[list[int]]]:
    """Token sequences in parts that follow each other, of `TOKENS_HELD` tokens at most."""
    part: list[list[int]] = []
    tokens = 0
    for ids in token_ids:
        if part and tokens + len(ids) > TOKENS_HELD:
            yield part
            part, tokens = [], 0
        part.append(ids)
        tokens += len(ids)
    yield part


def tokenizer(encoder: str, download: bool = False) -> "PreTrainedTokenizerBase":
    """The tokenizer of an encoder; see `cmc.hub.resolve`.

    Raises
    ------
    FileNotFoundError
        The encoder isn't on this machine.
    ValueError
        The tokenizer has no padding token.
    """
    directory = hub.resolve(encoder, download)
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(directory, **hub.OPTIONS)
    if found.pad_token_id is None:
        raise ValueError(f"the tokenizer of {encoder} has no padding token: give an encoder such as BERT")
    return found


def unknown_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Id of the token that stands for what the vocabulary lacks, and for nothing else."""
    unknown = tokenizer.unk_token_id
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    return None if unknown in others else unknown


def positions(model: "PreTrainedModel") -> float:
    """Tokens that a model has places for; without end if its positions are only relative."""
    from torch import nn

    tables = [
        table
        for name, table in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding)
    ]
    if not tables:
        return getattr(model.config, "max_position_embeddings", math.inf)
    # RoBERTa and its kin count from behind the padding token's id: 514 places take 512 tokens
    return min(t.num_embeddings - (0 if t.padding_idx is None else t.padding_idx + 1) for t in tables)
