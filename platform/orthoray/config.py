"""Strict configuration: pydantic models read from YAML, changed by ``key=value`` overrides, explained when wrong."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from orthoray.errors import InputError, nearest

Auto = Literal["auto"]
"""Type of a value that is worked out at run time; write ``int | Auto`` and print what it resolved to."""

ModelT = TypeVar("ModelT", bound="StrictModel")
_BOOLEAN = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_SCIENTIFIC = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$")


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number, and ``on``, ``off``, ``yes`` and ``no`` as words: so does YAML 1.2, but not 1.1."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in kinds if tag != "tag:yaml.org,2002:bool"]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEAN, list("tTfF"))
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("+-.0123456789"))


class StrictModel(BaseModel):
    """Base of every configuration model: unknown keys and wrong types are refused, instances are immutable."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


def load_config(model: type[ModelT], path: str | Path | None = None, overrides: Iterable[str] = ()) -> ModelT:
    """Read ``path`` (YAML; None = only defaults), apply ``overrides`` (``a.b=value``) and validate.

    Args:
        model: the strict model that describes the configuration.
        path: YAML file, or None to start from an empty mapping.
        overrides: ``key.sub=value`` strings; values are parsed as YAML scalars or flow collections.

    Returns:
        A validated, frozen instance of ``model``.

    Raises:
        InputError: missing or unparsable file, unknown key, wrong type or impossible value. The message names
            the file or option, the dotted path of the key, what is allowed, and the nearest existing name.
    """
    values = read_yaml(path) if path is not None else {}
    origin = str(path) if path is not None else f"{model.__name__} defaults"
    for override in overrides:
        _apply_override(model, values, override)
    return parse_config(model, values, origin)


def parse_config(model: type[ModelT], values: Mapping[str, Any], origin: str) -> ModelT:
    """Validate ``values`` as ``model``; ``origin`` (a file name, say) opens the message of any InputError."""
    try:
        return model.model_validate_json(json.dumps(dict(values), default=str))
    except ValidationError as error:
        faults: dict[str, list[dict[str, Any]]] = {}
        for item in error.errors():
            faults.setdefault(_path(dict(item), values), []).append(dict(item))
        lines = [_explain(model, path, items) for path, items in faults.items()]
        raise InputError(f"{origin}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping from a file; InputError names the file and the line of a syntax error."""
    file = Path(path)
    if not file.is_file():
        siblings = [item.name for item in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        raise InputError(f"{path}: no such configuration file.{nearest(file.name, siblings)}")
    try:
        loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, found {type(loaded).__name__}.")
    return loaded


def to_yaml(model: BaseModel) -> str:
    """Render a model as YAML that `load_config` reads back to an equal model."""
    return yaml.dump(model.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def config_hash(model: BaseModel, length: int = 12) -> str:
    """Hexadecimal SHA-256 prefix of the canonical JSON of ``model``; equal configurations hash equally."""
    text = json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of ``model``, depth first, sections before their contents."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for section in _sections(field.annotation):
            keys.extend(known_keys(section, f"{prefix}{name}."))
    return keys


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The model classes that ``annotation`` allows directly (not inside lists or mappings)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if getattr(annotation, "__origin__", None) in (list, dict, tuple):
        return []
    return [found for argument in get_args(annotation) for found in _sections(argument)]


def _apply_override(model: type[BaseModel], values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError(f"'{override}': an override is written key=value, for example seed=3.")
    keys = known_keys(model)
    open_sections = [name for name in keys if key.startswith(name + ".")]
    leaf_is_free = any(_is_mapping(model, name) for name in open_sections)
    if key not in keys and not leaf_is_free:
        raise InputError(f"'{override}': unknown key '{key}'.{nearest(key, keys) or ' Keys: ' + ', '.join(keys)}")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise InputError(f"'{override}': the value is not valid YAML.") from None
    target = values
    *parents, leaf = key.split(".")
    for parent in parents:
        step = target.setdefault(parent, {})
        if not isinstance(step, dict):
            step = target[parent] = {}
        target = step
    target[leaf] = value


def _is_mapping(model: type[BaseModel], key: str) -> bool:
    """True if the dotted ``key`` of ``model`` holds a free mapping (``dict[str, …]``)."""
    head, _, rest = key.partition(".")
    field = model.model_fields.get(head)
    if field is None:
        return False
    if rest:
        return any(_is_mapping(section, rest) for section in _sections(field.annotation))
    return "dict[" in str(field.annotation)


def _path(error: dict[str, Any], values: Mapping[str, Any]) -> str:
    """Dotted path of the key that a pydantic error is about, without the names of the kinds that were tried."""
    place: Any = values
    parts = []
    for part in error["loc"]:
        if (isinstance(place, Mapping) and part in place) or (isinstance(place, list) and isinstance(part, int)):
            place = place[part]
            parts.append(part)
    if error["type"] == "missing":
        parts.append(error["loc"][-1])
    return ".".join(map(str, parts))


def _explain(model: type[BaseModel], path: str, errors: list[dict[str, Any]]) -> str:
    """One line for a key: what is wrong, what is allowed (of each kind that it may have), nearest name."""
    error = errors[0]
    if error["type"] == "extra_forbidden":
        keys = known_keys(model)
        return f"{path}: unknown key.{nearest(path, keys) or _siblings(path, keys)}"
    if error["type"] == "missing":
        return f"{path}: required, but not given."
    given = repr(error.get("input"))
    if error["type"] == "literal_error":
        allowed = re.findall("'([^']*)'", str(error["ctx"]["expected"]))
        errors = [{**error, "msg": f"{error['msg']}.{nearest(str(error.get('input')), allowed)}"}, *errors[1:]]
    wrong = "; or: ".join(dict.fromkeys(str(item["msg"]) for item in errors))
    return f"{path}: {wrong} (given: {given if len(given) < 80 else given[:77] + '...'})"


def _siblings(path: str, keys: list[str]) -> str:
    prefix = path.rpartition(".")[0]
    depth = path.count(".")
    names = [key for key in keys if key.count(".") == depth and key.rpartition(".")[0] == prefix]
    return f" Allowed here: {', '.join(name.rpartition('.')[2] for name in names)}." if names else ""


def describe_keys(model: type[BaseModel], prefix: str = "") -> str:
    """One line per key of ``model``: dotted name, type, default and description."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        sections = _sections(field.annotation)
        if sections:
            lines.extend(describe_keys(section, f"{prefix}{name}.") for section in sections)
            continue
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        lines.append(f"{prefix + name:<36} {_type_name(field.annotation):<28} {default}")
        if field.description:
            lines.append(f"{'':<6}{field.description}")
    return "\n".join(lines)


def find_preset(name: str) -> Path:
    """The YAML file that ``name`` means: a path, or a preset in ``jobs/configs`` here or beside the package.

    Raises:
        InputError: neither a file nor a preset; names the nearest one.
    """
    if Path(name).is_file():
        return Path(name)
    presets = project_files("jobs/configs")
    stem = name.removesuffix(".yaml")
    if stem in presets:
        return presets[stem]
    known = ", ".join(sorted(presets)) or "none found"
    raise InputError(f"{name}: neither a file nor a preset.{nearest(stem, presets)} Presets: {known}.")


def project_folders(name: str) -> list[Path]:
    """Where the project's folder ``name`` ("datasets", "jobs/configs") may lie, first the nearest to the user.

    The working directory (a checkout, or a job's copy of one), the checkout that the package runs from, and the
    share folder of an installed wheel.
    """
    roots = [Path(), Path(__file__).resolve().parents[2], Path(sys.prefix) / "share" / "orthoray"]
    return [root / name for root in roots if (root / name).is_dir()]


def project_files(name: str) -> dict[str, Path]:
    """YAML files of the project's folder ``name`` by their stems; of files of one name the nearest to the user."""
    return {file.stem: file for folder in reversed(project_folders(name)) for file in sorted(folder.glob("*.yaml"))}


def _type_name(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    return re.sub(r"typing\.|orthoray\.[a-z_.]+\.", "", text).replace("Literal", "one of ")
