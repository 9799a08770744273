"""timm's pretrained tags, from the Hugging Face Hub or its cache on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orthoray.errors import InputError, nearest
from orthoray.models.timm_import import import_timm
from orthoray.models.weights.reading import FILES, Source, read_weights

if TYPE_CHECKING:
    from pathlib import Path


def read_tag(architecture: str, tag: str) -> Source:
    """The weights that timm publishes for ``architecture`` under ``tag`` (empty = its default tag).

    Raises:
        InputError: no such tag, or the file is neither in the cache nor can be fetched; says what to download and where
            to put it.
    """
    path, settings = find_tag(architecture, tag)
    origin = f"timm:{settings.tag} ({settings.hf_hub_id or settings.url})"
    return Source(read_weights(path), origin, {"architecture": architecture}, settings.license)


def find_tag(architecture: str, tag: str) -> tuple[str, Any]:
    """Where the file of a tag is, on this machine once it is fetched from the Hub, and timm's settings of the tag.

    Raises:
        InputError: as `read_tag`.
    """
    tag = tag.removeprefix(f"{architecture}.")
    settings = _settings(architecture, tag)
    repository, address = settings.hf_hub_id, settings.url
    if repository:
        names = [settings.hf_hub_filename] if settings.hf_hub_filename else list(FILES[:2])
        return str(_fetch(architecture, str(repository), names)), settings
    if address:
        return str(address), settings
    raise InputError(f"timm:{tag}: timm publishes no weights for {architecture} under this tag.")


def _settings(architecture: str, tag: str) -> Any:
    models = import_timm().models
    try:
        found = models.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    except RuntimeError:
        found = None
    if found is None or not found.has_weights:
        tags = [name.partition(".")[2] for name in import_timm().list_pretrained(f"{architecture}.*")]
        listed = ", ".join(tags) or "none"
        raise InputError(f"timm:{tag}: no such weights of {architecture}.{nearest(tag, tags)} Tags: {listed}.")
    return found


def _fetch(architecture: str, repository: str, names: list[str]) -> Path | str:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cause: Exception | None = None
    for name in names:
        try:
            return hf_hub_download(repository, name)
        except LocalEntryNotFoundError as error:
            cause = error
            break
        except EntryNotFoundError as error:
            cause = error
        except Exception as error:  # refused, gated, no route: the client's errors have no common base
            cause = error
            break
    assert cause is not None
    raise InputError(
        f"timm:{architecture}: {repository} cannot be fetched ({_first_line(cause)}). On a machine with network, "
        f"download https://huggingface.co/{repository}/resolve/main/{names[0]} (accept the licence there if it asks), "
        "copy it here and give its path as weights; or copy that machine's folder "
        f"models--{repository.replace('/', '--')} into {constants.HF_HUB_CACHE}."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
