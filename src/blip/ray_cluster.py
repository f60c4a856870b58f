"""A Ray cluster, joined where it runs or started here, without telemetry and dashboard."""

import os
import socket
from collections.abc import Mapping

from blip.errors import BlipError, one_line
from blip.installed import missing

try:
    import ray
    from ray.exceptions import RayError
except ImportError as _missing:
    raise missing("Ray", "ray", _missing) from _missing


SECONDS_TO_ANSWER = 10.0


def join_or_start(address: str | None, cpus: int | None, store_bytes: int) -> None:
    """Join the cluster at `address` (auto finds one on this machine); None starts one here.

    One that is started here has so many `cpus`, None for all, and an object store of `store_bytes`.
    Raises BlipError if there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Silences a warning about actors without a GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is not None:
            _check_address(address)
        if address is None:
            ray.init(
                "local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=store_bytes,
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = "here" if address is None else f"at {address}"
        # Clusters may require a token, and Ray sends one to a named address only with this setting.
        hint = (
            ""
            if address in (None, "auto")
            else "; one that requires a token needs RAY_AUTH_MODE=token"
        )
        raise BlipError(f"no Ray cluster {where}: {one_line(error)}{hint}") from error


def _check_address(address: str) -> None:
    """Raises OSError if no cluster answers: there, Ray itself would end the whole process."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()


def describe(resources: Mapping[str, float]) -> str:
    """CPUs and GPUs of a cluster, in words."""
    return f"{resources.get('CPU', 0.0):g} CPUs and {resources.get('GPU', 0.0):g} GPUs"
