"""`orthoray demo`: the whole way on a phantom cohort, with the same functions as the single commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from orthoray import storage
from orthoray.config import find_preset, load_config
from orthoray.errors import InputError
from orthoray.progress import clock, heading, outputs, say

T = TypeVar("T")


def run_demo(out: str, *, seed: int = 0, patients: int | None = None) -> str:
    """Make a phantom cohort and take it through ingest, pretrain, study and report.

    Args:
        out: local folder for everything the demo makes; an interrupted demo goes on where it stopped.
        seed: seed of the cohort, the pretraining and the folds.
        patients: size of the cohort; None = the preset's.

    Returns:
        The path of the report.

    Raises:
        InputError: ``out`` is not local, or holds something else than a demo with the same seed and size.
    """
    root = storage.local_path(out)
    if root is None:
        raise InputError(f"{out}: the demo writes to a local folder; give --out a path on this machine.")
    root = root.resolve()
    stages = Stages()
    stages.run(
        "1/5  Phantom cohort: synthetic knees, hips, shoulders and ankles as DICOM", _cohort, root, seed, patients
    )
    stages.run("2/5  Ingest: DICOM → curated dataset", _ingest, root)
    stages.run("3/5  Pretrain: DINO on the images, without labels", _pretrain, root, seed)
    stages.run("4/5  Study: features, patient-grouped folds, linear probe", _study, root, seed)
    page = stages.run("5/5  Report", _report, root)
    stages.finish(root, page)
    return page


class Stages:
    """Runs stage after stage and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def run(self, title: str, stage: Callable[..., T], *arguments: Any) -> T:
        """Announce a stage, run it and print its duration."""
        heading(title)
        start = time.monotonic()
        result = stage(*arguments)
        self.seconds.append(time.monotonic() - start)
        say(f"  done in {clock(self.seconds[-1])}")
        return result

    def finish(self, root: Path, page: str) -> None:
        """Print the total time and where things are."""
        heading(f"Demo finished in {clock(sum(self.seconds))}")
        outputs(
            {"report": page, "dataset": str(root / "dataset"), "checkpoint": str(root / "pretrain" / "checkpoint")},
            next_step="open the report in a browser; then try your own images: README, “On real knee radiographs”",
        )


def _cohort(root: Path, seed: int, patients: int | None) -> None:
    from orthoray.data.phantom import PhantomConfig, make_cohort

    size = [] if patients is None else [f"patients={patients}"]
    config = load_config(PhantomConfig, find_preset("demo_phantom"), [f"seed={seed}", *size])
    make_cohort(root / "phantom", config)


def _ingest(root: Path) -> None:
    from orthoray.data.cards import load_card
    from orthoray.data.ingest import ingest

    if (root / "dataset" / "manifest.json").is_file():  # written last; the cohort has been checked to be the same
        say("  already there")
        return
    ingest(load_card("phantom"), str(root / "phantom"), str(root / "dataset"))


def _pretrain(root: Path, seed: int) -> None:
    from orthoray.pretrain.config import PretrainConfig
    from orthoray.pretrain.run import pretrain

    config = load_config(PretrainConfig, find_preset("demo_pretrain"), [f"out={root / 'pretrain'}", f"seed={seed}"])
    here = [source.model_copy(update={"uri": str(root / "dataset")}) for source in config.data.datasets]
    pretrain(config.model_copy(update={"data": config.data.model_copy(update={"datasets": here})}))


def _study(root: Path, seed: int) -> None:
    from orthoray.evaluation.config import StudyConfig
    from orthoray.evaluation.study import run_study

    overrides = [
        f"out={root / 'study'}",
        f"seeds=[{seed}]",
        f"datasets=['{root / 'dataset'}']",
        f"pretrain_run={root / 'pretrain'}",
    ]
    run_study(load_config(StudyConfig, find_preset("demo_study"), overrides))


def _report(root: Path) -> str:
    from orthoray.report.build import build_report

    return str(build_report(str(root / "study"), str(root)))
