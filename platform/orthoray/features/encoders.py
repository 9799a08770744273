"""What turns decoded images into feature vectors: a frozen backbone, or the pixels themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from orthoray import storage
from orthoray.config import Auto
from orthoray.errors import InputError, RunError
from orthoray.features import Pooling, Precision
from orthoray.features.corruptions import Kind, corrupt
from orthoray.features.pixels import PIXEL_SIDE, resize, thumbnail

Image = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Decoded images (H, W) uint8 in, one row per image out: float32 features, or uint8 grey levels."""

    def encode(self, images: Sequence[Image]) -> Features | Image:
        """Encode a batch."""
        ...


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that decides the features of an image; its `key` names their folder.

    ``content`` is the hash of the checkpoint's bytes (empty for pixels), so that other weights at the same place
    are other features. ``layers``: ``last``, or ``last4`` for several blocks (`orthoray.features.blocks`).
    ``corruption``: kind and severity, ``noise-3``, of what is done to each image before.
    """

    kind: Literal["pixels", "checkpoint", "image"]
    checkpoint: str = ""
    content: str = ""
    pooling: str = "none"
    resolution: int = PIXEL_SIDE
    layers: str = "last"
    precision: Precision = "fp32"
    corruption: str = ""

    def key(self, dataset_id: str, modality: str | None) -> str:
        """Folder name: readable head and a hash over (checkpoint content, dataset, layers, pooling, resolution)."""
        facts = {name: value for name, value in asdict(self).items() if name != "checkpoint"}
        if not self.corruption:
            del facts["corruption"]
        text = json.dumps({**facts, "dataset_id": dataset_id, "modality": modality, "format": 1}, sort_keys=True)
        return f"{self.kind}-{self.resolution}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def build(self, threads: int, device: str) -> Encoder:
        """Load the encoder in the process that will use it."""
        if self.corruption:
            return CorruptedEncoder(replace(self, corruption="").build(threads, device), self.corruption)
        if self.kind == "pixels":
            return PixelEncoder(self.resolution)
        if self.kind == "image":
            return ImageEncoder(self.resolution)
        return BackboneEncoder(self, threads, device)


def pixel_spec(side: int = PIXEL_SIDE) -> EncoderSpec:
    """The raw-pixel feature family."""
    return EncoderSpec(kind="pixels", resolution=side)


def image_spec(side: int) -> EncoderSpec:
    """The images themselves as a network sees them, squeezed to ``side`` x ``side`` grey levels, kept as uint8."""
    return EncoderSpec(kind="image", resolution=side)


def checkpoint_spec(
    uri: str, pooling: Pooling = "cls+mean", resolution: int | Auto = "auto", precision: Precision = "fp32"
) -> EncoderSpec:
    """Describe the features of a checkpoint folder.

    Args:
        uri: checkpoint folder (``model.safetensors``, ``card.json``).
        pooling: ``cls`` (D values), ``mean`` of the patch tokens (D), or both concatenated (2D).
        resolution: side in pixels of the square input; auto = the size that the checkpoint's card names.
        precision: ``fp32``, or ``bf16`` for autocast in the forward pass (about twice as fast, features differ in the
            third digit).

    Raises:
        InputError: no such folder, a folder that holds no checkpoint, a card without sizes, or a resolution that is no
            multiple of the patch size.
    """
    uri = storage.absolute(uri)
    missing = [name for name in CONTENT_FILES if not storage.exists(storage.join(uri, name))]
    if missing:
        raise InputError(
            f"{uri}: no checkpoint here ({', '.join(missing)} missing). Give the folder that `orthoray pretrain` "
            "wrote as checkpoint/ or initial/, or run it first."
        )
    card = storage.read_json(storage.join(uri, "card.json"))
    side, patch = (card.get("img_size") if resolution == "auto" else resolution), card.get("patch_size")
    if not isinstance(side, int) or not isinstance(patch, int):
        raise InputError(f"{uri}/card.json: img_size or patch_size is missing; this is no card of a checkpoint.")
    if patch and side % patch:
        raise InputError(
            f"features.resolution={side}: not a multiple of the patch size {patch} of {uri}. "
            f"Nearest: {max(patch, side // patch * patch)} or {(side // patch + 1) * patch}."
        )
    return EncoderSpec("checkpoint", uri, content_hash(uri), pooling, side, precision=precision)


CONTENT_FILES = ("model.safetensors", "card.json")


def content_hash(checkpoint_uri: str) -> str:
    """SHA-256 over the bytes of a checkpoint's weights and card (32 hexadecimal digits)."""
    digest = hashlib.sha256()
    for name in CONTENT_FILES:
        with storage.open_file(storage.join(checkpoint_uri, name)) as handle:
            while chunk := handle.read(1 << 22):
                digest.update(chunk)
        digest.update(b"|")
    return digest.hexdigest()[:32]


class PixelEncoder:
    """Images → (N, side * side) grey values in 0..1."""

    def __init__(self, side: int = PIXEL_SIDE) -> None:
        self.side = side

    def encode(self, images: Sequence[Image]) -> Features:
        """Encode a batch of (H, W) uint8 images."""
        return np.stack([thumbnail(image, self.side) for image in images])


class ImageEncoder:
    """Images → (N, side * side) uint8 grey levels."""

    def __init__(self, side: int) -> None:
        self.side = side

    def encode(self, images: Sequence[Image]) -> Image:
        """Encode a batch of (H, W) uint8 images."""
        return np.stack([resize(image, self.side).reshape(-1) for image in images])


class CorruptedEncoder:
    """Images made worse, then encoded."""

    def __init__(self, encoder: Encoder, corruption: str) -> None:
        kind, _, severity = corruption.partition("-")
        self.encoder, self.kind, self.severity = encoder, cast(Kind, kind), int(severity)

    def encode(self, images: Sequence[Image]) -> Features | Image:
        """Encode a batch of (H, W) uint8 images."""
        return self.encoder.encode([corrupt(image, self.kind, self.severity) for image in images])


class BackboneEncoder:
    """Images → pooled tokens of a frozen backbone, after its final norm."""

    def __init__(self, spec: EncoderSpec, threads: int = 1, device: str = "cpu") -> None:
        import torch

        from orthoray.models import load_checkpoint

        torch.set_num_threads(max(1, threads))
        backbone, self.card = load_checkpoint(spec.checkpoint)
        self.device = torch.device(device)
        self.backbone = backbone.eval().requires_grad_(False).to(self.device)
        self.pooling, self.resolution, self.bf16 = spec.pooling, spec.resolution, spec.precision == "bf16"
        self.blocks = 0 if spec.layers == "last" else int(spec.layers.removeprefix("last"))

    def encode(self, images: Sequence[Image]) -> Features:
        """Encode a batch of (H, W) uint8 images; each is squeezed to the square that the backbone sees."""
        import torch

        from orthoray.models import normalise
        from orthoray.models.features import forward_blocks, forward_tokens

        batch = torch.from_numpy(np.stack([resize(image, self.resolution) for image in images]))
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            x = normalise(batch.unsqueeze(1).to(self.device), self.card)
            if self.blocks:
                tokens, mean = forward_blocks(self.backbone, x, self.blocks)
                row = torch.cat([tokens.flatten(1), mean], dim=1)
                return np.asarray(row.float().cpu().numpy(), dtype=np.float32)
            cls, patches = forward_tokens(self.backbone, x)
            pooled: dict[str, Any] = {"cls": lambda: cls, "mean": lambda: patches.mean(dim=1)}
            parts = [pooled[name]().float() for name in self.pooling.split("+")]
            return np.asarray(torch.cat(parts, dim=1).cpu().numpy(), dtype=np.float32)


def stored(rows: Features | Image) -> npt.NDArray[np.float16] | Image:
    """uint8 as it is, float32 → float16; RunError if a value does not fit (|x| > 65504) or is not finite."""
    return rows if rows.dtype == np.uint8 else to_half(rows)  # type: ignore[return-value,arg-type]


def to_half(features: Features) -> npt.NDArray[np.float16]:
    """float32 → float16; RunError if a value does not fit (|x| > 65504) or is not finite."""
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    if not np.isfinite(half).all():
        bad = int((~np.isfinite(half)).any(axis=1).sum())
        raise RunError(
            f"{bad} of {len(features)} feature rows are not finite in float16. The checkpoint's activations have "
            "diverged or its normalisation does not fit; check its card.json (mean, std)."
        )
    return half
