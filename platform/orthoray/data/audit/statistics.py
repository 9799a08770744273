"""Numbers of an audit: bounds of a share, agreement of two readers, when to stop reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95

Action = Literal["accept", "stop", "read on", "widen"]


@dataclass(frozen=True)
class Advice:
    """What to do next and why; ``sample`` is the size of the sample to go on to, where that is known."""

    action: Action
    why: str
    sample: int | None = None


def wilson(count: int, n: int) -> tuple[float, float]:
    """Two-sided 95 % score interval of a share (Wilson 1927, J Am Stat Assoc 22:209-212), without correction.

    Args:
        count: images with the property, 0..n.
        n: images read, >= 1.

    Returns:
        Lower and upper limit, 0..1.
    """
    from scipy.stats import binomtest

    limits = binomtest(count, n).proportion_ci(CONFIDENCE, "wilson")
    return float(limits.low), float(limits.high)


def exact_upper(count: int, n: int) -> float:
    """One-sided exact 95 % upper bound of a share (Clopper & Pearson 1934, Biometrika 26:404-413).

    For count = 0 this is 1 - 0.05 ** (1 / n), which the rule of three, 3 / n, approximates from above.
    """
    from scipy.stats import beta

    return 1.0 if count == n else float(beta.ppf(CONFIDENCE, count + 1, n - count))


def exact_lower(count: int, n: int) -> float:
    """One-sided exact 95 % lower bound of a share, the mirror of `exact_upper`."""
    return 1.0 - exact_upper(n - count, n)


def rule_of_three(n: int) -> float:
    """Approximate 95 % upper bound of a share after n images without a case (Hanley & Lippman-Hand 1983), at most 1."""
    return min(1.0, 3.0 / n)


def sample_needed(count: int, tolerance: float) -> int:
    """Smallest n whose `exact_upper` for ``count`` cases is at most ``tolerance`` (0 < tolerance < 1)."""
    from scipy.stats import binom

    def enough(n: int) -> bool:
        return bool(binom.cdf(count, n, tolerance) <= 1 - CONFIDENCE)

    high = count + 1
    while not enough(high):
        high *= 2
    low = high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa (Cohen 1960, Educ Psychol Meas 20:37-46) of two readings of the same images, in order.

    Returns:
        -1..1, or None where it is undefined: no image, or both readers gave one and the same answer throughout.
    """
    if not first or len({*first, *second}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(list(first), list(second)))


def advise(defects: int, read: int, planned: int, population: int, tolerance: float) -> Advice:
    """Sequential rule on the defects among accepted images.

    In this order: every image read: accept or stop by the share itself; exact 95 % lower bound above the tolerance,
    even if the rest of the sample were without defect: stop; sample not finished: read on; exact 95 % upper bound
    within the tolerance: accept; otherwise widen to the size that would be enough if no further defect turned up, or
    to everything. Each look at the data can be wrong with 5 % in either direction, so k looks can be with up to k
    times 5 %.

    Args:
        defects: accepted images that a reader rejected.
        read: accepted images that were read.
        planned: accepted images in the sample.
        population: accepted images in the dataset.
        tolerance: largest share of defects that is good enough, 0..1, exclusive.
    """
    limit = percent(tolerance)
    if read >= population:
        share = defects / population
        action: Action = "accept" if share <= tolerance else "stop"
        return Advice(action, f"every image was read; {percent(share)} have a defect, at most {limit} may.")
    low = exact_lower(defects, max(read, planned))
    if low > tolerance:
        return Advice("stop", f"at least {percent(low)} have a defect (95 %), above {limit}: mend the ingest first.")
    if read < planned:
        return Advice("read on", f"{planned - read} accepted images of the sample are not read yet.", planned)
    high = exact_upper(defects, read)
    if high <= tolerance:
        return Advice("accept", f"at most {percent(high)} have a defect (95 %), within {limit}.")
    needed = min(sample_needed(defects, tolerance), population)
    enough = "is all there is" if needed == population else "is enough if no further defect turns up"
    doubt = f"up to {percent(high)} may have a defect (95 %), above {limit}"
    return Advice("widen", f"{doubt}; --n {needed} {enough}.", needed)


def percent(share: float) -> str:
    """A share as text with two significant places below 10 %, such as ``0.99 %``."""
    digits = 2 if share < 0.1 and not math.isclose(share, 0) else 1
    return f"{100 * share:.{digits}f} %"
