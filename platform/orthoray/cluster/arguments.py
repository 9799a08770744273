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

COMMANDS = ("demo", "ingest", "pretrain", "study", "report")
"""What can be submitted."""

PATH_KEYS = frozenset({"out", "uri", "datasets", "weights", "checkpoint", "pretrain_run", "store"})
"""Keys of configurations whose text is a path or URI."""

CARRIED = "submitted"
"""Folder of the job's copy in which the configuration or card lies that was given on the command line."""

_OPTIONS = {"ingest": ("--source", "--out"), "report": ("--out",), "demo": ("--out",)}


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
    if command in ("pretrain", "study"):
        return _configured(command, arguments, resolve)
    return _plain(command, arguments, resolve)


def _configured(command: str, arguments: list[str], resolve: Callable[[str, str], str]) -> JobArguments:
    named = next((item for item in arguments[:1] if "=" not in item and not item.startswith("-")), None)
    overrides = arguments[1:] if named else arguments
    rewritten, values = [], {}
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or item.startswith("-"):
            rewritten.append(item)
            continue
        value, values[key.strip()] = _resolve_override(key.strip(), text, resolve)
        rewritten.append(f"{key}={value}")
    if named is None:
        return JobArguments(rewritten, {}, _short(_text(values.get("out")) or ""), _text(values.get("out")))
    preset = find_preset(named)
    config = _resolve_tree(read_yaml(preset), "", set(values), resolve)
    place = f"{CARRIED}/{preset.stem}.yaml"
    out = _text(values.get("out", config.get("out")))
    name = preset.stem.removeprefix(f"{command}_")
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return JobArguments([place, *rewritten], {place: text}, name, out)


def _plain(command: str, arguments: list[str], resolve: Callable[[str, str], str]) -> JobArguments:
    given: dict[str, str] = {}
    rewritten: list[str] = []
    positional: list[int] = []
    rest = iter(arguments)
    for item in rest:
        option, separator, value = item.partition("=")
        if option in _OPTIONS[command]:
            value = value if separator else next(rest, "")
            if not value:
                raise InputError(f"{option}: a value is missing.")
            given[option] = resolve(option, value)
            rewritten += [option, given[option]]
        else:
            if not item.startswith("-") and not positional:
                positional.append(len(rewritten))
            rewritten.append(item)
    if command == "demo" and "--out" not in given:
        given["--out"] = resolve("--out", "orthoray-demo")
        rewritten += ["--out", given["--out"]]
    if command == "demo" or not positional:
        return JobArguments(rewritten, {}, _short(given.get("--out", "")), given.get("--out"))
    first = rewritten[positional[0]]
    if command == "report":
        run = rewritten[positional[0]] = resolve("RUN", first)
        return JobArguments(rewritten, {}, _short(run), given.get("--out", run))
    files: dict[str, str] = {}
    if Path(first).is_file():
        place = rewritten[positional[0]] = f"{CARRIED}/{Path(first).name}"
        files[place] = Path(first).read_text(encoding="utf-8")
    return JobArguments(rewritten, files, Path(first).stem, given.get("--out"))


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
    if isinstance(value, str) and value != "auto" and key.rpartition(".")[2] in PATH_KEYS:
        return resolve(key, value)
    return value


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
