"""Small checkpoints of every kind of backbone, with all tensors away from their starting values."""

import torch

from orthoray.models import Normalisation, Provenance, create_backbone, save_checkpoint
from orthoray.models.checkpoint import Architecture, card_for

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
FAMILIES = {
    "vit": ("vit_tiny_patch16_224", SIZES),
    "vit with registers": ("vit_tiny_patch16_224", {**SIZES, "reg_tokens": 2, "no_embed_class": True}),
    "dinov2": ("vit_small_patch14_dinov2", SIZES),
    "dinov2 with registers": ("vit_small_patch14_reg4_dinov2", SIZES),
    "dinov2 g": ("vit_giant_patch14_reg4_dinov2", {**SIZES, "mlp_ratio": 5.5}),
    "dinov3": ("vit_small_patch16_dinov3", SIZES),
    "dinov3 with biases": ("vit_small_patch16_dinov3_qkvb", SIZES),
    "dinov3 plus": ("vit_small_plus_patch16_dinov3", SIZES),
    "convnext": ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
}
FIXED = Normalisation(mean=0.4, std=0.3)


def network(family, rope="on", in_chans=1, **changes):
    """A backbone whose tensors all matter."""
    name, sizes = FAMILIES[family]
    torch.manual_seed(0)
    model = create_backbone(name, in_chans=in_chans, rope=rope, **{**sizes, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def checkpoint(uri, family, rope="on", normalisation=FIXED, in_chans=1, **provenance):
    """Save one; gives the backbone back."""
    name, sizes = FAMILIES[family]
    model = network(family, rope, in_chans)
    made = Architecture(name=name, in_chans=in_chans, kwargs=dict(sizes))
    card = card_for(model, made, 64 if family == "convnext" else 32, normalisation, Provenance(**provenance))
    save_checkpoint(str(uri), model, card)
    return model
