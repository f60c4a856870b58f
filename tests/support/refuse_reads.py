"""Work that must not make the host wait for the device."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}


class RefuseReads(TorchDispatchMode):
    """Fails where the host would wait for a value of the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        kwargs = kwargs or {}
        assert name not in WAITS, f"{name} reads a value back"
        assert not (name == "_to_copy" and kwargs.get("device")), "a copy to another device"
        return func(*args, **kwargs)
