"""The iBOT objective: the student tells the teacher's distribution of patches that it does not see.

Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv:2111.07832, equation 2; weights as in DINOv2
(arXiv:2304.07193). Targets are `orthoray.pretrain.losses.dino.teacher_targets` of one view, with a `Centre` of their
own; masks are made in `orthoray.pretrain.masks`.
"""

from __future__ import annotations

import torch

from orthoray.pretrain.losses.floats import full


def ibot_loss(
    targets: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor, temperature: float, n_images: int
) -> torch.Tensor:
    """Cross-entropy over masked patches: mean within each image, then summed and divided by the number of images.

    L = 1/n_images · Σ_i w_i · H(t_i, p_i), w_i = 1 / (masked patches of the image that patch i is in).

    Args:
        targets: (M, K) teacher distributions of the masked patches; M may be 0.
        scores: (M, K) student scores of the same patches.
        weights: (M,) w.
        temperature: student temperature.
        n_images: number of images (global crops), those without masks counted in, as in DINOv2: with half of them
            masked the loss is half of a mean over masked images. It does not depend on how a batch is split into
            workers or parts of equal size.

    Returns:
        Scalar, in nats.
    """
    entropies = -(targets * torch.log_softmax(full(scores) / temperature, dim=-1)).sum(dim=-1)
    return (weights * entropies).sum() / n_images
