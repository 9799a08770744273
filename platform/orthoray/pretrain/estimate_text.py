"""A plan for people: a few lines and one table."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from orthoray.pretrain.estimate import Estimate
from orthoray.pretrain.estimate_devices import Device
from orthoray.pretrain.memory import GIB
from orthoray.progress import is_terminal, say

WIDTH = 118
"""Columns of the table where there is no terminal."""


def show(plan: Estimate, as_json: bool = False) -> None:
    """Print a plan, as text or as one JSON object."""
    if as_json:
        say(json.dumps(plan.as_json(), indent=2, ensure_ascii=False))
        return
    for line in head_lines(plan):
        say(f"  {line}")
    console = Console(width=None if is_terminal() else WIDTH)
    console.print(device_table(plan))
    for title, lines in (("assumed", plan.assumed), ("warning", plan.warnings)):
        for line in lines:
            say(f"  {title}: {line}")


def head_lines(plan: Estimate) -> list[str]:
    """What the run is, whatever it runs on."""
    flops, data = plan.flops, plan.data
    learns = "" if plan.trained == plan.parameters else f", {plan.trained / 1e6:.1f} M of them learn"
    epochs = plan.images_seen / data.per_epoch
    batch = plan.images_seen // plan.steps
    lines = [
        f"data      {data.images:,} images, {data.bytes_per_image / 1e3:.0f} kB each"
        + ("" if data.at_hand else " (assumed)"),
        f"backbone  {plan.backbone}, {plan.parameters / 1e6:.1f} M parameters{learns}",
        f"length    {plan.steps:,} steps of {batch:,} = {plan.images_seen:,} images = {epochs:.1f} epochs; "
        f"peak lr {plan.lr:.2e}",
        f"per image {_giga(flops.nominal)} GFLOP: teacher {_giga(flops.teacher)}, student {_giga(flops.student)}, "
        f"heads {_giga(flops.heads)}" + _further(plan),
        f"feed      {plan.images_per_core:,.0f} images/s per core; crops {plan.crop_bytes / 1e3:,.0f} kB per image",
    ]
    if plan.memory is not None:
        memory = plan.memory
        lines.append(
            f"memory    {memory.fixed / GIB:.2f} GiB of weights, moments and teacher, "
            f"{memory.per_image / 2**20:,.0f} MiB per image ({plan.precision}, estimated)"
        )
    return lines


def device_table(plan: Estimate) -> Table:
    """One row for each device; ``images per GPU`` is the largest batch that fits onto one."""
    priced = any(device.cost is not None for device in plan.devices)
    table = Table(box=None, pad_edge=True, padding=(0, 1))
    table.add_column("device", no_wrap=True)
    names = ["images per GPU", "memory of the batch", "img/s", "bound by", "time", "cost", "cores each", "MB/s read"]
    for name in names:
        if name != "cost" or priced:
            table.add_column(name, justify="right", no_wrap=True)
    for device in plan.devices:
        count = f"{plan.workers} × " if plan.workers > 1 and device.memory_gib is not None else ""
        cells = [f"{count}{device.name}", _batch(device), _memory(device), _number(device.rate), device.bound_by]
        cells += [_time(device.hours)] + ([_money(device)] if priced else [])
        table.add_row(*cells, _number(device.cores_per_device), _number(device.read_mb))
    return table


def _giga(flops: float) -> str:
    return f"{flops / 1e9:,.1f}"


def _further(plan: Estimate) -> str:
    """What is executed, where it is more or less than a hundredth off."""
    flops = plan.flops
    differs = abs(flops.executed - flops.nominal) > 0.01 * flops.nominal
    return f"; {_giga(flops.executed)} executed" if differs else ""


def _batch(device: Device) -> str:
    return "–" if device.largest_batch is None else f"{device.largest_batch:,}"


def _memory(device: Device) -> str:
    if device.needed_gib is None:
        return "–"
    return f"{device.needed_gib:.1f} GiB" + ("" if device.fits else ", too much")


def _money(device: Device) -> str:
    return "–" if device.cost is None else f"{device.cost:,.2f}"


def _time(hours: float) -> str:
    seconds = hours * 3600.0
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.3g} min" if hours < 2.0 else f"{_number(hours)} h"


def _number(value: float) -> str:
    """Three digits or, from a hundred on, whole numbers."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
