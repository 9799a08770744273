"""`orthoray pretrain`: check, prepare, hand over to Ray Train, keep the result."""

from __future__ import annotations

import math
from typing import Any

import torch

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.errors import InputError, RunError
from orthoray.models.audit import LoadAudit
from orthoray.models.backbone import create_audited, size_options
from orthoray.models.checkpoint import (
    Architecture,
    CheckpointCard,
    Provenance,
    card_for,
    save_checkpoint,
)
from orthoray.models.checks import require_position
from orthoray.pretrain.body_parts import earlier_parts
from orthoray.pretrain.census import Census
from orthoray.pretrain.config import DataSource, PretrainConfig
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.resources import resolve_resources
from orthoray.pretrain.runfile import Run
from orthoray.pretrain.states import newest_state, tidy
from orthoray.pretrain.teacher_checkpoint import save_teacher
from orthoray.pretrain.training import fit
from orthoray.progress import clock, outputs, say
from orthoray.tracking import deliver_pending


def pretrain(config: PretrainConfig) -> str:
    """Pretrain a backbone, or go on with a run that was interrupted.

    Args:
        config: see `PretrainConfig`. ``out`` becomes the run folder: ``config.yaml``, ``run.json``, ``initial/`` (the
            backbone before step 0; ``weights.csv`` says what became of each tensor that it was made from), ``train/``
            (Ray Train's resumable state), ``history.jsonl``, ``checkpoint/``.

    Returns:
        URI of the final checkpoint folder: the EMA teacher's backbone.

    Raises:
        InputError: unreadable data, impossible options, or another run in ``out``; nothing was written.
        RunError: training failed; the message says whether the same command will go on.
    """
    config = config.model_copy(update={"out": storage.absolute(config.out)})
    mixture = Mixture(config.data, config.seed)
    mixture.require_batch(config.batch_size)
    steps = config.steps or math.ceil((config.epochs or 0.0) * mixture.images_per_epoch() / config.batch_size)
    run = Run(config, mixture.dataset_ids, steps)
    final = storage.join(config.out, "checkpoint")
    if run.is_finished():
        say(f"  {config.out}: this run has finished already ({steps} steps)")
        deliver_pending(config.out, "pretrain", config.model_dump(mode="json"))
        return _tell(config.out, final, config.data.datasets)
    backbone, card, audit = _initial(config, mixture.dataset_ids)
    lr = 5e-4 * config.batch_size / 256 if config.optimiser.lr == "auto" else config.optimiser.lr
    _describe(config, mixture, steps, lr, backbone)
    tasks = None
    if config.probes.every_steps:
        from orthoray.pretrain.probes import plan_probes

        tasks = plan_probes(config.probes)
    placed = _on_cluster(config)
    run.begin()
    initial = storage.join(config.out, "initial")
    if not storage.exists(storage.join(initial, "card.json")):
        save_checkpoint(initial, backbone, card, to_yaml(config))
        if audit is not None:
            storage.write_bytes(storage.join(initial, "weights.csv"), audit.csv().encode())
    tidy(config.out, config.checkpoint.keep)
    early = fit(placed, mixture, steps, lr, initial, tasks)
    _keep(config, initial, final, None if early else steps, mixture.body_parts)
    run.finish()
    return _tell(config.out, final, config.data.datasets)


def _initial(
    config: PretrainConfig, dataset_ids: list[str]
) -> tuple[torch.nn.Module, CheckpointCard, LoadAudit | None]:
    made = config.model
    kwargs: dict[str, Any] = {**size_options(made.backbone, made.img_size), **made.kwargs}
    if made.patch_size != "auto":
        kwargs["patch_size"] = made.patch_size
    torch.manual_seed(config.seed)
    options: dict[str, Any] = {"in_chans": 1, "start": made.start, "rope": made.rope, **kwargs}
    options |= {"source_normalisation": made.source_normalisation, "normalisation": made.normalisation}
    backbone, audit = create_audited(made.backbone, made.weights, **options)
    if audit is not None:
        say("  weights   " + audit.summary().replace("\n", "\n            "))
        if made.rope != "off" and hasattr(backbone, "blocks"):
            change = require_position(backbone, audit.origin)
            say(f"            patches that change places change the class token by {change:.1%}")
    provenance = Provenance(
        dataset_ids=dataset_ids,
        initial_weights=made.weights,
        initial_licence=None if audit is None else audit.licence,
        seed=config.seed,
        body_parts=earlier_parts(made.weights),
    )
    card = card_for(
        backbone, Architecture(name=made.backbone, kwargs=kwargs), made.img_size, made.normalisation, provenance
    )
    for name, size in (("crops.global_size", config.crops.global_size), ("crops.local_size", config.crops.local_size)):
        if card.patch_size and size % card.patch_size:
            raise InputError(
                f"{name}: {size} is not a multiple of the patch size {card.patch_size} of {made.backbone}; "
                f"give {size // card.patch_size * card.patch_size or card.patch_size} or "
                f"{(size // card.patch_size + 1) * card.patch_size}."
            )
    return backbone, card, audit


def _describe(config: PretrainConfig, mixture: Mixture, steps: int, lr: float, backbone: torch.nn.Module) -> None:
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    for line in Census(mixture, config.crops).lines():
        say(f"  {line}")
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", ("–",))[0]
    crops, images = config.crops, steps * config.batch_size
    say(f"  data      {mixture.images:,} images of {len(config.data.datasets)} source(s)")
    say(f"  backbone  {config.model.backbone}, {parameters / 1e6:.1f} M parameters, patch {patch}")
    say(f"  crops     {crops.n_global} × {crops.global_size} px + {crops.n_local} × {crops.local_size} px")
    length = f"{steps:,} steps of {config.batch_size} = {images:,} images"
    say(f"  length    {length} = {images / mixture.images_per_epoch():.1f} epochs; peak lr {lr:.2e}")


def _on_cluster(config: PretrainConfig) -> PretrainConfig:
    """Connect to Ray and resolve the resources; a run that would wait for ever is refused."""
    from orthoray.cluster.session import available_cpus, connect

    connect()
    import ray

    gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    return config.model_copy(update={"resources": resolve_resources(config, available_cpus(), gpus)})


def _keep(config: PretrainConfig, initial: str, final: str, wanted: int | None, body_parts: list[str]) -> None:
    """Write the teacher's backbone as a checkpoint folder, with the training state beside it.

    ``wanted``: the step that it must have reached; None = wherever the run was told to end.
    """
    found = newest_state(config.out, torch.device("cpu"))
    for line in found.damaged:
        say(f"  warning: {line}")
    steps = found.saved.step if found.saved else 0
    if steps == 0 or (wanted is not None and steps != wanted):
        raise RunError(f"training ended at step {steps} of {wanted or '?'}. Give the same command again to go on.")
    seen, adapter, told = steps * config.batch_size, config.adapter, to_yaml(config)
    save_teacher(final, found.state["teacher"], initial, adapter, steps, seen, told, found.state, body_parts)


def _tell(out: str, final: str, sources: list[DataSource]) -> str:
    from orthoray.pretrain.monitor import read_history
    from orthoray.pretrain.probe_runner import BEST, best_probe

    history = read_history(out)
    if history:
        last = history[-1]
        say(f"  {last['step']:,} steps in {clock(last['seconds'])}, loss {last['loss']:.3f}")
    files = {"checkpoint": final, "before": storage.join(out, "initial"), "history": storage.join(out, "history.jsonl")}
    best = best_probe(out)
    if best is not None:
        files["best"] = storage.join(out, BEST)
        say(f"  best by the probes: step {best['step']:,}, {best['protocol']} {best['value']:.3f}, mean over the tasks")
    uris = ", ".join(dict.fromkeys(source.uri for source in sources))  # once, however many selections of it
    study = f"orthoray study study_full datasets='[{uris}]' pretrain_run={out} out={out}-study"
    outputs(files, next_step=study)
    return final
