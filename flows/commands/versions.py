"""``gem history``, ``promote`` and ``rollback``: what is champion, and why."""

import getpass
from typing import Annotated

import typer

from flows.commands.runs import JsonOption
from flows.console import out, print_json, table
from gem_core.registry import Registry
from gem_core.settings import Settings

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A registered model, e.g. sandbox.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the log.")]


def history(name: NameArgument, json: JsonOption = False) -> None:
    """Every move of the champion alias: who, when, from, to and why."""
    moves = Registry(Settings()).history(name)
    if json:
        print_json(moves)
        return
    columns = ["when", "action", "version", "from", "to", "who", "reason"]
    rows = [
        [
            f"{m.when:%Y-%m-%d %H:%M:%S}",
            m.action,
            m.version or "–",
            m.from_version or "–",
            m.to_version or "–",
            m.who,
            m.reason,
        ]
        for m in moves
    ]
    out().print(table(f"History of {name}", columns, rows))


def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="The version that becomes champion.")],
    reason: ReasonOption = "promoted by hand",
) -> None:
    """Make a version the champion. Refused if the champion changes meanwhile."""
    registry = Registry(Settings())
    reigning = registry.champion(name)
    expected = reigning.version if reigning else None
    move = registry.promote(name, version, expected=expected, who=getpass.getuser(), reason=reason)
    out().print(f"{name}: champion is now version {move.to_version} (was {move.from_version or 'none'})")


def rollback(
    name: NameArgument,
    to: Annotated[str | None, typer.Option(help="The version to go back to; the previous champion when unset.")] = None,
    reason: ReasonOption = "rolled back by hand",
) -> None:
    """Give the champion alias back to the previous champion, or to a named version."""
    move = Registry(Settings()).rollback(name, who=getpass.getuser(), reason=reason, to=to)
    out().print(f"{name}: champion is now version {move.to_version} (was {move.from_version})")


COMMANDS = (history, promote, rollback)
