"""Arguments of a command made fit for a job, which runs elsewhere: files go along, relative paths become absolute."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orthoray.config import find_preset, read_yaml
from orthoray.errors import InputError

COMMANDS = ("demo", "ingest", "plan", "pretrain", "rank", "study", "report", "export")
"""What can be submitted."""

PATH_KEYS = frozenset(
    {"out", "uri", "dataset", "datasets", "weights", "checkpoint", "pretrain_run", "results", "generic", "store"}
)
"""Keys of configurations whose text is a path or URI."""

CARRIED = "submitted"
"""Folder of the job's copy in which the configuration or card lies that was given on the command line."""

_PATH_OPTIONS = {
    "ingest": ("--source", "--out"),
    "report": ("--out",),
    "export": ("--out", "--results"),
    "demo": ("--out",),
}
_FLAGS = frozenset(
    {
        "--overwrite", "--dry-run", "--json", "--keys", "--allow-random", "--resume", "--retry-failed", "--tasks",
        "--help", "-h",
    }
)  # fmt: skip
"""Options of the commands that take no value."""


@dataclass(frozen=True)
class JobArguments:
    """What runs in the job.

    ``arguments`` follow the command there; ``files`` (path in the job's copy → text) have to be put there;
    ``name`` is the configuration, card or folder in short; ``out`` is where the job writes (None = unknown).
    """

    arguments: list[str]
    files: dict[str, str] = field(default_factory=dict)
    name: str = ""
    out: str | None = None


def prepare_arguments(command: str, arguments: list[str], shares_paths: bool) -> JobArguments:
    """Rewrite ``arguments`` of ``command`` for a job.

    Args:
        command: one of `COMMANDS`.
        arguments: as given to ``orthoray COMMAND``.
        shares_paths: True if a path of this machine means the same file to the job (a head on this machine).

    Returns:
        The arguments with absolute paths, and the local configuration or card that must travel along.

    Raises:
        InputError: not a command that can be a job, no such preset or file, or a relative path although the
            job runs on another machine.
    """
    if command not in COMMANDS:
        raise InputError(f"'{command}' cannot be a job; these can: {', '.join(COMMANDS)}.")
    resolve = _absolute if shares_paths else _refuse_relative
    if command in ("plan", "pretrain", "rank", "study"):
        return _configured(command, arguments, resolve)
    return _plain(command, arguments, resolve)


def _positions(arguments: list[str]) -> list[int]:
    """Where the arguments stand that are neither options nor values of options."""
    found, is_value = [], False
    for number, item in enumerate(arguments):
        is_option = item.startswith("-") and not is_value
        if not is_option and not is_value:
            found.append(number)
        is_value = is_option and "=" not in item and item not in _FLAGS
    return found


def _configured(command: str, arguments: list[str], resolve: Callable[[str, str], str]) -> JobArguments:
    positions = _positions(arguments)
    named = next((number for number in positions[:1] if "=" not in arguments[number]), None)
    rewritten, values = list(arguments), {}
    for number in positions[named is not None :]:
        key, separator, text = arguments[number].partition("=")
        if separator:
            value, values[key.strip()] = _resolve_override(key.strip(), text, resolve)
            rewritten[number] = f"{key}={value}"
    config: dict[str, Any] = {}
    files: dict[str, str] = {}
    name = _short(_text(values.get("out")) or "")
    if named is not None:
        preset = find_preset(arguments[named])
        config = _resolve_tree(read_yaml(preset), "", set(values), resolve)
        place = rewritten[named] = f"{CARRIED}/{preset.stem}.yaml"
        files[place] = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        name = preset.stem.removeprefix("pretrain_" if command == "plan" else f"{command}_")
    out = None if command == "plan" else _text(values.get("out", config.get("out")))
    return JobArguments(rewritten, files, name, out)


def _plain(command: str, arguments: list[str], resolve: Callable[[str, str], str]) -> JobArguments:
    given: dict[str, str] = {}
    rewritten: list[str] = []
    first: int | None = None
    positions, rest = set(_positions(arguments)), iter(enumerate(arguments))
    for number, item in rest:
        option, separator, value = item.partition("=")
        if option in _PATH_OPTIONS[command]:
            value = value if separator else next(rest, (0, ""))[1]
            if not value:
                raise InputError(f"{option}: a value is missing.")
            given[option] = resolve(option, value)
            rewritten += [option, given[option]]
            continue
        if number in positions and first is None:
            first = len(rewritten)
        rewritten.append(item)
    if command == "demo" and "--out" not in given:
        given["--out"] = resolve("--out", "orthoray-demo")
        rewritten += ["--out", given["--out"]]
    if command == "demo" or first is None:
        return JobArguments(rewritten, {}, _short(given.get("--out", "")), given.get("--out"))
    named = rewritten[first]
    if command in ("report", "export"):
        run = rewritten[first] = resolve("RUN" if command == "report" else "CHECKPOINT", named)
        out = given.get("--out", run if command == "report" else None)
        return JobArguments(rewritten, {}, _short(run.removesuffix("/checkpoint")), out)
    files: dict[str, str] = {}
    if Path(named).is_file():
        place = rewritten[first] = f"{CARRIED}/{Path(named).name}"
        files[place] = Path(named).read_text(encoding="utf-8")
    return JobArguments(rewritten, files, Path(named).stem, given.get("--out"))


def _resolve_override(key: str, text: str, resolve: Callable[[str, str], str]) -> tuple[str, Any]:
    """The override's text with absolute paths, and its value; text that is not YAML is left for the job to refuse."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text, None
    changed = _resolve_tree(value, key, set(), resolve)
    if changed == value:
        return text, value
    if isinstance(changed, str):
        return changed, changed
    return yaml.safe_dump(changed, default_flow_style=True, width=100_000).strip(), changed


def _resolve_tree(value: Any, key: str, skip: set[str], resolve: Callable[[str, str], str]) -> Any:
    """``value`` with every path under one of `PATH_KEYS` resolved; the dotted keys in ``skip`` are overridden."""
    if key in skip:
        return value
    if isinstance(value, dict):
        return {
            name: _resolve_tree(item, f"{key}.{name}" if key else str(name), skip, resolve)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_resolve_tree(item, key, skip, resolve) for item in value]
    if isinstance(value, str) and _is_path(key.rpartition(".")[2], value):
        return resolve(key, value)
    return value


def _is_path(key: str, value: str) -> bool:
    """Is a value a path or URI? timm's tags are none, nor are lists of candidates that are named without .yaml."""
    if key == "candidates":
        return value.endswith(".yaml")
    return key in PATH_KEYS and value != "auto" and not value.startswith("timm:")


def _absolute(name: str, path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _refuse_relative(name: str, path: str) -> str:
    if "://" in path or path.startswith("/"):
        return path
    raise InputError(
        f"{name}: '{path}' is relative to this machine, but the job runs on the cluster. "
        "Give a URI or an absolute path that the cluster can see."
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _short(uri: str) -> str:
    """The last part of a path or URI."""
    return uri.rstrip("/").rpartition("/")[2]
