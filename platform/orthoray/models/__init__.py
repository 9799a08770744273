"""Backbones by timm name, their checkpoints, and what comes out of them."""

from orthoray.models.attention import attention_map
from orthoray.models.backbone import Start, create_backbone
from orthoray.models.checkpoint import CheckpointCard, Provenance, load_checkpoint, save_checkpoint
from orthoray.models.features import Normalisation, forward_tokens, normalise, patch_size_of
from orthoray.models.timm_import import import_timm

__all__ = [
    "CheckpointCard",
    "Normalisation",
    "Provenance",
    "Start",
    "attention_map",
    "create_backbone",
    "forward_tokens",
    "import_timm",
    "load_checkpoint",
    "normalise",
    "patch_size_of",
    "save_checkpoint",
]
