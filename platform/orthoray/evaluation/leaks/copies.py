"""The same image on both sides of a split: exactly, or nearly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.near_hashes import close_images
from orthoray.data.splits import UNUSED
from orthoray.evaluation.leaks.findings import Finding, count
from orthoray.evaluation.protocol import Samples
from orthoray.imaging.perceptual import perceptual_hash

NEAR_BITS = 4
"""Bits by which perceptual hashes of near copies differ at most."""

NEAR_GREY = 3.0 / 255.0
"""Mean distance of grey levels (0..1) of the thumbnails of near copies, at most; other patients are far above."""

Thumbs = npt.NDArray[np.float32]
Splits = dict[int, pd.DataFrame]
"""Seed → split."""


def fold_of_images(samples: Samples, splits: pd.DataFrame) -> npt.NDArray[np.int64]:
    """(M,) the fold in which each image is tested; see also `orthoray.data.splits.TRAINING` and ``UNUSED``."""
    fold = dict(zip(splits["sample_id"], splits["fold"], strict=True))
    return np.array([fold[sample] for sample in samples.sample_id], dtype=np.int64)[samples.owner]


def in_two_folds(samples: Samples, splits: Splits, values: npt.NDArray[np.object_]) -> set[str]:
    """Values of images, (M,), that images tested in different folds have in common."""
    shared: set[str] = set()
    for split in splits.values():
        fold = pd.Series(fold_of_images(samples, split))
        folds = fold.where(fold != UNUSED).groupby(values).nunique()
        shared |= set(folds.index[folds > 1])
    return shared


def exact_copies(task: str, samples: Samples, splits: Splits, sha256: npt.NDArray[np.object_]) -> Finding:
    """Images whose pixels are, to the last, those of an image in another fold. As folds are of patients, theirs too."""
    images = int(np.isin(sha256, list(in_two_folds(samples, splits, sha256))).sum())
    detail = f"{images} images have exactly the pixels of an image in another fold" if images else "none"
    return count(task, "exact copies", images, len(sha256), detail)


def near_copies(task: str, samples: Samples, splits: Splits, thumbs: Thumbs) -> Finding:
    """Images of other patients that look the same: perceptual hashes within `NEAR_BITS`, thumbnails within `NEAR_GREY`.

    Args:
        task: its name.
        samples: of the task.
        splits: of each seed.
        thumbs: (M, side * side) grey levels in 0..1 of its images.
    """
    side = int(np.sqrt(thumbs.shape[1]))
    grey = np.round(255 * thumbs.reshape(-1, side, side)).astype(np.uint8)
    hashes = np.array([perceptual_hash(image) for image in grey], dtype=np.uint64)
    _, patient = np.unique(samples.patient_id[samples.owner].astype(str), return_inverse=True)
    pairs = close_images(hashes, patient.astype(np.int64), NEAR_BITS)
    alike = np.abs(thumbs[pairs.first] - thumbs[pairs.second]).mean(axis=1) <= NEAR_GREY
    apart = np.zeros(len(alike), dtype=bool)
    for split in splits.values():
        fold = fold_of_images(samples, split)
        first, second = fold[pairs.first], fold[pairs.second]
        apart |= (first != second) & (first != UNUSED) & (second != UNUSED)
    found = len(np.unique(np.concatenate([pairs.first[alike & apart], pairs.second[alike & apart]])))
    detail = f"{found} images look the same as an image of another patient in another fold" if found else "none"
    return count(task, "near copies", found, len(thumbs), detail)


def shared_studies(task: str, samples: Samples, splits: Splits, study_id: npt.NDArray[np.object_]) -> Finding:
    """DICOM studies with images in two folds: one examination under two patients."""
    shared = len(in_two_folds(samples, splits, study_id))
    detail = f"{shared} examinations have images in two folds" if shared else "none"
    return count(task, "one examination, two folds", shared, len(np.unique(study_id.astype(str))), detail)
