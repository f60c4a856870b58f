"""What was made for the shapes that a model has met, compiled or captured, and kept."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar, get_args

import torch

from blip.errors import ArgumentError, CompileError, UsageError, first_line, is_out_of_memory
from blip.generation.config import CompileChoice
from blip.log import say
from blip.model.grounded import GroundedModel
from blip.nn.device import as_current

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")
Work = TypeVar("Work")

MAX_COMPILED = 1024
"""Times that torch may compile one kind of work in a process, for all models and shapes.

There are fewer sizes to which batches and texts are filled up; torch refuses to compile more.
"""


def many_shapes() -> AbstractContextManager[object]:
    """Let torch compile the same work for many shapes within the block."""
    return torch._dynamo.config.patch(
        recompile_limit=MAX_COMPILED, accumulated_recompile_limit=MAX_COMPILED
    )


def check_compile(choice: CompileChoice, model: GroundedModel) -> None:
    """Raise ArgumentError unless it is auto, on or off, and UsageError for on and int8."""
    if choice not in get_args(CompileChoice):
        raise ArgumentError(f"compile must be auto, on or off, got {choice!r}")
    if choice == "on" and model.is_int8:
        raise UsageError(
            "compile must be off for a model in int8: torch cannot compile its products"
        )


class FixedShapes(Generic[Key, Made]):
    """Work of fixed shapes for one model, each made when it is first needed."""

    def __init__(
        self, model: GroundedModel, compile: CompileChoice, *, required: bool = False
    ) -> None:
        """With `required`, nothing else takes the place of compiled work that cannot be made.

        Raises ArgumentError unless `compile` is auto, on or off, and UsageError for int8.
        """
        check_compile(compile, model)
        self._model = model
        self.compile: CompileChoice = compile
        self.required = required
        self.failed = False
        """Whether compiling or capturing did not work here."""
        self._made: OrderedDict[Key, Made] = OrderedDict()

    def __len__(self) -> int:
        """How much is kept."""
        return len(self._made)

    @property
    def is_used(self) -> bool:
        """Whether work of fixed shapes takes the place of other work."""
        return self.compile == "on"

    def forget(self) -> None:
        """Free all that was made; it may fill the memory of the device."""
        self._made.clear()

    def fastest(self, plain: Work, make: Callable[[], Work], goes_on: str) -> Work:
        """What `make` makes of `plain`; where that does not work, `plain` and a line about it.

        Raises CompileError in place of the line if it is required, or the error by which memory
        ran out: with fewer pictures it may work.
        """
        if self.failed:
            return plain
        try:
            # Another GPU may be the current one, whose streams would be taken.
            with as_current(self._model.device):
                return make()
        # torch has no common class for what its compilers and CUDA graphs raise.
        except Exception as error:
            reason = first_line(error)
            if self.required and is_out_of_memory(error):
                raise
            if self.required:
                raise CompileError(
                    f"torch cannot compile the model here ({reason}); repair that, or choose "
                    "compile off"
                ) from error
            self.failed = True
            say(f"{goes_on}: {reason}")
            return plain

    def _keep(self, key: Key, make: Callable[[], Made], most: int) -> Made:
        """What was made for a key; of more than `most`, that which was not used longest goes."""
        if key not in self._made:
            if len(self._made) == most:
                self._made.popitem(last=False)
            self._made[key] = make()
        self._made.move_to_end(key)
        return self._made[key]
