"""The checkpoint folder: ``model.safetensors``, ``config.yaml``, ``card.json``, written and read as a whole."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from orthoray import __version__, storage
from orthoray.config import StrictModel
from orthoray.errors import InputError
from orthoray.models.backbone import create_backbone
from orthoray.models.features import Normalisation, patch_size_of
from orthoray.models.rope import Rope, rope_of

if TYPE_CHECKING:
    from torch import nn


class Architecture(StrictModel):
    """What `create_backbone` needs to make the same network again."""

    name: str
    in_chans: int = 1
    kwargs: dict[str, Any] = Field(default_factory=dict)
    rope: Rope = "on"


class Provenance(StrictModel):
    """Where the weights come from.

    ``body_parts``: what the images showed that the weights were trained on, by the datasets; ``""`` among them means
    that of some it is not known. Empty before the first step, and on cards that were written before there was this key.
    """

    dataset_ids: list[str] = Field(default_factory=list)
    initial_weights: str | None = None
    initial_licence: str | None = None
    steps: int = 0
    images_seen: int = 0
    body_parts: list[str] = Field(default_factory=list)
    seed: int = 0
    code_version: str = __version__


class CheckpointCard(StrictModel):
    """``card.json``: everything a reader must know to use the weights."""

    kind: Literal["backbone"] = "backbone"
    architecture: Architecture
    img_size: int
    patch_size: int
    feature_dim: int
    num_register_tokens: int = 0
    normalisation: Normalisation = Normalisation()
    provenance: Provenance = Provenance()


def card_for(
    backbone: nn.Module, architecture: Architecture, img_size: int, normalisation: Normalisation, provenance: Provenance
) -> CheckpointCard:
    """Fill a card from a timm backbone."""
    registers = getattr(backbone, "reg_token", None)
    return CheckpointCard(
        architecture=architecture.model_copy(update={"rope": rope_of(backbone)}),
        img_size=img_size,
        patch_size=patch_size_of(backbone),
        feature_dim=int(backbone.num_features),  # type: ignore[arg-type]
        num_register_tokens=0 if registers is None else int(registers.shape[1]),
        normalisation=normalisation,
        provenance=provenance,
    )


def save_checkpoint(
    uri: str,
    backbone: nn.Module,
    card: CheckpointCard,
    config_yaml: str = "",
    trainer_state: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder; it appears at ``uri`` only when it is complete.

    Args:
        uri: folder on any filesystem; replaced if it exists.
        backbone: the network whose weights are kept.
        card: see `card_for`.
        config_yaml: the run's resolved configuration.
        trainer_state: tensors and plain values that training can go on from, kept as ``trainer/state.pt``.
    """
    from safetensors.torch import save

    parent, _, name = uri.rstrip("/").rpartition("/")
    staging = f"{parent or '.'}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
    weights = {key: value.detach().cpu().contiguous() for key, value in backbone.state_dict().items()}
    try:
        storage.write_bytes(storage.join(staging, "model.safetensors"), save(weights))
        storage.write_bytes(storage.join(staging, "config.yaml"), config_yaml.encode())
        if trainer_state is not None:
            storage.write_bytes(storage.join(staging, "trainer", "state.pt"), _pickled(trainer_state))
        storage.write_json(storage.join(staging, "card.json"), card.model_dump(mode="json"))
        storage.remove_tree(uri)
        storage.rename(staging, uri)
    except BaseException:
        storage.remove_tree(staging)
        raise


def _pickled(state: dict[str, Any]) -> bytes:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_checkpoint(uri: str, **options: Any) -> tuple[nn.Module, CheckpointCard]:
    """Read a checkpoint folder; ``options`` go to timm beside those of the card (``drop_path_rate``).

    Returns:
        The backbone in evaluation mode on the CPU, and its card.

    Raises:
        InputError: files missing or damaged, or weights that do not fill the architecture that the card names.
    """
    from orthoray.models.weights.reading import read_weights

    missing = [name for name in ("card.json", "model.safetensors") if not storage.exists(storage.join(uri, name))]
    if missing:
        raise InputError(
            f"{uri}: not a checkpoint ({', '.join(missing)} missing). Give the folder `checkpoint` of a run."
        )
    raw = storage.read_json(storage.join(uri, "card.json"))
    try:
        card = CheckpointCard.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{uri}/card.json: not a card of this version: {error.errors()[0]['msg']}") from None
    made = card.architecture
    backbone = create_backbone(made.name, in_chans=made.in_chans, rope=made.rope, **{**made.kwargs, **options})
    weights = read_weights(storage.join(uri, "model.safetensors"))
    own = backbone.state_dict()
    fitting = sum(key in own and own[key].shape == value.shape for key, value in weights.items())
    if fitting != len(own) or len(weights) != len(own):
        raise InputError(
            f"{uri}: the weights are of another architecture than card.json says ({fitting} of {len(own)} tensors fit, "
            f"{len(weights)} are in the file). Point at an unchanged checkpoint folder."
        )
    backbone.load_state_dict(weights)
    return backbone.eval(), card
