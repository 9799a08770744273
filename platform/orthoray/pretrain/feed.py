"""Ray Data: windows of the plan in, blocks of uint8 crops out, for all epochs in one streaming execution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from orthoray.errors import OrthoRayError
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.cutter import WindowCutter
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.settings.data import Damaged
from orthoray.pretrain.share import Share

if TYPE_CHECKING:
    import ray.data

__all__ = ["Share", "WindowCutter", "plainly", "preferring", "readable", "stream"]

MANY_WINDOWS = 2048
"""Above this many, windows are listed in blocks of `TOGETHER`: a block of its own for each would cost Ray Data 8 KB and
a millisecond before the first image (30,000 windows: 240 MB and half a minute)."""

TOGETHER = 256


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
    blocks = len(windows) if len(windows) <= MANY_WINDOWS else -(-len(windows) // TOGETHER)
    dataset = ray.data.range(len(windows), override_num_blocks=max(1, blocks))
    if blocks < len(windows):
        dataset = dataset.repartition(target_num_rows_per_block=1)
    dataset.context.execution_options.preserve_order = True
    placed: dict[str, Any] = preferring(ray.nodes())  # type: ignore[no-untyped-call]
    return dataset.map_batches(cutter, batch_size=1, batch_format="numpy", num_cpus=1, **placed)


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


def readable(batches: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
    """Batches of a `stream`, whose errors are plain: RunError for a damaged shard, which names it."""
    with plainly():
        yield from batches


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
