"""What computes for a verb: torch by a checkpoint, or onnxruntime by an exported folder."""

import argparse
from typing import Any, Literal

from blip.cli.from_dataclass import Options
from blip.cli.options import ModelOptions

Backend = Literal["auto", "torch", "onnx"]

UNUSED = "with onnxruntime"


def uses_onnx(
    backend: Backend,
    checkpoint: str,
    model: ModelOptions,
    options: Options[Any],
    args: argparse.Namespace,
) -> bool:
    """Whether onnxruntime computes; `auto` goes by what `checkpoint` is.

    Raises UsageError for typed options that only torch reads.
    """
    from blip.export.manifest import is_exported

    if backend == "torch" or (backend == "auto" and not is_exported(checkpoint)):
        return False
    unused = ("compile", "shared.model.precision")
    if model.device not in ("auto", "cpu"):
        unused += ("shared.model.device",)
    options.refuse_unused(args, {UNUSED: unused})
    return True
