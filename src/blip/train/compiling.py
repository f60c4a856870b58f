"""Training under `torch.compile`: the parts whose shapes stay, or change in one size alone."""

from torch import nn

from blip.nn.text import FeedForward
from blip.nn.vision import VisionLayer


def compile_layers(step: nn.Module) -> None:
    """Compile the image encoder's layers and the text's feed-forward networks at first use.

    Most of the work is there. Attention of texts stays as it is: how texts of different lengths lie
    end to end is another program for every batch. To be called once, before `step` is wrapped for
    several devices; names of parameters stay as they are.
    """
    for module in step.modules():
        if isinstance(module, VisionLayer):
            module.compile()
        elif isinstance(module, FeedForward):
            module.compile(dynamic=True)
