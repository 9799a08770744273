"""A real Ray head with token authentication, on loopback, with ports and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import pytest

from orthoray.cluster.client import find_server
from orthoray.errors import InputError

START_LIMIT_S = 120


@dataclass(frozen=True)
class Head:
    """A running head: URL of its job server, its token, and the environment of a user who knows the token."""

    address: str
    token: str
    env: dict

    def orthoray(self, *arguments, cwd=None, timeout=100, **changes):
        """Run the command line as a user would; changes: environment variables, None = unset."""
        env = {key: value for key, value in (self.env | changes).items() if value is not None}
        command = [sys.executable, "-m", "orthoray.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def end_tree(process):
    """End a process that we started and all that it has started, and no other."""
    import ray  # noqa: F401  (makes its own copy of psutil importable)

    import psutil  # isort: skip

    try:
        members = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(members, timeout=10)


@pytest.fixture(scope="session")
def head():
    port, dashboard, agent, client = free_ports(4)
    token = secrets.token_hex(32)
    folder = tempfile.mkdtemp(prefix="orh-")
    base = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH"))}
    common = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    options = [f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    others = [f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0"]
    limits = [f"--temp-dir={folder}", "--object-store-memory=268435456", f"--dashboard-agent-listen-port={agent}"]
    log = open(os.path.join(folder, "head.log"), "w")  # noqa: SIM115
    command = [*ray, "start", "--head", "--block", *options, *others, *limits]
    process = subprocess.Popen(command, env=base | common, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{dashboard}"
    user = base | {"RAY_AUTH_TOKEN": token, "RAY_API_SERVER_ADDRESS": address}
    try:
        wait_for(process, address, token, log.name)
        yield Head(address, token, user | {"PYTHONPATH": os.environ["PYTHONPATH"]})
    finally:
        end_tree(process)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(process, address, token, log):
    limit = time.monotonic() + START_LIMIT_S
    os.environ["RAY_AUTH_TOKEN"] = token
    try:
        while True:
            try:
                return find_server(address)
            except InputError as error:
                if process.poll() is not None or time.monotonic() > limit:
                    with open(log) as text:
                        pytest.fail(f"the head did not start: {error}\n{text.read()}")
            time.sleep(0.3)
    finally:
        del os.environ["RAY_AUTH_TOKEN"]
