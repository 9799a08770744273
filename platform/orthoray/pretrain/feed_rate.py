"""How many images a second one processor core cuts for training: measured here, with the code that does it."""

from __future__ import annotations

import time

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.data.codec import decode, encode
from orthoray.data.phantom.cohort import exams
from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.film import draw_film
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig

LEAST_IMAGES = 4
"""Images that are cut however slow that is."""


def synthetic_film(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A drawn knee film of (height, width), uint8, with grain and noise that make it as hard to decode as a real one.

    Args:
        height: in pixels.
        width: in pixels.
        seed: decides the anatomy.
    """
    config = PhantomConfig(
        patients=1, seed=seed, modalities=("XR",), joints=("knee",), bilateral=0.0, follow_up=0.0, film_height=512,
        film_width=1024,
    )  # fmt: skip
    film, _ = draw_film(next(exams(config)), config)
    grey = (np.clip(film, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    shrinks = height < grey.shape[0]
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def images_per_core(crops: MultiCropConfig, height: int, width: int, seconds: float = 1.0) -> float:
    """Images that one core decodes and cuts per second, reading not counted.

    Measured for about ``seconds`` on a synthetic film; on a machine that does other work it comes out too low.
    """
    encoded, cut = encode(synthetic_film(height, width)), MultiCrop(crops)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        cut(decode(encoded, "png"), np.random.default_rng(0))
        begin, done = time.perf_counter(), 0
        while done < LEAST_IMAGES or time.perf_counter() - begin < seconds:
            cut(decode(encoded, "png"), np.random.default_rng(done))
            done += 1
        return done / (time.perf_counter() - begin)
    finally:
        cv2.setNumThreads(threads)
