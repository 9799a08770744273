"""A small DINO learner made of the real pieces, and what one of several workers does with it."""

from __future__ import annotations

import multiprocessing as standard
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from orthoray.errors import InputError
from orthoray.models import create_backbone, forward_tokens, import_timm
from orthoray.models.adapter_settings import AdapterConfig
from orthoray.models.adapters import apply_adapter
from orthoray.models.precision import resolve_precision
from orthoray.pretrain.accumulation import accumulate, batch_term, joint_gradients, parts_of_batch, take
from orthoray.pretrain.clipping import clip_gradients
from orthoray.pretrain.head import DinoHead
from orthoray.pretrain.losses.dino import Centre, dino_loss, teacher_targets
from orthoray.pretrain.losses.koleo import koleo_loss
from orthoray.pretrain.parallel import bare, gathered, parallelise, resolve_parallel
from orthoray.pretrain.parameters import hold, parameter_groups, set_rates
from orthoray.pretrain.settings.objective import HeadConfig
from orthoray.pretrain.settings.parallel import ParallelConfig
from orthoray.pretrain.sharded_state import (
    full_optimiser_state,
    full_state,
    load_full_optimiser_state,
    load_full_state,
)
from orthoray.pretrain.teacher import teacher_of, update_teacher

import_timm()
CPU = torch.device("cpu")
BATCH = 8
SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "qkv_bias": False}
"""Key biases have a gradient of zero, whose rounding AdamW would blow up to full steps; so there are none."""


class Toy(nn.Module):
    """Backbone and head, called once for all crops."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, crops):
        tokens = torch.cat([forward_tokens(self.backbone, size)[0] for size in crops])
        return self.head(tokens), tokens


class ToyLearner:
    """DINO with a centre or Sinkhorn-Knopp, KoLeo as an option, in as many parts as asked for."""

    def __init__(self, centring="centre", koleo=0.0, drop_path=0.0, precision="fp32", **options):
        torch.manual_seed(options.get("seed", 0))
        made = ParallelConfig(**options.get("parallel", {}))
        self.precision = resolve_precision(precision, "cpu")
        plan = resolve_parallel(made, CPU, self.precision)
        self.plan = replace(plan, compiled=True, backend="eager") if options.get("compiled") else plan
        self.parts, self.koleo, self.centring = made.accumulate, koleo, centring
        name, sizes = options.get("backbone", ("vit_tiny_patch16_224", SIZES))
        network = Toy(create_backbone(name, drop_path_rate=drop_path, **sizes), DinoHead(32, HEAD))
        apply_adapter(network.backbone, AdapterConfig(**options.get("adapter", {})))
        network.train()
        teacher = teacher_of(network)
        self.student = parallelise(network, self.plan)
        self.teacher = parallelise(teacher, self.plan, learns=False)
        self.network = bare(self.student)
        groups = parameter_groups(self.network, layer_decay=0.9, patch_embed_factor=0.2)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.centre = Centre(HEAD.prototypes, 0.9, CPU)

    def step(self, views, details, backbone_held=False, lr=1e-3):
        """The loss, and the norm of each part's gradient."""
        with torch.no_grad(), self.precision.autocast():
            scores = self.teacher([views])[0].float()
        targets = teacher_targets(scores, 0.04, self.centring, self.centre, 2)
        self.centre.update(scores)
        parts = parts_of_batch(len(views) // 2, self.parts)
        spread = self._spread(views, parts) if self.koleo else None

        def loss(part):
            size = part.stop - part.start
            with self.precision.autocast():
                scores, tokens = self.student([take(views, 2, part), take(details, 2, part)])
            value = dino_loss(take(targets, 2, part), scores.float(), 0.1, 2, 4)
            total = value
            if spread is not None:
                total = value + batch_term(tokens[: 2 * size], spread[parts.index(part)], part, parts)
            return total, value

        self.optimiser.zero_grad(set_to_none=True)
        value = accumulate(self.student, parts, loss)
        hold(self.optimiser, backbone=backbone_held, prototypes=False)
        norms = clip_gradients(self.network, 0.5)
        set_rates(self.optimiser, lr, 0.04)
        self.optimiser.step()
        update_teacher(self.teacher, self.network, 0.9)
        return float(value), {name: float(norm) for name, norm in norms.items()}

    def _spread(self, views, parts):
        def of_whole(tokens):
            return self.koleo * torch.stack([koleo_loss(view) for view in tokens.chunk(2)]).mean()

        return joint_gradients(parts, 2, lambda part: self.network([take(views, 2, part)])[1], of_whole)[1]

    def state(self):
        """Everything, whole, on rank 0; by value."""
        return {
            "student": full_state(self.student),
            "teacher": full_state(self.teacher),
            "optimiser": full_optimiser_state(self.optimiser),
            "centre": self.centre.value.clone(),
        }

    def load(self, state):
        load_full_state(self.student, state.get("student", {}))
        load_full_state(self.teacher, state.get("teacher", {}))
        load_full_optimiser_state(self.optimiser, state.get("optimiser", {}))
        self.centre.value = state["centre"].clone()


HEAD = HeadConfig(prototypes=64, hidden_dim=32, bottleneck_dim=16)


def crops(step, rank=0, world=1):
    """A worker's share of the crops of a step: views (2b, 1, 32, 32) and details (2b, 1, 16, 16), view after view."""
    random = torch.Generator().manual_seed(step)
    views, details = (torch.randn(2 * BATCH, 1, side, side, generator=random) for side in (32, 16))
    return [torch.cat([view.chunk(world)[rank] for view in crop.chunk(2)]) for crop in (views, details)]


def train(learner, steps, rank=0, world=1):
    """Losses and norms of some steps."""
    return [learner.step(*crops(step, rank, world)) for step in steps]


def start(tasks, folder, world=2):
    """What each worker finds, task by task. Workers are forked from a process that has imported all of this once."""
    standard.set_forkserver_preload([__name__])
    options = (world, str(folder / "init"), tasks, str(folder))
    multiprocessing.start_processes(run, options, nprocs=world, start_method="forkserver")
    return tuple(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world))


def run(rank, world, init_file, tasks, out):
    """Worker ``rank`` of ``world``: what each task (function, options) finds goes to ``out``/``rank``.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world)
    try:
        torch.save([globals()[name](rank, world, **options) for name, options in tasks], f"{out}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def trained(rank, world, steps, **options):
    """Losses, norms and the whole state after some steps."""
    learner = ToyLearner(**options)
    return {"rows": train(learner, range(steps), rank, world), **learner.state()}


def exchanged(rank, world):
    """Exchanges of gradients in one step, by strategy, with a whole batch and in parts."""
    found = {}
    for strategy in ("ddp", "fsdp2"):
        for parts in (1, 3):
            learner = ToyLearner(parallel={"strategy": strategy, "accumulate": parts})
            train(learner, [0, 1], rank, world)
            with Collectives() as seen:
                train(learner, [2], rank, world)
            kind = "reduce_scatter" if strategy == "fsdp2" else "allreduce"
            found[f"{strategy} {parts}"] = sum(kind in name for name in seen.names)
    return found


class Collectives(TorchDispatchMode):
    """Names of the collective operations that are called within."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def started(rank, world, strategy):
    """A worker's own student and teacher, whole, when each worker has drawn other weights."""
    learner = ToyLearner(seed=rank, parallel={"strategy": strategy})
    found = {}
    for name, network in (("student", learner.network), ("teacher", learner.teacher)):
        values = network.state_dict().items()
        found[name] = {key: v.full_tensor() if isinstance(v, DTensor) else v for key, v in values}
    return found


def saved_and_went_on(rank, world, **options):
    """State after three steps, two of them with the backbone held, and after three more."""
    learner = ToyLearner(**options)
    for step in range(2):
        learner.step(*crops(step, rank, world), backbone_held=True)
    train(learner, [2], rank, world)
    found = {"saved": learner.state()}
    train(learner, [3, 4, 5], rank, world)
    return {**found, "end": learner.state()}


def resumed(rank, world, file, **options):
    """State after loading a saved one, and after three more steps. Only rank 0 reads the file."""
    learner = ToyLearner(**options)
    train(learner, [7, 8], rank, world)  # something to overwrite
    state = torch.load(file, weights_only=True)
    learner.load(state if rank == 0 else {"centre": state["centre"]})
    found = {"loaded": learner.state()}
    train(learner, [3, 4, 5], rank, world)
    return {**found, "end": learner.state()}


def refused(rank, world, file):
    """What each worker is told of states of other architectures, and whether anything changed."""
    learner = ToyLearner(parallel={"strategy": "fsdp2"})
    before = full_state(learner.student)
    state = torch.load(file, weights_only=True)
    told = []
    for part, load in (("student", load_full_state), ("optimiser", load_full_optimiser_state)):
        target = learner.student if part == "student" else learner.optimiser
        for spoil in (rename, reshape):
            try:
                load(target, spoil(state[part]) if rank == 0 else {})
            except InputError as error:
                told.append(str(error))
    after = full_state(learner.student)
    return told, all(torch.equal(value, after[name]) for name, value in before.items())


def rename(state):
    """The last entry under another name."""
    *rest, last = state
    return {**{name: state[name] for name in rest}, "another.name": state[last]}


def reshape(state):
    """The last entry, or the tensors in it, without its last row."""
    last = list(state)[-1]
    value = state[last]
    cut = value[:-1] if torch.is_tensor(value) else {key: v[:-1] if v.ndim else v for key, v in value.items()}
    return {**state, last: cut}


def shards(rank, world):
    """What a worker holds of a sharded student and teacher, before, within and after `gathered`."""
    learner = ToyLearner(parallel={"strategy": "fsdp2"}, precision="bf16")
    train(learner, range(2), rank, world)
    whole = sum(value.numel() for value in learner.network.parameters())
    held = [sum(value.to_local().numel() for value in net.parameters()) for net in (learner.network, learner.teacher)]
    kinds = {value.dtype for net in (learner.network, learner.teacher) for value in net.parameters()}
    head = learner.teacher.head
    with gathered(head):
        inside = tuple(head.prototypes.shape)
        is_whole = not isinstance(head.prototypes, DTensor)
    outside = isinstance(head.prototypes, DTensor)
    return {
        "share": [part / whole for part in held],
        "dtypes": sorted(map(str, kinds)),
        "gathered": (inside, is_whole, outside),
    }
