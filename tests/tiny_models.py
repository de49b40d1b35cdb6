"""Tiny Hugging Face models with random weights, saved as users have them on disk, of many kinds."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = [
    "I really love it, every bit of it.",
    "The train leaves at nine.",
    "火车九点开。",
    "C'était très bon !",
]
LAYERS = 3
SMALL = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 24}
# the special tokens of a family at the ids that its models expect
BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
ROBERTA = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}


def trained(special):
    return {"special_tokens": list(special.values()), "show_progress": False}


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=list(BERT.values()), show_progress=False
    )


def byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(ROBERTA.values())
    return tokenizer, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = list(ROBERTA.values())
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
    )


TEXT = {  # kind: its tokenizer, special tokens, configuration
    "bert": (wordpiece, BERT, {"max_position_embeddings": 40}),
    "distilbert": (wordpiece, BERT, {"max_position_embeddings": 40}),
    "electra": (wordpiece, BERT, {"max_position_embeddings": 40, "embedding_size": 8}),
    "albert": (wordpiece, BERT, {"max_position_embeddings": 40, "embedding_size": 8}),
    "roberta": (byte_pairs, ROBERTA, {"max_position_embeddings": 42, "type_vocab_size": 1}),
    "xlm-roberta": (unigram, ROBERTA, {"max_position_embeddings": 42, "type_vocab_size": 1}),
    "mpnet": (byte_pairs, ROBERTA, {"max_position_embeddings": 42}),
    "deberta-v2": (unigram, BERT | ROBERTA, {"max_position_embeddings": 40}),
    "modernbert": (byte_pairs, ROBERTA, {"max_position_embeddings": 40}),
}


def text_encoder(kind, folder):
    """A text encoder that takes 40 tokens, with a tokenizer of its kind, in `folder`."""
    make, special, options = TEXT[kind]
    tokenizer, trainer = make()
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    cls, sep = ((special[name], tokenizer.token_to_id(special[name])) for name in ("cls_token", "sep_token"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls[0]} $A {sep[0]}", special_tokens=[cls, sep]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    ids = {
        "pad_token_id": tokenizer.token_to_id(special["pad_token"]),
        "cls_token_id": cls[1],
        "sep_token_id": sep[1],
        "bos_token_id": cls[1],
        "eos_token_id": sep[1],
    }
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=tokenizer.get_vocab_size(), **SMALL, **options, **ids
    )
    save(config, folder)
    return folder


def speech_encoder(kind, folder, **options):
    """wav2vec2, hubert or wavlm with their real frames, 25 ms every 20 ms, in `folder`."""
    sizes = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    config = transformers.AutoConfig.for_model(kind, **SMALL, **sizes, **options)
    save(config, folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def save(config, folder):
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    for parameter in model.parameters():  # random starts are small: without this, layers hardly differ
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)


def whisper(folder):
    """A Whisper that hears letters in everything, with real timestamps, in `folder`."""
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|zh|>",
        "<|transcribe|>",
        "<|translate|>",
    ]
    special += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokens = [*map(chr, range(ord("a"), ord("z") + 1)), *special]
    tokens += [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    ids = {token: number for number, token in enumerate(tokens)}
    end = special[0]
    tokenizer = transformers.WhisperTokenizerFast(
        vocab=ids, merges=[], unk_token=end, bos_token=end, eos_token=end, pad_token=end
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    named = {f"{role}_token_id": ids[end] for role in ("pad", "bos", "eos")}
    named["decoder_start_token_id"] = ids["<|startoftranscript|>"]
    sizes = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 24))
    }
    config = transformers.WhisperConfig(
        vocab_size=len(ids),
        d_model=16,
        max_target_positions=64,
        num_mel_bins=80,
        begin_suppress_tokens=[],
        suppress_tokens=[],
        **sizes,
        **named,
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        lang_to_id={"<|en|>": ids["<|en|>"], "<|zh|>": ids["<|zh|>"]},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        is_multilingual=True,
        max_initial_timestamp_index=1,
        max_length=40,
        **named,
    )
    model.save_pretrained(folder)
    return folder
