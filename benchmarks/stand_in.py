"""A stand-in for a GPU: tensors that say they are on one, and a count of what it would have to do.

The numbers are computed on the CPU; what counts is which operations torch dispatches. Code under
`StandInDevice` takes the paths that it takes on a real GPU. Nothing here measures time.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
"""Torch has this device everywhere, without a driver; its own tensors there hold no numbers."""
aten = torch.ops.aten
ATTENTION = aten.scaled_dot_product_attention.default
"""One launch, though torch takes it apart where no device has a kernel for it."""
COMPOUND = torch._C.DispatchKey.CompositeImplicitAutograd
"""Where torch keeps operations that are made of others alone."""
WAITS = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.repeat_interleave}
"""Operations whose result has a shape that depends on values: the host waits for it."""
FREE = {
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten._unsafe_view,
    aten.lift_fresh,
}
"""Operations that allocate or view memory, beside those whose signature says so."""


class _OnDevice(Tensor):
    """A tensor of the stand-in device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "_OnDevice":
        # Weights know their version, which tensors made in inference mode do not.
        with torch.inference_mode(False):
            return Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=DEVICE,
            )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        mode = StandInDevice.current
        if mode is None:
            raise RuntimeError(f"{func} was called outside of the stand-in device")
        return mode.__torch_dispatch__(func, types, args, kwargs)

    @property
    def is_cuda(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """So that code takes the paths of a GPU."""
        return True

    def tolist(self) -> Any:
        """The numbers as a list; the host waits for them."""
        mode = StandInDevice.current
        assert mode is not None
        mode.reads["tolist"] += 1
        return self.held.tolist()


class StandInDevice(TorchDispatchMode):
    """Counts operations on the stand-in device that would be a launch each, and host reads.

    Views, allocations and what runs on the CPU are no launches. Whatever gives the host a value of
    the device is a read, for which a GPU would be waited for.
    """

    current: ClassVar["StandInDevice | None"] = None
    """The one that is in use."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute on the CPU, count, and put the result where it belongs."""
        kwargs = kwargs or {}
        flat = tree_flatten((args, kwargs))[0]
        reads_device = any(isinstance(one, _OnDevice) for one in flat)
        target = next((one for one in flat if isinstance(one, torch.device)), None)
        to_device = target is not None and target.type == DEVICE.type
        if (reads_device or to_device) and func is not ATTENTION and _is_compound(func):
            # In inference mode compound operations come here whole.
            with self:
                return func._op_dk(COMPOUND, *args, **kwargs)
        results = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        # Operations in place give back the tensor that they were given.
        given = {id(one.held): one for one in flat if isinstance(one, _OnDevice)}
        on_host = {id(one) for one in flat if isinstance(one, Tensor)}
        on_device = reads_device if target is None else to_device
        tensors = [one for one in tree_flatten(results)[0] if isinstance(one, Tensor)]
        on_device &= bool(tensors) and not any(id(one) in on_host for one in tensors)
        if reads_device and (not on_device or func.overloadpacket in WAITS):
            self.reads[func.name()] += 1
        if on_device and not is_free(func):
            self.launches[func.name()] += 1
        if not on_device:
            return results
        return tree_map(lambda one: _on_device(one, given), results)

    def move(self, model: nn.Module) -> nn.Module:
        """Put the weights of `model` on the stand-in device, where they stay."""
        moved: dict[int, _OnDevice] = {}
        for module in model.modules():
            for owned in (module._parameters, module._buffers):
                for name, tensor in owned.items():
                    if tensor is not None:
                        held = tensor.detach()
                        owned[name] = moved.setdefault(id(tensor), _OnDevice(held))  # type: ignore[assignment]
        return model


@contextmanager
def stand_in_device() -> Iterator[StandInDevice]:
    """A stand-in for a GPU within a block."""
    device = StandInDevice()
    own_tensor = torch.tensor

    def make_tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = own_tensor(*args, **kwargs)
        return made if device is None else made.to(device)

    # It would make a tensor without numbers, unseen by the mode.
    torch.tensor = make_tensor
    StandInDevice.current = device
    try:
        with device:
            yield device
    finally:
        torch.tensor = own_tensor
        StandInDevice.current = None


def _held(one: Any) -> Any:
    if isinstance(one, torch.device):
        return torch.device("cpu")
    return one.held if isinstance(one, _OnDevice) else one


def _on_device(one: Any, given: Mapping[int, _OnDevice]) -> Any:
    if not isinstance(one, Tensor):
        return one
    return given[id(one)] if id(one) in given else _OnDevice(one)


def _is_compound(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOUND)


def is_free(func: Any) -> bool:
    """Whether an operation only views or allocates memory."""
    return func.is_view or func.overloadpacket in FREE
