"""A session of a run: Ray Train with its workers, the driver's watch over them, and how the session ended."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from orthoray.errors import RunError, StoppedError
from orthoray.pretrain.config import PretrainConfig, ResourcesConfig
from orthoray.pretrain.divergence import write_failed_batch
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.states import TRAIN, saved_states

if TYPE_CHECKING:
    from orthoray.pretrain.monitor import Monitor
    from orthoray.pretrain.probes import ProbeJob
    from orthoray.pretrain.worker import Job

MAX_FAILURES = 3
"""Worker failures (killed, out of memory, node lost) after which a run gives up; each goes on from the last save."""

KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""For glibc in workers on processors: freed memory stays in the process, in one heap for all threads (Ray trains in one
of its own). An array of some MiB is else a mapping of its own, which the kernel clears page by page at every step."""


def fit(config: PretrainConfig, mixture: Mixture, steps: int, lr: float, initial: str, tasks: ProbeJob | None) -> bool:
    """Train from the newest state to the last step.

    Args:
        config: with "auto" of its resources resolved.
        mixture: of the run.
        steps: of the whole run.
        lr: peak learning rate.
        initial: checkpoint folder of the backbone before step 0.
        tasks: of online probes.

    Returns:
        True if the run was told to end early, by the probes.

    Raises:
        RunError: training failed.
        StoppedError: the run was stopped, to go on another time.
        KeyboardInterrupt: Ctrl-C.
    """
    from orthoray.pretrain.doctor import Doctor
    from orthoray.pretrain.doctor_facts import Facts
    from orthoray.pretrain.monitor import Mailbox, Monitor
    from orthoray.pretrain.probe_runner import ProbeRunner
    from orthoray.pretrain.stopping import passing_on
    from orthoray.pretrain.worker import Job
    from orthoray.tracking import Tracker

    mailbox = Mailbox.options(label_selector=_this_node()).remote()  # type: ignore[attr-defined]
    trainer = _trainer(Job(config, lr, steps, mixture, initial, mailbox, _drains()))
    images = steps * config.batch_size
    with Tracker(config.out, "pretrain", config.model_dump(mode="json")) as tracker:
        doctor = Doctor(Facts.of(config, lr, steps), config.doctor)
        probes = None if tasks is None else ProbeRunner(config.out, tasks, tracker.log)
        if probes is not None:
            probes.offer(0, initial, keep=True)
        monitor = Monitor(config.out, mailbox, tracker, images, config.batch_size, doctor, probes)
        with passing_on(monitor.terminate), monitor:
            failure = _run(trainer)
        _judge(monitor, failure, config.out, mixture, steps)  # in here, so that MLflow shows how the run ended
    return monitor.ended is not None


def _judge(monitor: Monitor, failure: RunError | None, out: str, mixture: Mixture, steps: int) -> None:
    """Raise what has to be told of a session whose mailbox is empty by now."""
    if monitor.failed:
        write_failed_batch(out, mixture, monitor.failed)
    if monitor.fatal:
        raise RunError(monitor.fatal)
    if failure is not None:
        raise failure
    states = saved_states(out)
    reached = states[0].step if states else 0
    if monitor.stopped and reached < steps:
        raise StoppedError(
            f"stopped ({monitor.stopped}). The state of step {reached:,} of {steps:,} is saved; give the same command "
            "again to go on."
        )


def _trainer(job: Job) -> Any:
    import ray.train
    import ray.train.torch

    from orthoray.cluster.session import WORKER_ENV
    from orthoray.pretrain.stopping import WatchedTorchConfig
    from orthoray.pretrain.worker import train

    config, made = job.config, job.config.resources
    api: Any = ray.train  # the stubs still describe the former API
    return api.torch.TorchTrainer(
        train,
        train_loop_config={"job": job},
        torch_config=WatchedTorchConfig(),
        scaling_config=api.ScalingConfig(
            num_workers=_range(made),
            use_gpu=made.gpu,
            resources_per_worker={"CPU": made.cpus_per_worker, "GPU": int(bool(made.gpu))},
        ),
        run_config=api.RunConfig(
            name=TRAIN,
            storage_path=config.out,
            worker_runtime_env={"env_vars": WORKER_ENV if made.gpu else WORKER_ENV | KEEP_FREED_MEMORY},
            failure_config=api.FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES),
            checkpoint_config=api.CheckpointConfig(num_to_keep=config.checkpoint.keep),
        ),
    )


def _range(made: ResourcesConfig) -> int | tuple[int, int]:
    """The number of workers, or the least and the most."""
    most = int(made.workers)
    return most if made.least_workers is None else (made.least_workers, most)


def _this_node() -> dict[str, str]:
    """A label of the driver's node: what the run cannot do without must not go with another one."""
    import ray

    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


def _drains() -> bool:
    """True if Ray Train watches for nodes that are about to be drained."""
    import os

    return os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") != "0"


def _run(trainer: Any) -> RunError | None:
    """`trainer.fit()`, with Ctrl-C as KeyboardInterrupt and a failure as one readable line.

    Ray Train installs a handler of Ctrl-C and leaves it in place, where it would swallow the next one.
    """
    from ray.train import TrainingFailedError

    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        failure = RunError(_reason(error))
        failure.__cause__ = error
        return failure
    except SystemExit:  # Ray Train's own handler of Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    return None


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return (
        f"pretraining failed: {last}\nThe run is kept at its last checkpoint. Mend the cause, then give the same "
        "command again to go on."
    )
