"""``gem history``, ``promote``, ``approve``, ``decline``, ``rollback``, ``verify-log``: what is champion, and why."""

import getpass
from typing import Annotated

import typer

from flows.commands.runs import JsonOption
from flows.console import out, print_json, table
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds, Move
from gem_core.records.registry import Registry
from gem_core.settings import Settings

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A registered model, e.g. sandbox.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the log.")]


def history(name: NameArgument, json: JsonOption = False) -> None:
    """Every move of the champion alias: who, when, from, to and why."""
    moves = _championship(name).history()
    if json:
        print_json(moves)
        return
    columns = ["when (UTC)", "action", "version", "from", "to", "who", "reason"]
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
    move = Championship(registry, name).promote(version, Grounds(getpass.getuser(), reason), expected=expected)
    _say_champion(name, move)


def approve(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="The version that waits as challenger.")],
    reason: ReasonOption = "approved by hand",
) -> None:
    """Make a waiting challenger the champion. Refused if the champion changed since it was judged."""
    move = _championship(name).approve(version, Grounds(getpass.getuser(), reason))
    _say_champion(name, move)


def decline(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="The version that waits as challenger.")],
    reason: ReasonOption = "declined by hand",
) -> None:
    """Take a waiting challenger out of the running; it stays registered."""
    move = _championship(name).decline(version, Grounds(getpass.getuser(), reason))
    out().print(f"{name}: version {move.version} waits no more; champion is {move.to_version or 'nobody'}")


def verify_log(name: NameArgument, json: JsonOption = False) -> None:
    """Check the log of a model: its chain of hashes, its gate reports, and that the champion is the one it says."""
    championship = _championship(name)
    faults, moves = championship.faults(), championship.history()
    if json:
        print_json({"moves": len(moves), "last": moves[-1].hash if moves else None, "faults": faults})
    else:
        last = f", the last {moves[-1].hash[:12]}" if moves else ""
        out().print(f"{name}: {len(moves)} moves{last}; {'; '.join(faults) or 'whole'}", soft_wrap=True)
    if faults:
        raise typer.Exit(1)


def rollback(
    name: NameArgument,
    to: Annotated[str | None, typer.Option(help="The version to go back to; the previous champion when unset.")] = None,
    reason: ReasonOption = "rolled back by hand",
) -> None:
    """Give the champion alias back to the previous champion, or to a named version."""
    move = _championship(name).rollback(Grounds(getpass.getuser(), reason), to=to)
    _say_champion(name, move)


def _championship(name: str) -> Championship:
    return Championship(Registry(Settings()), name)


def _say_champion(name: str, move: Move) -> None:
    out().print(f"{name}: champion is now version {move.to_version} (was {move.from_version or 'none'})")


COMMANDS = (history, promote, approve, decline, rollback, verify_log)
