"""Models of transformers' own classes with random weights, for tests against them."""

from typing import Any

import torch
import transformers
from torch import Tensor

TINY_SIZES: dict[str, Any] = {
    "image_text_hidden_size": 16,
    "text_config": {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 40,
        "bos_token_id": 58,
        "sep_token_id": 3,
        "eos_token_id": 3,
    },
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 16,
    },
}
"""The smallest that has every part."""

DEEP_SIZES: dict[str, Any] = {
    "text_config": {"num_attention_heads": 12},
    "vision_config": {"image_size": 96},
}
"""ViT-B/16 and BERT-base, as they were published, for small images."""

SHALLOW_SIZES: dict[str, Any] = {
    "text_config": {"num_attention_heads": 12, "num_hidden_layers": 2},
    "vision_config": {"num_hidden_layers": 2},
}
"""The same with two layers each, for images of 384 pixels: what is right of every layer alike."""


def random_peer(kind: str, sizes: dict[str, Any], seed: int = 0, *, draw: bool = True) -> Any:
    """A model of the class for "caption", "itm" or "vqa", in evaluation mode.

    Its weights are drawn so that images and words matter: as transformers draws them, every image
    gives the same text. Not drawn, it takes no memory and can compute nothing.
    """
    name = {
        "caption": "BlipForConditionalGeneration",
        "itm": "BlipForImageTextRetrieval",
        "vqa": "BlipForQuestionAnswering",
    }[kind]
    config = transformers.BlipConfig(**sizes)
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    if not draw:
        return model
    model = model.to_empty(device="cpu")
    model.tie_weights()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            _draw(parameter_name, parameter, generator)
        for buffer in model.buffers():
            buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    return model.eval()


def _draw(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    if "norm" in name.lower() and name.endswith("weight"):
        parameter.normal_(1.0, 0.1, generator=generator)
    elif "embedding" in name:
        parameter.normal_(0.0, 0.3, generator=generator)
    elif parameter.dim() < 2:
        parameter.normal_(0.0, 0.1, generator=generator)
    else:
        parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
