"""Calibrated Multimodal Consensus: from talking-head videos to the tables of a paper."""

__version__ = "0.1.0"
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
