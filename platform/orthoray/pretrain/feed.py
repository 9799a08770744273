"""Ray Data: windows of the plan in, blocks of uint8 crops out, through all epochs in few streaming executions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from orthoray.errors import OrthoRayError
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.cutter import WindowCutter
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.settings.data import Damaged
from orthoray.pretrain.share import Share

if TYPE_CHECKING:
    import ray.data

__all__ = ["Share", "WindowCutter", "batches", "plainly", "preferring", "stream", "stretches"]

MANY_WINDOWS = 2048
"""Windows of one execution at most: Ray Data lists all of them before the first image, at 8 KB and a millisecond each
(30,000 windows: 240 MB and half a minute). The next execution takes a second or two to begin, after millions of images.
"""


def stream(
    mixture: Mixture, crops: MultiCropConfig, share: Share, start: int, total: int, damaged: Damaged = "refuse"
) -> ray.data.Dataset:
    """A Ray dataset of one worker's crops of images ``start`` … ``total - 1`` of a run.

    The order is the plan's and all choices follow from (seed, place in the run), so the images of a step do not depend
    on the number of workers nor on where a run was resumed. Where the cluster has nodes without GPU beside others with,
    they are preferred.

    Args:
        mixture: what is shown, and in which order.
        crops: how it is cut.
        share: which part of every batch.
        start: first image.
        total: images of the run.
        damaged: ``refuse`` raises RunError for an image that cannot be read, ``replace`` shows the next one that can.

    Returns:
        Columns, one row per image:

        - ``position`` int64: place of the image in the run; ``row`` int64: its number in the mixture.
        - ``views`` uint8 (2, G, G); ``details`` uint8 (n, L, L), absent without local crops.
        - ``modality`` uint8: code as in `orthoray.pretrain.settings.data.MODALITIES`.
        - ``second`` int64, with ``second_view: neighbour``: number of the image of the second global crop.
        - ``mirrored`` uint8, with ``canonical_laterality``: 1 if the image was mirrored.
        - ``replaced`` uint8, with ``damaged="replace"``: 1 if the image stands in for one that cannot be read.
    """
    import ray
    import ray.data

    windows = mixture.schedule(total, start)
    cutter: Any = WindowCutter(windows, crops, share, damaged)
    dataset = ray.data.range(len(windows), override_num_blocks=max(1, len(windows)))
    dataset.context.execution_options.preserve_order = True
    placed: dict[str, Any] = preferring(ray.nodes())  # type: ignore[no-untyped-call]
    # A block is a window. With batch_size=1 Ray Data would not join this to the listing, and list all of it first.
    return dataset.map_batches(cutter, batch_size=None, batch_format="numpy", num_cpus=1, **placed)


def stretches(mixture: Mixture, start: int, total: int, batch: int) -> Iterator[tuple[int, int]]:
    """Images ``start`` … ``total - 1`` of a run as (first, end) of consecutive pieces of about `MANY_WINDOWS` windows.

    All but the last end with a batch; the window at such an end is read on both sides of it.
    """
    windows = mixture.schedule(total, start)
    begin = start
    for number in range(MANY_WINDOWS, len(windows), MANY_WINDOWS):
        end = start + (windows[number].first - start) // batch * batch
        if end > begin:
            yield begin, end
            begin = end
    if begin < total:
        yield begin, total


def batches(
    mixture: Mixture, crops: MultiCropConfig, share: Share, start: int, total: int, damaged: Damaged = "refuse"
) -> Iterator[dict[str, np.ndarray]]:
    """A worker's parts of the batches from image ``start`` on, `stream` after `stream`; errors are plain (`plainly`).

    Raises:
        RunError: a damaged shard or image, which it names.
    """
    local = share.batch // share.world
    for begin, end in stretches(mixture, start, total, share.batch):
        made = stream(mixture, crops, share, begin, end, damaged)
        with plainly():
            yield from cast(Any, made.iter_batches(batch_size=local, prefetch_batches=2))


def preferring(nodes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Options of tasks that go to nodes without GPU first, if only some of ``nodes`` (`ray.nodes()`) have GPUs.

    When those are busy or gone, tasks run anywhere.
    """
    alive = [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    plain = [node["NodeID"] for node in alive if not node["Resources"].get("GPU")]
    if not plain or len(plain) == len(alive):
        return {}
    return {
        "label_selector": {"ray.io/node-id": f"in({','.join(sorted(plain))})"},
        "fallback_strategy": [{"label_selector": {}}],
    }


@contextmanager
def plainly() -> Iterator[None]:
    """Raise what a task of the feed said (`OrthoRayError`) instead of Ray's account of it."""
    try:
        yield
    except Exception as error:
        told = _told(error)
        if told is None or told is error:
            raise
        raise told from None


def _told(error: BaseException) -> OrthoRayError | None:
    """The first error of ours among the causes of another; Ray's wrappers say that they are of the class they wrap."""
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        cause = found.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        inner = getattr(cause, "cause", None)
        if isinstance(cause, OrthoRayError) and inner is None:
            return cause
        found += [inner, cause.__cause__, cause.__context__]
    return None
