"""The model card: README.md of a model's directory, as the Hugging Face hub shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("card.md.j2")


def text(facts: Mapping[str, Any]) -> str:
    """The card of a model, Markdown under YAML, of what its config.json says; see `cmc.prediction.bundle`."""
    from huggingface_hub import ModelCard, ModelCardData
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    data = ModelCardData(
        library_name="cmc-workflow",
        tags=["multimodal", "emotion-recognition", "sentiment-analysis", "video", "safetensors"],
        pipeline_tag="video-classification",
    )
    loader = FileSystemLoader(TEMPLATE.parent)
    pages = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return str(ModelCard(pages.get_template(TEMPLATE.name).render(card_data=data.to_yaml(), **facts))) + "\n"
