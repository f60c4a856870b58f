"""Stands in for what is on a GPU, where it is asked whether it is there."""

import torch


class OnGpu(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True
