"""One way into Ray: join the cluster that the environment names, or start a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import sys
from urllib.parse import urlsplit

from orthoray.errors import InputError

CONNECT_TIMEOUT_S = 5.0
"""Seconds to wait for the address of a cluster to answer before it is reported as absent."""

WORKER_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Environment of processes that compute on the CPU: OpenMP threads sleep at barriers instead of spinning. Spinning
threads that share two processors with the feed made a small model more than ten times slower."""

LOCAL_STORE_BYTES = 1 << 30
"""Largest object store of a session on this machine; image blocks are kept at 16 MiB and streamed."""


def connect(num_cpus: int | None = None) -> None:
    """Join or start Ray; returns at once when this process is connected already.

    With ``RAY_ADDRESS`` set (Ray sets it inside a submitted job) the cluster there is joined. Otherwise a
    session without dashboard is started on this machine; its services ask for a token that is made for the session
    and written nowhere.

    Args:
        num_cpus: processors that a local session offers; None = all of this machine, at least two.

    Raises:
        InputError: nothing answers at ``RAY_ADDRESS``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name, value in WORKER_ENV.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        require_answer(address)
    else:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away
        if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # Ray reads the mode when it is imported
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

    import ray

    if not ray.is_initialized():
        if address:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(
                address="local",
                num_cpus=num_cpus or max(2, os.cpu_count() or 2),
                object_store_memory=_store_bytes(),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    configure_data()


def available_cpus() -> int:
    """Processors of the connected cluster."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]


def require_answer(address: str) -> None:
    """Raise InputError unless something listens at ``address`` (``host:port`` or a URL); "auto" is let through."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"'{address}' is not an address; expected host:port or http://host:port.") from None
    if address in ("auto", "local"):
        return
    if host is None or port is None:
        raise InputError(f"'{address}' is not an address; expected host:port or http://host:port.")
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise InputError(
            f"No Ray cluster answers at {address} ({error}). Start one (`ray start --head`), correct the address, "
            "or unset RAY_ADDRESS to work on this machine."
        ) from None


def _store_bytes() -> int:
    """Object store size: at most `LOCAL_STORE_BYTES` and three quarters of the free shared memory."""
    shared = "/dev/shm"
    free = shutil.disk_usage(shared).free if os.path.isdir(shared) else LOCAL_STORE_BYTES
    return int(max(128 << 20, min(LOCAL_STORE_BYTES, 0.75 * free)))


def configure_data() -> None:
    """Set Ray Data's options for this process: small blocks, no bars of its own, quiet logs."""
    import ray.data

    from orthoray.cluster.pacing import PacedLoop

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 16 << 20
    context.execution_no_progress_timeout_s = 300
    context.print_on_execution_start = False
    if PacedLoop not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(PacedLoop)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it repeats workers' tracebacks, which may quote headers
    for name in ("ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.WARNING)
