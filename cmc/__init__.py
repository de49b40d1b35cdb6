"""Calibrated Multimodal Consensus: from talking-head videos to the tables of a paper."""

__version__ = "0.1.0"
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
# Whose label -> its column in every table: multimodal, and of text, audio and vision alone
LABELS = {"M": "label", "T": "label_T", "A": "label_A", "V": "label_V"}
