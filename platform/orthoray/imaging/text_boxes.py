"""Lettering and drawn graphics that are part of the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

MARKER_LETTERS = 3
"""A word of at most so many letters is a marker or initials (L, R, PA, AP, WB, JKL) and allowed."""

LETTER_WIDTH = 0.8
"""Width of a letter with its gap at the least, in heights, where letters touch."""

CONTRAST = 24
"""Grey levels by which a stroke is at least brighter than what lies around it."""

BUSY = 0.05
"""Share of the pixels that lettering hardly ever covers; what more pixels have is taken for texture."""

TEXTURE = 2.0
"""By how much strokes stand out of texture at least: a multiple of the contrast that `BUSY` of the pixels exceed."""

NEAR_PEAK = 20
"""Grey levels below the image's brightest that still belong to a drawn stroke."""

SHOULDER = 0.004
"""With a larger share of pixels just below the brightest level, that level is bone's: strokes must end abruptly too."""

FADED, ABRUPT = 0.25, 0.9
"""Two pixels beside a stroke less than this share of its contrast is left, along this share of its edge."""

MAX_MARKS = 300
"""With more candidates than this the image holds texture; only the brightest are looked at."""

MAX_CROSSED = 2.2
"""An arrow, line or frame is crossed by a row at most so often on average; branching texture more often."""


@dataclass(frozen=True)
class Marks:
    """What is drawn on an image.

    Attributes:
        words: boxes (x, y, width, height) in pixels of words of more than `MARKER_LETTERS` letters.
        markers: boxes of shorter words, letter by letter, and of anything else of a letter's size and shape.
        graphics: boxes of long thin strokes at the brightest level: arrows, lines, frames, callipers.
    """

    words: tuple[Box, ...]
    markers: tuple[Box, ...]
    graphics: tuple[Box, ...]


def find_marks(image: Grey, *, graphics: bool = True) -> Marks:
    """Find lettering and graphics by shape; nothing is read.

    Strokes are what a morphological opening removes (white top-hat) with a contrast of at least `CONTRAST`. Their
    connected components are letters if they have a letter's size and proportions; letters of one height, one
    brightness and one line, side by side, form a word. Brightness and line are what bone lacks. Long thin components of
    what is within `NEAR_PEAK` of the image's brightest level are graphics.

    Args:
        image: (H, W) grey. Letters are found from about 8 to `0.1 * min(H, W)` pixels high, so large films are best
            searched before they are reduced. Dark lettering on bright ground is found in ``255 - image``.
        graphics: look for graphics too. On MR slices thin fat and fluid at the brightest level look the same.

    Returns:
        Boxes in pixels of the image.
    """
    strokes = _strokes(image)
    words, markers = _words(strokes, min(image.shape)) if strokes is not None else ((), ())
    return Marks(words, markers, _graphics(image) if graphics else ())


# Columns of a component: box, pixels, mean grey, mean contrast, share at the image's peak, strokes that a row crosses.
X, Y, W, H, AREA, LEVEL, LIFT, TOP, CROSSED = range(9)
Parts = npt.NDArray[np.float64]


def _strokes(image: Grey) -> Parts | None:
    """Components of thin bright strokes; None without any, or in an image full of texture."""
    lifted = _lifted(image, 48)
    sample = lifted[::4]
    above = np.cumsum(cv2.calcHist([sample], [0], None, [256], [0, 256]).ravel()[::-1])[::-1] / sample.size
    limit = max(CONTRAST, round(TEXTURE * np.count_nonzero(above > BUSY)))
    mask = _above(lifted, limit)
    if not 0 < cv2.countNonZero(mask) <= 3 * BUSY * image.size:
        return None
    return _parts(image, lifted, mask)


def _graphics(image: Grey) -> tuple[Box, ...]:
    """Long thin components of the brightest level."""
    peak = int(image.max())
    if peak < 128:
        return ()
    lifted = _lifted(image, 32)
    mask = _above(lifted, CONTRAST) & _above(image, peak - NEAR_PEAK)
    if not 0 < cv2.countNonZero(mask) <= BUSY * image.size:
        return ()
    parts = _parts(image, lifted, mask)
    parts = parts[_is_graphic(parts, image.shape)]
    if not len(parts):
        return ()
    nearly = cv2.countNonZero(_above(image, peak - 16)) - cv2.countNonZero(_above(image, peak - 1))
    if nearly > SHOULDER * image.size:
        parts = parts[[_is_crisp(part, mask, lifted) for part in parts]]
    return _boxes(parts)


def _is_crisp(part: Parts, mask: Grey, lifted: Grey) -> bool:
    """Does a component end abruptly on all sides? Bone that is clipped to white fades on one side at least."""
    x, y, width, height = (int(value) for value in part[:4])
    window = np.s_[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4]
    labels = cv2.connectedComponentsWithAlgorithm(mask[window], 8, cv2.CV_32S, cv2.CCL_SPAGHETTI)[1]
    own = (labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))).astype(np.uint8)
    ring = cv2.dilate(own, np.ones((5, 5), np.uint8)) - cv2.dilate(own, np.ones((3, 3), np.uint8))
    return float((lifted[window][ring > 0] < FADED * part[LIFT]).mean()) >= ABRUPT


def _lifted(image: Grey, divisor: int) -> Grey:
    """White top-hat: by how much thin structures stand out of what lies around them."""
    side = max(7, round(min(image.shape) / divisor)) | 1
    kernel = np.ones((side, side), np.uint8)
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_TOPHAT, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _above(image: Grey, limit: int) -> Grey:
    """1 where an image is at least at a limit, else 0."""
    return np.asarray(cv2.threshold(image, limit - 1, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _parts(image: Grey, lifted: Grey, mask: Grey) -> Parts:
    """(n, 9) connected components of a mask that is not empty: the columns above."""
    where = np.flatnonzero(mask.view(np.bool_))
    owner = cv2.connectedComponentsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_SPAGHETTI)[1].ravel()[where]
    starts = np.ones(len(where), np.int64)
    starts[1:] = np.diff(where) > 1
    order = np.argsort(owner, kind="stable")
    first = np.flatnonzero(np.diff(owner[order], prepend=0))
    row, column = np.divmod(where[order], image.shape[1])
    grey = image.ravel()[where[order]]
    left, top = np.minimum.reduceat(column, first), np.minimum.reduceat(row, first)
    width, height = np.maximum.reduceat(column, first) + 1 - left, np.maximum.reduceat(row, first) + 1 - top
    area = np.diff(first, append=len(where))
    level = np.add.reduceat(grey, first, dtype=np.float64) / area
    lift = np.add.reduceat(lifted.ravel()[where[order]], first, dtype=np.float64) / area
    bright = np.add.reduceat(grey >= int(image.max()) - 3, first, dtype=np.float64) / area
    crossed = np.add.reduceat(starts[order], first) / height
    return np.column_stack([left, top, width, height, area, level, lift, bright, crossed]).astype(np.float64)


def _is_letter(parts: Parts, side: int) -> npt.NDArray[np.bool_]:
    """Which components have the size and proportions of a letter, or of several that touch."""
    height, width, area = parts[:, H], parts[:, W], parts[:, AREA]
    fill = area / (height * width)
    sized = (height >= 5) & (height <= max(9.0, 0.1 * side)) & (area >= 5)
    single = (width <= 1.5 * height) & (fill >= 0.15) & ((fill <= 0.95) | (width <= 0.45 * height))
    several = (width <= 16 * height) & (fill >= 0.2) & (fill <= 0.8) & (parts[:, CROSSED] >= 0.7 * width / height)
    return np.asarray(sized & (single | several))


def _counted(parts: Parts) -> npt.NDArray[np.float64]:
    """(n,) how many letters a component is: more than one if it is wide and rows cross many strokes.

    M and W are crossed as often as two letters, so no more are counted than find room side by side.
    """
    touching = parts[:, W] > 1.5 * parts[:, H]
    room = np.floor(parts[:, W] / (LETTER_WIDTH * parts[:, H]))
    return np.where(touching, np.maximum(2.0, np.minimum(np.rint(parts[:, CROSSED] / 1.5), room)), 1.0)


def _is_graphic(parts: Parts, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which components are longer than letters and thin, and have the brightest level along most of their length.

    Those that touch the image's border belong to the edge of a film or of the collimation.
    """
    height, width, area = parts[:, H], parts[:, W], parts[:, AREA]
    long, short = np.maximum(height, width), np.minimum(height, width)
    thin = ((area <= 0.3 * height * width) | (short <= 0.3 * long)) & (parts[:, CROSSED] <= MAX_CROSSED)
    inside = (parts[:, X] > 1) & (parts[:, Y] > 1)
    inside &= (parts[:, X] + width < shape[1] - 1) & (parts[:, Y] + height < shape[0] - 1)
    drawn = (parts[:, TOP] * area >= 0.6 * np.hypot(height, width)) & (parts[:, LIFT] >= 1.25 * CONTRAST)
    longer = (long >= max(16.0, 0.11 * min(shape))) & ~_is_letter(parts, min(shape))
    return np.asarray(longer & thin & inside & drawn)


def _words(strokes: Parts, side: int) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """Boxes of words, and of the letters that are in none."""
    letters = strokes[_is_letter(strokes, side)]
    if len(letters) > MAX_MARKS:
        letters = letters[np.argsort(-letters[:, LEVEL], kind="stable")[:MAX_MARKS]]
    letters = letters[np.argsort(letters[:, X], kind="stable")]
    groups, count = _connected(_neighbours(letters)), _counted(letters)
    long = np.bincount(groups, count) > MARKER_LETTERS
    words = [letters[groups == group] for group in np.flatnonzero(long)]
    return tuple(_around(word) for word in words if not _is_crowded(word, strokes)), _boxes(letters[~long[groups]])


def _is_crowded(word: Parts, strokes: Parts) -> bool:
    """Do more strokes lie right above and below than in the word itself? Then it is a row of a texture."""
    left, top, width, height = _around(word)
    middle_x, middle_y = strokes[:, X] + strokes[:, W] / 2, strokes[:, Y] + strokes[:, H] / 2
    beside = (middle_x > left) & (middle_x < left + width)
    near = (middle_y > top - height / 2) & (middle_y < top + 1.5 * height)
    return int((beside & near).sum()) > len(word) + float(_counted(word).sum())


def _neighbours(letters: Parts) -> npt.NDArray[np.bool_]:
    """(n, n) which letter is followed by which: same line, height and brightness, a letter's gap apart."""
    left, top, height, level = letters[:, X], letters[:, Y], letters[:, H], letters[:, LEVEL]
    right, bottom = left + letters[:, W], top + height
    taller = np.maximum(height[:, None], height)
    gap = left[None, :] - right[:, None]
    beside = (gap >= -0.1 * taller) & (gap <= 0.65 * taller) & (left[None, :] > left[:, None])
    even = np.minimum(np.abs(bottom[:, None] - bottom), np.abs(top[:, None] - top)) <= np.maximum(1.0, 0.12 * taller)
    alike = np.abs(height[:, None] - height) <= np.maximum(1.0, 0.4 * taller)
    return np.asarray(beside & even & alike & (np.abs(level[:, None] - level) <= 24.0))


def _connected(links: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(n,) number of the connected group of each letter."""
    group = np.arange(len(links))
    for first, second in zip(*np.nonzero(links), strict=True):
        low, high = sorted((group[first], group[second]))
        if low != high:
            group[group == high] = low
    return np.asarray(np.unique(group, return_inverse=True)[1], np.int64)


def _around(word: Parts) -> Box:
    left, top = int(word[:, X].min()), int(word[:, Y].min())
    right, bottom = int((word[:, X] + word[:, W]).max()), int((word[:, Y] + word[:, H]).max())
    return left, top, right - left, bottom - top


def _boxes(parts: Parts) -> tuple[Box, ...]:
    return tuple((int(x), int(y), int(w), int(h)) for x, y, w, h in parts[:, :4])
