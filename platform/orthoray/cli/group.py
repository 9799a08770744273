"""What the commands share: a group that teaches, and CONFIG with overrides and --keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from orthoray.errors import InputError, nearest


class TeachingGroup(click.Group):
    """A command group that keeps commands in the data's order and names the nearest command on a typing error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the data's way."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; InputError with the nearest name if there is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            known = ", ".join(self.commands)
            raise InputError(f"'{args[0]}' is not a command.{nearest(args[0], self.commands)} Commands: {known}.")
        return super().resolve_command(ctx, args)


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """CONFIG, overrides and --keys, shared by the commands that are driven by a configuration."""
    function = click.option("--keys", is_flag=True, help="List every key with its type and default, then stop.")(
        function
    )
    function = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(function)
    return click.argument("config", required=False)(function)


def settings_of(model: Any, config: str | None, overrides: Sequence[str], keys: bool) -> Any:
    """The configuration that a command was given, or None after `--keys` was answered."""
    from orthoray.config import describe_keys, find_preset, load_config

    if keys:
        click.echo(describe_keys(model))
        return None
    if config is not None and "=" in config:
        overrides, config = (config, *overrides), None
    if config is None and not overrides:
        raise InputError(
            "no CONFIG. Give a YAML file or a preset of jobs/configs; --help has an example, --keys lists all keys."
        )
    path = None if config is None else find_preset(config)
    return load_config(model, path, overrides)
