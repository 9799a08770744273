"""Whole tensors from and into networks and optimisers, however many workers hold them.

A state has no trace of the strategy and of the number of workers that it was saved under. All functions here are
collective: every worker calls them, in the same order. Only rank 0 gets what is saved and only its state is read when
loading, so that one worker for each run needs the memory and the file.

`torch.distributed.checkpoint.state_dict` is not used: it steps an optimiser that has no moments yet, and refuses one
that lacks some, as it does while the backbone is held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from orthoray.errors import InputError
from orthoray.pretrain.losses.workers import from_rank_0, rank, world
from orthoray.pretrain.parallel import bare

State = dict[str, torch.Tensor]


def full_state(network: nn.Module) -> State:
    """The network's whole `state_dict` on rank 0, copied to the CPU; an empty one on the other workers."""
    own: Mapping[str, torch.Tensor] = bare(network).state_dict()
    return _collect(own)


def load_full_state(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Fill the network from rank 0's ``state``.

    Raises:
        InputError: on all workers, if the state is of another architecture; nothing is changed then.
    """
    own: Mapping[str, torch.Tensor] = bare(network).state_dict()
    _agree(lambda: _differences(own, state))
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(_spread(state.get(name), value))


def full_optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, State]:
    """Moments and step counts by parameter name on rank 0, on the CPU; an empty dictionary on the other workers.

    Parameters without a step yet have no entry. Learning rates and decay are not kept: schedules set them.

    Args:
        optimiser: made from `orthoray.pretrain.parameters.parameter_groups`, whose groups know the names.
    """
    found: dict[str, State] = {}
    for name, parameter in _named(optimiser).items():
        if parameter in optimiser.state:
            found[name] = _collect(optimiser.state[parameter])
    return found if rank() == 0 else {}


def load_full_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, State]) -> None:
    """Fill the optimiser from rank 0's ``state``; parameters without an entry have no moments afterwards.

    Raises:
        InputError: on all workers, if the state is of other parameters; nothing is changed then.
    """
    named = _named(optimiser)
    _agree(lambda: _foreign(named, state))
    entries = from_rank_0({name: {key: value.ndim > 0 for key, value in kept.items()} for name, kept in state.items()})
    optimiser.state.clear()
    for name, keys in entries.items():
        parameter = named[name]
        kept = state.get(name, {})
        optimiser.state[parameter] = {
            key: _spread(kept.get(key), torch.zeros_like(parameter) if sharded else _count(optimiser, parameter))
            for key, sharded in keys.items()
        }


def _collect(tensors: Mapping[str, torch.Tensor]) -> State:
    """Whole copies on the CPU of rank 0, one tensor after the other."""
    found: State = {}
    for name, value in tensors.items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if rank() == 0:
            found[name] = whole.detach().to("cpu", copy=True)
    return found


def _spread(whole: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Rank 0's ``whole`` in the layout of ``like``: its shard, or all of it."""
    device = like.device
    if whole is None or rank() != 0:
        whole = torch.empty(like.shape, dtype=like.dtype, device=device)
    else:
        whole = whole.to(device=device, dtype=like.dtype)
    if isinstance(like, DTensor):
        return distribute_tensor(whole.contiguous(), like.device_mesh, like.placements)
    if world() > 1:
        return _broadcast(whole)
    return whole.clone()


def _broadcast(whole: torch.Tensor) -> torch.Tensor:
    """Rank 0's tensor on all workers; counts that live on the CPU go through the group's own device."""
    home = whole.device
    on_wire = whole.clone().to(_wire()) if home.type == "cpu" else whole.clone()
    dist.broadcast(on_wire, src=0)
    return on_wire.to(home)


def _wire() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _count(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> torch.Tensor:
    """A step count where AdamW keeps it: with the parameter when it is fused or capturable, else on the CPU."""
    group = next(group for group in optimiser.param_groups if any(parameter is own for own in group["params"]))
    beside = group.get("fused") or group.get("capturable")
    return torch.zeros((), dtype=torch.float32, device=parameter.device if beside else "cpu")


def _named(optimiser: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    groups = optimiser.param_groups
    return {name: value for group in groups for name, value in zip(group["names"], group["params"], strict=True)}


def _differences(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> str | None:
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if shapes:
        name = min(shapes)
        return f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
    if missing or unknown:
        return f"{missing[0]} is missing" if missing else f"{unknown[0]} is not known"
    return None


def _foreign(named: Mapping[str, nn.Parameter], state: Mapping[str, State]) -> str | None:
    for name, kept in state.items():
        if name not in named:
            return f"{name} does not learn here"
        if any(value.ndim and value.shape != named[name].shape for value in kept.values()):
            return f"{name} has moments of another shape"
    return None


def _agree(check: Callable[[], str | None]) -> None:
    """Raise on all workers what rank 0 finds wrong."""
    problem = from_rank_0(check() if rank() == 0 else None)
    if problem:
        raise InputError(f"the checkpoint to resume from is of another architecture ({problem}). Give another `out`.")
