"""A client of Ray's job server that answers soon: where the server is, whether it listens, which token it wants."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orthoray.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PROBE_TIMEOUT_S = 4.0
"""Seconds in which the job server has to answer the first request."""

REQUEST_TIMEOUT_S = 60.0
"""Seconds without a byte after which any later request is given up; Ray's own client would wait for ever."""


@dataclass(frozen=True)
class Server:
    """A job server that has answered: its URL, the token that it accepted (None = it asks for none), its Ray."""

    address: str
    token: str | None
    ray_version: str

    @property
    def is_loopback(self) -> bool:
        """True when the server is reached at this machine's own address (also through a forwarded port)."""
        host = urlsplit(self.address).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def resolve_address(address: str | None) -> str:
    """The URL of the job server: the option, RAY_API_SERVER_ADDRESS, RAY_ADDRESS if a URL, or Ray's default.

    Raises:
        InputError: not an address of a job server (``ray://…``, no host, a bad port).
    """
    named = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not named:
        joined = os.environ.get("RAY_ADDRESS", "")
        named = joined if joined.startswith(("http://", "https://")) else DEFAULT_ADDRESS
    url = (named if "://" in named else f"http://{named}").rstrip("/")
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"'{named}' is not the address of a job server; expected for example {DEFAULT_ADDRESS}.")
    return url


def find_server(address: str | None = None) -> Server:
    """Ask the job server for its version within `PROBE_TIMEOUT_S`, with a token only if it wants one.

    Raises:
        InputError: nothing answers, something else answers, or the token is missing or refused.
    """
    url = resolve_address(address)
    status, body = _get_version(url, None)
    token = None
    if status == 401:
        token = read_token()
        if token is None:
            raise InputError(f"The cluster at {url} asks for a token, and none was found. {_TOKEN_HELP}")
        status, body = _get_version(url, token)
    if status in (401, 403):
        raise InputError(f"The cluster at {url} refuses the token. {_TOKEN_HELP}")
    version = _ray_version(body) if status == 200 else None
    if version is None:
        raise InputError(
            f"{url} answers (HTTP {status}), but not as Ray's job server. Give the address of Ray's dashboard "
            "(port 8265 unless it was changed), not that of its clients or of another service."
        )
    return Server(url, token, version)


def connect_client(address: str | None = None) -> tuple[Server, JobSubmissionClient]:
    """Find the job server and return it with a client; same errors as `find_server`."""
    server = find_server(address)
    from orthoray.cluster.timed import TimedClient

    headers = {"Authorization": f"Bearer {server.token}"} if server.token else None
    return server, TimedClient(server.address, headers=headers)


def read_token() -> str | None:
    """The user's token, from where Ray keeps it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ``~/.ray/auth_token``."""
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if token:
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the token file cannot be read ({type(error).__name__}).") from None


_TOKEN_HELP = (
    "Set RAY_AUTH_TOKEN to the token that the head was started with, or put it into ~/.ray/auth_token "
    "(mode 600); whoever runs the cluster can give it to you."
)


def _get_version(url: str, token: str | None) -> tuple[int, str]:
    request = urllib.request.Request(f"{url}/api/version")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:
            return int(answer.status), answer.read(1 << 16).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"No Ray cluster answers at {url} ({reason}). Start a head on this machine "
            "(`ray start --head --dashboard-host=127.0.0.1`, see cluster/README.md), forward the port of one "
            "(`ssh -N -L 8265:127.0.0.1:8265 HEAD`), or give another --address."
        ) from None
    except Exception as error:
        return 0, type(error).__name__


def _ray_version(body: str) -> str | None:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return None
    found = answer.get("ray_version") if isinstance(answer, dict) else None
    return found if isinstance(found, str) else None
