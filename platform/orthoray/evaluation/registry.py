"""Names in the ``tasks`` of a study: tasks, their aliases, and suites of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from orthoray.config import StrictModel, load_config, project_files
from orthoray.errors import InputError, nearest
from orthoray.evaluation.tasks import load_task, task_ids

FOLDER = "datasets/suites"


class Suite(StrictModel):
    """Tasks that belong together. ``conflicts``: where printed accounts of them disagree."""

    suite: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    tasks: list[str] = Field(min_length=1)
    conflicts: list[str] = Field(default=[])


class Wanted(NamedTuple):
    """Tasks in the order asked for, each once.

    Attributes:
        tasks: names of cards.
        suite: task → the suite that asks for it, of those that were not named themselves.
    """

    tasks: list[str]
    suite: dict[str, str]


def suite_ids() -> list[str]:
    """Names of all suites."""
    return sorted(project_files(FOLDER))


def load_suite(name: str) -> Suite:
    """Read the suite ``name``; InputError names the nearest one, or what is wrong with its file."""
    files = project_files(FOLDER)
    if name in files:
        found = load_config(Suite, files[name])
        if found.suite != name:
            raise InputError(f"{files[name]}: it says suite '{found.suite}'; that must equal the file's name.")
        return found
    known = sorted(files)
    raise InputError(f"No suite '{name}'.{nearest(name, known)} Suites: {', '.join(known) or 'none'}.")


def find_task(name: str) -> str:
    """The task that ``name`` means: a card's name, or one of its aliases in any case.

    Raises:
        InputError: no card has that name, or several have that alias.
    """
    known = task_ids()
    if name in known:
        return name
    aliases = {task: load_task(task).aliases for task in known}
    meant = [task for task in known if name.lower() in {alias.lower() for alias in aliases[task]}]
    if len(meant) > 1:
        raise InputError(f"tasks: '{name}' may mean {' or '.join(meant)}; write one of them.")
    if meant:
        return meant[0]
    hint = nearest(name, [*known, *suite_ids(), *(alias for names in aliases.values() for alias in names)])
    raise InputError(
        f"Task '{name}' has no card datasets/tasks/{name}.yaml, and is no alias and no suite.{hint} "
        f"Tasks: {', '.join(known) or 'none'}. Suites: {', '.join(suite_ids()) or 'none'}."
    )


def wanted_tasks(names: str | Sequence[str]) -> Wanted:
    """What the ``tasks`` of a configuration name: tasks, aliases, suites (``paper17`` or ``suite:paper17``).

    Raises:
        InputError: a name that is none of these, or that may mean several tasks.
    """
    given = [names] if isinstance(names, str) else names
    suites = set(suite_ids())
    chosen: dict[str, str] = {}
    for name in given:
        plain = name.removeprefix("suite:")
        if plain != name or plain in suites:
            chosen |= {task: chosen.get(task, plain) for task in load_suite(plain).tasks}
        else:
            chosen[find_task(name)] = ""
    return Wanted(list(chosen), {task: suite for task, suite in chosen.items() if suite})


def registry_lines() -> list[str]:
    """Plain text: every task with its kind, title and aliases, then every suite with its tasks."""
    lines = ["Tasks"]
    for name in task_ids():
        card = load_task(name)
        also = f" (also: {', '.join(card.aliases)})" if card.aliases else ""
        lines.append(f"  {name:<13} {card.kind:<10} {card.modality}  {card.title}{also}")
    lines.append("Suites")
    for name in suite_ids():
        suite = load_suite(name)
        lines.append(f"  {name:<13} {suite.title}: {', '.join(suite.tasks)}")
    return lines
