"""What a step needs of a GPU's memory: an estimate by formula, for plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from orthoray.pretrain.costs import HeadShape

GIB = float(1 << 30)

GPU_MEMORY = {
    "H200": 140.0,
    "H100": 79.2,
    "A100": 79.2,
    "A100-40GB": 39.4,
    "L40S": 44.4,
    "L4": 22.0,
    "A10": 22.1,
}
"""Memory of GPUs that multiply bf16, in GiB, as their drivers tell it."""

USABLE = 0.93
"""Share of it that tensors can have; the rest goes to the driver, to libraries and into gaps."""

STUDENT_SCORE = 14
"""Bytes that a student's score takes at the height of a step: bf16, float32, scaled, log-softmax."""

TEACHER_SCORE = 10
"""Bytes that a teacher's score takes: bf16, float32 or its distribution, centred."""

CHUNKED_SCORES = 5 * 4 * 2**24
"""Bytes of all scores at a time where the loss goes chunk by chunk (`orthoray.pretrain.losses.chunked_targets`)."""

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class BlockShape:
    """The sizes of a ViT that decide what its blocks keep for the backward pass."""

    depth: int
    width: int
    mlp_width: int
    patch: int
    prefix_tokens: int
    layer_scale: bool = False
    rotary: bool = False
    gated: bool = False

    @classmethod
    def of(cls, backbone: nn.Module) -> BlockShape | None:
        """Read them from a timm ViT; None for other networks."""
        model: Any = backbone
        if not hasattr(model, "blocks") or not hasattr(model, "patch_embed"):
            return None
        first = model.blocks[0]
        scales = [getattr(first, name, None) for name in ("ls1", "gamma_1")]
        return cls(
            depth=len(model.blocks),
            width=int(model.embed_dim),
            mlp_width=int(first.mlp.fc2.in_features),
            patch=int(model.patch_embed.patch_size[0]),
            prefix_tokens=int(model.num_prefix_tokens),
            layer_scale=any(scale is not None and not isinstance(scale, nn.Identity) for scale in scales),
            rotary=getattr(model, "rope", None) is not None,
            gated=hasattr(first.mlp, "fc1_g") or first.mlp.fc1.out_features != first.mlp.fc2.in_features,
        )

    def tokens(self, side: int) -> int:
        """Tokens of a ``side`` × ``side`` crop."""
        return (side // self.patch) ** 2 + self.prefix_tokens

    def kept_bytes(self, precision: Precision) -> float:
        """Bytes that one block keeps of one token, with width D and MLP width M.

        bf16: inputs of both norms in float32 (8 D); inputs of the attention, of its projection and of the MLP (6 D),
        query, key and value (6 D), hidden layer before and after its activation (4 M). fp32: four bytes each, and the
        norms' outputs, which are those inputs. Layer scale keeps two more inputs, rotary positions query, key and value
        once more, a gated MLP both of its hidden layers and their product.
        """
        width, size = self.width, 2 if precision == "bf16" else 4
        norms = 8 * width if precision == "bf16" else 12 * width
        inputs = 3 * size * width if precision == "bf16" else 2 * size * width
        more = (2 if self.layer_scale else 0) + (3 if self.rotary else 0)
        hidden = (4 if self.gated else 2) * size * self.mlp_width
        return norms + inputs + 3 * size * width + hidden + more * size * width


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU: what is there whatever the batch, and what an image adds."""

    parameters: float
    gradients: float
    moments: float
    teacher: float
    copies: float
    scores: float
    per_image: float

    @property
    def fixed(self) -> float:
        """All that does not grow with the batch."""
        return self.parameters + self.gradients + self.moments + self.teacher + self.copies + self.scores

    def needed(self, images: int) -> float:
        """Bytes of a step of ``images`` images on this GPU."""
        return self.fixed + images * self.per_image

    def largest_batch(self, gib: float) -> int:
        """Images that fit onto a GPU of ``gib`` GiB; 0 if not even the weights do."""
        return max(0, int((gib * GIB * USABLE - self.fixed) / self.per_image))


@dataclass(frozen=True)
class Crops:
    """Crops of an image: numbers and sides in pixels, and masked patches (expected) of the global ones."""

    n_global: int
    global_side: int
    n_local: int
    local_side: int
    masked: float = 0.0

    def pixels(self) -> int:
        """Grey values of all crops."""
        return self.n_global * self.global_side**2 + self.n_local * self.local_side**2


def step_memory(
    blocks: BlockShape,
    crops: Crops,
    head: HeadShape,
    backbone_parameters: int,
    *,
    patch_head: HeadShape | None = None,
    shared_head: bool = True,
    trained: int | None = None,
    precision: Precision = "bf16",
    recomputed: float = 0.0,
    chunked: bool = False,
    sharded_over: int = 1,
    anchored: bool = False,
) -> Memory:
    """Estimate what a step of student and teacher needs.

    Weights, gradients and AdamW's moments are float32 (4 + 4 + 8 bytes a parameter), the teacher's weights 4, bf16
    copies of the student's 2. Blocks keep `BlockShape.kept_bytes` of every token of the student; a block that is
    recomputed keeps its input alone.

    Args:
        blocks: of the backbone.
        crops: of an image.
        head: of class tokens.
        backbone_parameters: of one backbone.
        patch_head: of masked patches, if there is such a loss.
        shared_head: it is the same as that of the class tokens.
        trained: parameters of the student that learn; None = all. The teacher shares the others.
        precision: of the matrix products.
        recomputed: share of blocks that are recomputed.
        chunked: the scores of all prototypes are never held at once.
        sharded_over: workers that share weights, gradients and moments (FSDP2).
        anchored: there is a Gram teacher, one more backbone.
    """
    own = patch_head is not None and not shared_head
    heads = head.parameters() + (patch_head.parameters() if patch_head is not None and own else 0)
    everything = backbone_parameters + heads
    learning = everything if trained is None else trained
    tokens = crops.n_global * blocks.tokens(crops.global_side)
    if crops.n_local:
        tokens += crops.n_local * blocks.tokens(crops.local_side)
    kept = blocks.kept_bytes(precision)
    per_token = blocks.depth * ((1.0 - recomputed) * kept + recomputed * 4 * blocks.width) + (
        kept if recomputed else 0.0
    )
    views = crops.n_global + crops.n_local
    per_image = tokens * per_token + crops.pixels() * 7 + _head_bytes(head, views)
    scores = views * STUDENT_SCORE + crops.n_global * TEACHER_SCORE
    if patch_head is not None:
        per_image += crops.masked * _head_bytes(patch_head, 1)
    if not chunked:
        per_image += scores * head.prototypes
        if patch_head is not None:
            per_image += crops.masked * (STUDENT_SCORE + TEACHER_SCORE) * patch_head.prototypes
    return Memory(
        parameters=4.0 * everything / sharded_over,
        gradients=4.0 * learning / sharded_over,
        moments=8.0 * learning / sharded_over,
        teacher=4.0 * (learning + (backbone_parameters if anchored else 0)) / sharded_over,
        copies=2.0 * everything if precision == "bf16" else 0.0,
        scores=float(CHUNKED_SCORES) if chunked else 0.0,
        per_image=float(per_image),
    )


def _head_bytes(head: HeadShape, tokens: int) -> float:
    """What a head keeps of its tokens: inputs and hidden layers before and after their activation, bottleneck."""
    return tokens * (2.0 * head.width + 4.0 * head.hidden * (head.layers - 1) + 10.0 * head.bottleneck)
