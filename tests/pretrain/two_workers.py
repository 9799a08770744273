"""What one of several workers does: a few steps on its share of fixed batches, and the decisions it takes part in."""

from __future__ import annotations

import torch
import torch.distributed as dist

from orthoray.errors import RunError
from orthoray.models import create_backbone
from orthoray.models.precision import resolve_precision
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.learner import MEASURES, Learner, StepValues
from orthoray.pretrain.meter import Meter, Pace

CPU = torch.device("cpu")
BATCH = 8


def learner_for(config: PretrainConfig) -> Learner:
    """A learner as a worker makes it."""
    torch.manual_seed(config.seed)
    options = {"img_size": config.model.img_size, "patch_size": config.model.patch_size, **config.model.kwargs}
    backbone = create_backbone(config.model.backbone, **options).train()
    return Learner(config, backbone, CPU, resolve_precision("fp32", "cpu"))


def values(**changes):
    """Scheduled values of a step."""
    made = {"lr": 1e-3, "weight_decay": 0.04, "teacher_momentum": 0.9, "teacher_temp": 0.04}
    return StepValues(**{**made, "prototypes_fixed": False, "backbone_scale": 1.0, **changes})


def crops(step, n_local=2, batch=BATCH):
    """Crops of a step, from ``step`` alone: views (2B, 1, 32, 32) and details (n·B, 1, 16, 16), view after view."""
    random = torch.Generator().manual_seed(step)
    views = torch.randn(2 * batch, 1, 32, 32, generator=random)
    return views, torch.randn(n_local * batch, 1, 16, 16, generator=random) if n_local else None


def share_of(crops_of_all, n, rank, world):
    """A worker's slice of the batch, of each of ``n`` views."""
    return torch.cat([view.chunk(world)[rank] for view in crops_of_all.chunk(n)])


def work(rank, world, init_file, configs, out):
    """What worker ``rank`` of ``world`` finds with each of the configurations, to ``out``/``world``-``rank``.pt."""
    _grouped(rank, world, init_file, out, lambda: [_steps(c, rank, world) | _decisions(rank, world) for c in configs])


def anchor(rank, world, init_file, configs, out):
    """As `work`: losses and weights with Gram anchoring, without a break and with one after three steps."""
    _grouped(rank, world, init_file, out, lambda: [_anchored(config, rank, world, out) for config in configs])


def _grouped(rank, world, init_file, out, find):
    """Save what ``find`` returns within a process group."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world)
    try:
        torch.save(find(), f"{out}/{world}-{rank}.pt")
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)


def _steps(config, rank, world):
    """Weights and measures after three steps."""
    learner = learner_for(config)
    meter = Meter(BATCH)
    for step in range(3):
        views, details = crops(step)
        meter.add(learner.step(share_of(views, 2, rank, world), share_of(details, 2, rank, world), values()))
    row = meter.row(3, values())
    found = {"student": learner.network.state_dict(), "teacher": learner.teacher.state_dict()}
    centre = learner.objective.centres["views"].value
    return found | {"centre": centre, "loss": row["loss"], "entropy": row["teacher_entropy"]}


def _anchored(config, rank, world, out):
    """Five steps; the Gram teacher is copied before the second and the fourth."""

    def go_on(learner, steps):
        rows = []
        for step in steps:
            views, details = crops(step)
            made = values(gram_due=step in (1, 3))
            found = learner.step(share_of(views, 2, rank, world), share_of(details, 2, rank, world), made)
            rows.append(found.tolist())
        return rows

    through, first = learner_for(config), learner_for(config)
    rows = go_on(through, range(5))
    go_on(first, range(3))
    state = first.state()
    if rank == 0:
        torch.save(state, f"{out}/state.pt")
    dist.barrier()
    second = learner_for(config)
    second.load_state(torch.load(f"{out}/state.pt", weights_only=True))
    dist.barrier()
    return {"rows": rows, "again": go_on(second, range(3, 5)), "state": through.state(), "resumed": second.state()}


def _decisions(rank, world):
    """Only rank 0 finds that it is time to log, and only the last rank's loss is not finite."""
    pace = Pace(log_seconds=-1.0 if rank == 0 else 1e9, save_seconds=1e9, save_steps=5, first=0)
    found = {"due": [pace.due(step, last=step == 9, device=CPU) for step in range(10)]}
    meter = Meter(BATCH)
    meter.add(torch.full((len(MEASURES),), float("nan") if rank == world - 1 else 1.0))
    try:
        meter.row(4, values())
    except RunError as error:
        found["error"] = str(error)
    return found
