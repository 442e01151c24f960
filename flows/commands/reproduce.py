"""``gem reproduce``: make a version again."""

from typing import Annotated

import typer

from flows.commands.runs import JsonOption
from flows.commands.versions import NameArgument
from flows.console import err, out, points, print_json, table
from flows.progress import shown_on
from gem_core.reproduction import MARGIN


def reproduce(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="The version that is made again: a number or an alias.")],
    margin: Annotated[
        float, typer.Option(min=0.0, help="Points that the averages may lie apart where the weights differ.")
    ] = MARGIN,
    json: JsonOption = False,
) -> None:
    """Train a version anew from its recipe at its pinned revisions, and say whether the same came out.

    Equal digests prove it. On another kind of machine the weights end a little apart: then both are scored here and
    their averages compared. Exit status 1 when it was not reproduced. Nothing is registered or promoted.
    """
    from flows.reproduction import reproduce as make_again

    with shown_on(err()):
        found = make_again(name, version, margin)
    if json:
        print_json(found)
    else:
        console = out()
        rows = [
            ["digest", found.registered[:12], found.made[:12]],
            *([what, *pair] for what, pair in found.changed.items()),
        ]
        console.print(table(f"{found.version} and what was made now", ["what", "registered", "now"], rows))
        if found.comparison is not None:
            scores = [
                [row.label, points(row.first), points(row.second), row.reason]
                for row in found.comparison.at("average", "category", "task")
            ]
            console.print(table("Scores (points, 0 to 100)", ["task", "registered", "now", "difference"], scores))
        colour = "green" if found.succeeded else "red"
        console.print(f"{found.verdict}: {found.sentence}", style=colour, soft_wrap=True)
        console.print(f"What was made is in {found.folder}", soft_wrap=True)
    if not found.succeeded:
        raise typer.Exit(1)


COMMANDS = (reproduce,)
