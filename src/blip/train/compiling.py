"""Training under `torch.compile`: parts whose shapes stay, or change in their number of rows."""

from torch import nn

from blip.nn.attention import CrossAttention, PairCrossAttention, SelfAttention
from blip.nn.bert import FeedForward
from blip.nn.vit import VisionLayer


def compile_layers(module: nn.Module) -> None:
    """Compile the image encoder's layers and the parts of the text's layers at first use.

    Most of the work is there. A few programs serve texts of all lengths: where all are equally long
    nothing is padded, and that is another. To be called once, before `module` is wrapped for
    several devices; names of parameters stay as they are.
    """
    for part in module.modules():
        if isinstance(part, VisionLayer):
            part.compile()
        elif isinstance(part, SelfAttention | CrossAttention | PairCrossAttention | FeedForward):
            part.compile(dynamic=True)
