"""Fixtures of the whole suite: an isolated Ray, a private home folder, the real images where they exist."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("search")
settings.load_profile("same")  # pytest --hypothesis-profile=search draws new ones
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, by children too
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"] = "1"
os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ["HOME"] = tempfile.mkdtemp(prefix="orthoray-home-")
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "platform"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="session")
def shared_data():
    """Return a function: name of a real data set → its folder; skips where it is absent."""

    def find(name: str) -> Path:
        folder = SHARED / name
        if not folder.is_dir():
            pytest.skip(f"real images '{name}' are not beside this checkout (../shared/data/{name})")
        return folder

    return find


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray session of two processors for all tests that need one."""
    import ray

    from orthoray.cluster.session import connect

    connect(num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def dataset_folder():
    """A function that writes a small dataset, see `tests.stores.write_dataset`."""
    from tests.stores import write_dataset

    return write_dataset


@pytest.fixture
def label_table():
    """A function that writes a label table of a dataset."""
    from tests.stores import write_labels

    return write_labels


@pytest.fixture
def tiny_checkpoint():
    """Return a function: (uri, seed) → a checkpoint folder of a very small ViT for 32 x 32 pixels, of 2 blocks."""
    from tests.stores import write_checkpoint

    def make(uri, seed=0, steps=0, dataset_ids=(), depth=2, body_parts=()):
        return write_checkpoint(str(uri), seed, steps, list(dataset_ids), depth, body_parts)

    return make


@pytest.fixture
def feature_folder():
    """A function that writes a complete feature folder without any encoder behind it."""
    from tests.stores import write_feature_folder

    return write_feature_folder
