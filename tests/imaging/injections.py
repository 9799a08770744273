"""Defects drawn into images, in five severities; from the fourth on they must be found."""

import string

import cv2
import numpy as np


def _clip(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blur(image, severity, rng):
    sigma = min(image.shape) * (0.003, 0.005, 0.009, 0.014, 0.02)[severity - 1]
    return cv2.GaussianBlur(image, (0, 0), sigma)


def shaken(image, severity, rng):
    """Motion blur of a film along one direction."""
    length = max(3, round(min(image.shape) * (0.01, 0.02, 0.04, 0.06, 0.085)[severity - 1])) | 1
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), length // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    ends = [tuple(int(v) for v in np.rint(middle + sign * reach)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def overexposed(image, severity, rng):
    """So many percent of the joint (the middle of the film) are clipped at white."""
    limit = np.percentile(_middle(image), 100 - (2, 5, 10, 25, 40)[severity - 1])
    return _clip(image.astype(np.float32) * 255 / max(1.0, limit))


def underexposed(image, severity, rng):
    """So many percent of the joint (the middle of the film) are clipped at black."""
    return _clip(image.astype(np.float32) - np.percentile(_middle(image), (2, 5, 10, 25, 40)[severity - 1]))


def flat(image, severity, rng):
    """So many grey levels remain between the 1st and the 99th percentile."""
    low, high = np.percentile(image, (1, 99))
    left = (120, 80, 50, 28, 14)[severity - 1] / max(1.0, high - low)
    return _clip(image.mean() + min(1.0, left) * (image.astype(np.float32) - image.mean()))


def _middle(image):
    height, width = image.shape
    return image[height // 4 : -height // 4, width // 4 : -width // 4]


def noise(image, severity, rng):
    level = (4, 8, 16, 28, 40)[severity - 1]
    return _clip(image + rng.normal(0, level, image.shape))


def few_levels(image, severity, rng):
    levels = (24, 12, 8, 4, 1)[severity - 1]
    return _clip(np.floor(image / 256.0 * levels) * (255 / max(1, levels - 1)))


def words(image, severity, rng):
    """Lines of capitals and digits as an examination's caption has them."""
    side = min(image.shape)
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX]))
    height = max(8, round(side * (0.03, 0.035, 0.04, 0.045, 0.05)[severity - 1]))
    thick = max(1, round(height / 9))
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    drawn = image.copy()
    top = int(rng.integers(height + 4, side - 4 * 2 * height))
    left = int(rng.integers(2, side // 4))
    for line in range((1, 1, 2, 3, 4)[severity - 1]):
        letters = rng.choice(list(string.ascii_uppercase + string.digits), (4, 6, 8, 8, 10)[severity - 1])
        place = (left, top + round(1.8 * line * height))
        cv2.putText(drawn, "".join(letters), place, font, scale, 255, thick, cv2.LINE_AA)
    return drawn


def markers(image, severity, rng):
    """What is allowed: side, projection, initials, anywhere."""
    drawn = image.copy()
    for text in rng.choice(["L", "R", "PA", "AP", "WB", "JK", "ABC"], int(rng.integers(1, 3)), replace=False):
        height = int(rng.integers(8, max(10, round(0.1 * min(image.shape)))))
        thick = max(1, round(height / rng.uniform(6, 12)))
        scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, height, thick)
        (width, _), _ = cv2.getTextSize(str(text), cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left = int(rng.integers(2, image.shape[1] - width - 2))
        bottom = int(rng.integers(height + 4, image.shape[0] - 4))
        cv2.putText(drawn, str(text), (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    return drawn


def arrows(image, severity, rng):
    """White arrows where they can be seen: on ground of at most 190 of 255, if the film has any."""
    side, drawn = min(image.shape), image.copy()
    length = side * (0.05, 0.08, 0.13, 0.17, 0.22)[severity - 1]
    thick = max(1, round(side * (0.003, 0.004, 0.006, 0.009, 0.012)[severity - 1]))
    for _ in range((1, 1, 1, 2, 3)[severity - 1]):
        for _ in range(20):
            angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75, 2) * image.shape[::-1]
            reach = length * np.array([np.cos(angle), np.sin(angle)])
            ends = [tuple(int(v) for v in start + step * reach) for step in (0, 1)]
            ground = [image[tuple(np.int64(start + step * reach)[::-1])] for step in np.linspace(0, 1, 9)]
            if max(ground) <= 190:
                break
        cv2.arrowedLine(drawn, ends[0], ends[1], 255, thick, cv2.LINE_AA, tipLength=0.3)
    return drawn


def stitched(image, severity, rng, other):
    """The lower half comes from another film, brighter or darker by so many grey levels."""
    offset = (4, 8, 14, 24, 36)[severity - 1] * rng.choice([-1, 1])
    row = round(image.shape[0] * rng.uniform(0.4, 0.6))
    below = other[row:].astype(np.float32)
    below += image[row - 8 : row].mean() - below[:8].mean() + offset
    return np.vstack([image[:row], _clip(below)])


def ghosted(image, severity, rng):
    """Every second line of k-space has another amplitude: a copy half the field of view aside."""
    space = np.fft.fft2(image)
    space[:, ::2] *= 1 - (0.1, 0.2, 0.35, 0.55, 0.8)[severity - 1]
    return _clip(np.abs(np.fft.ifft2(space)))


def spiked(image, severity, rng):
    """One bad point in k-space."""
    space = np.fft.fft2(image)
    row, column = (int(rng.integers(size // 6, size // 3)) for size in image.shape)
    space[row, column] += np.abs(space[0, 0]) * (0.02, 0.05, 0.1, 0.2, 0.35)[severity - 1]
    return _clip(np.abs(np.fft.ifft2(space)))


def moved(image, severity, rng):
    """The patient moves to and fro between the lines of k-space, which are phase encoded across the limb."""
    shift = image.shape[1] * (0.004, 0.008, 0.016, 0.03, 0.05)[severity - 1]
    space = np.fft.fft2(image)
    lines = np.fft.fftfreq(image.shape[1])
    position = shift * np.repeat(rng.choice([-1.0, 1.0], len(lines) // 4 + 1), 4)[: len(lines)]
    return _clip(np.abs(np.fft.ifft2(space * np.exp(-2j * np.pi * lines * position)[None, :])))


def shaded(image, severity, rng):
    """Receiver field that falls off across the image, exp of a plane of so many nepers from edge to edge."""
    depth, angle = (0.3, 0.7, 1.2, 2.0, 3.0)[severity - 1], rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-0.5, 0.5, size) for size in image.shape)
    plane = np.cos(angle) * columns[None, :] + np.sin(angle) * rows[:, None]
    field = image * np.exp(depth * plane)
    return _clip(field * 250 / max(1.0, np.percentile(field, 99.5)))


FILM = {
    "blur": (blur, {"blurred"}),
    "shaken": (shaken, {"blurred"}),
    "overexposed": (overexposed, {"exposure"}),
    "underexposed": (underexposed, {"exposure"}),
    "flat": (flat, {"low_contrast", "exposure"}),
    "noise": (noise, {"exposure"}),
    "few_levels": (few_levels, {"corrupt_pixels"}),
    "words": (words, {"burned_in_text"}),
    "arrows": (arrows, {"graphics"}),
    "stitched": (stitched, {"stitched"}),
}
"""Defects of films and the reasons that name them."""

MR = {
    "blur": (blur, {"blurred"}),
    "noise": (noise, {"mr_artefact"}),
    "ghosted": (ghosted, {"mr_artefact"}),
    "spiked": (spiked, {"mr_artefact"}),
    "moved": (moved, {"mr_artefact", "blurred"}),
    "shaded": (shaded, {"mr_artefact"}),
    "few_levels": (few_levels, {"corrupt_pixels"}),
    "words": (words, {"burned_in_text"}),
}
"""Defects of MR slices and the reasons that name them."""
