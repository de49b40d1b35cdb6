"""The language model inside the text modality: frozen in stage 1, finetuned in stage 2."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cmc.models.sequences import Sequences, additive, in_rectangles, move, spread
from cmc.training.dataset import Ragged, Split, in_order

BATCH = 64
# kinds whose layers all see the whole transcript, so that they take a mask as PyTorch's attention does
TAKE_PREPARED_MASKS = ("albert", "bert", "distilbert", "electra", "roberta", "xlm-roberta")


def prepare(
    splits: list[Split],
    text_encoder: str | None,
    trained: bool,
    weights: dict[str, Tensor] | None = None,
    bf16: bool = False,
) -> nn.Module | None:
    """The language model that has to run with every batch, if one has to.

    It ends with the layer whose hidden states the text features are, in finetuning too.

    Parameters
    ----------
    splits : list of Split
        Where a frozen language model serves but padding is not masked, their text features are replaced by
        hidden states that include padding, computed here once.
    text_encoder : str
        Hub name, directory or package, see `cmc.hub.resolve`.
    trained : bool
        Whether the language model is, or was, finetuned.
    weights : dict, optional
        Of a finetuned language model.
    bf16 : bool
        Whether it is to compute in bfloat16; weights and what it returns stay float32.

    Returns
    -------
    Module or None
        None where the splits' own text features are what the model takes.
    """
    if not runs(splits[0], trained):
        return None
    bert = load(splits, text_encoder, weights)
    bert.bf16 = bf16
    if trained:
        return bert
    for split in splits:
        split.features["text"] = freeze(bert, split)
    return None


def runs(split: Split, trained: bool) -> bool:
    """Whether the language model has to run: a split's own text features are not what the model takes."""
    return "text" in split.features and bool(trained or split.text_length)


def load(
    splits: list[Split], text_encoder: str | None, weights: dict[str, Tensor] | None = None
) -> nn.Module:
    """The language model that made some splits' text features, perhaps with weights that it was finetuned to.

    Raises
    ------
    ValueError
        There is none, or it can't have made these features.
    """
    first = splits[0]
    if text_encoder is None or first.tokens is None:
        raise ValueError(
            "the language model must run here, but the features have no token ids or no text_encoder is set"
        )
    from cmc import hub

    bert = hub.load(text_encoder, first.text_layer).to(first.tokens.values.device)
    largest = max(int(split.tokens.values.max()) for split in splits if split.tokens)
    width, vocabulary = bert.config.hidden_size, bert.config.vocab_size
    if reason := hub.unfit(text_encoder, width, vocabulary, first.widths["text"], largest):
        raise ValueError(reason)
    if weights:
        bert.load_state_dict(weights)
    return bert


def inputs(bert: nn.Module | None, split: Split, clips: np.ndarray) -> dict[str, Sequences]:
    """Modality -> sequences of some clips; text from the language model where there is one to run."""
    batch = split.batch(clips)
    if bert is not None:
        batch["text"] = text_states(bert, split, clips)
    return batch


def text_states(bert: nn.Module, split: Split, clips: np.ndarray) -> Sequences:
    """Last hidden states of some clips' transcripts: ragged (frames, hidden).

    Where padding is masked, real tokens alone. Else, as published, every position up to the split's text length:
    the language model itself still masks the padding, the encoders of CMC don't.
    """
    assert split.tokens is not None
    tokens = split.tokens.batch(clips)
    # around all rectangles: each weight is rounded once for all, and its gradient summed in bfloat16
    device = tokens.values.device
    bf16 = torch.autocast(device.type, torch.bfloat16) if getattr(bert, "bf16", False) else nullcontext()
    if split.text_length is None:
        with bf16:
            return tokens.replace(in_rectangles(partial(run, bert), tokens.values, tokens.layout))
    filled = np.arange(split.text_length) < tokens.lengths.numpy()[:, None]
    ids = tokens.values.new_full(filled.shape, bert.config.pad_token_id)
    (mask,), (places,) = (move([part], device) for part in (additive(filled), np.flatnonzero(filled)))
    ids.view(-1)[places] = tokens.values
    with bf16:
        return Sequences.padded(run(bert, ids, mask))


def run(
    bert: nn.Module, ids: Tensor, mask: Tensor | None
) -> Tensor:  # (clips, time) and the mask of `Group` -> (clips, time, hidden)
    return bert(input_ids=ids, attention_mask=mask_for(bert, ids, mask)).last_hidden_state


def mask_for(bert: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask in a form into which transformers does not look, which waits for a GPU; else in the usual one."""
    if bert.config.model_type not in TAKE_PREPARED_MASKS or bert.config._attn_implementation != "sdpa":
        return torch.ones_like(ids) if mask is None else (mask[:, : ids.shape[1]] == 0).long()
    if mask is None:
        return None
    dtype = torch.bfloat16 if getattr(bert, "bf16", False) else bert.dtype
    return spread(mask, bert.config.num_attention_heads, ids.shape[1], dtype)


@torch.no_grad()
def freeze(bert: nn.Module, split: Split) -> Ragged:
    """Hidden states of a whole split, computed once with the frozen language model."""
    bert.eval()
    batches = [text_states(bert, split, clips) for clips in in_order(np.arange(len(split)), BATCH)]
    lengths = torch.cat([batch.lengths for batch in batches]).numpy()
    return Ragged(torch.cat([batch.values for batch in batches]), np.concatenate([[0], np.cumsum(lengths)]))


def parameter_groups(bert: nn.Module, lr: float, weight_decay: float) -> list[dict]:
    """Groups for the optimizer: no weight decay on biases and norms, which are vectors."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in bert.parameters():
        groups[parameter.ndim > 1].append(parameter)
    return [
        {"params": groups[True], "lr": lr, "weight_decay": weight_decay},
        {"params": groups[False], "lr": lr, "weight_decay": 0.0},
    ]
