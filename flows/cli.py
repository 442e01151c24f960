"""The ``gem`` command: puts the subcommands together and turns errors into one line and an exit status."""

import os
import signal
import sys
from typing import Annotated

import typer

from flows import environment
from flows.commands import compare, exports, models, recipes, reproduce, runs, service, studies, versions
from flows.console import err, fail
from gem_core.errors import GemError

app = typer.Typer(
    name="gem",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Teach a decoder language model to embed text and keep generating: post-train it by GEM, score it, judge it, "
        "promote it.\n\nStart with `gem demo`. MODEL is everywhere a folder, a hub id, `sandbox:SEED`, "
        "`models:/NAME/VERSION` or `models:/NAME@ALIAS`."
    ),
)
for part in (runs, models, exports, compare, studies, versions, reproduce, service):
    for command in part.COMMANDS:
        app.command()(command)
app.add_typer(recipes.app, name="recipe")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the tools' own logs.")] = False,
) -> None:
    """Options of every subcommand; read in :func:`main`, before the tools are imported."""


INTERRUPTED = (130, 143)
"""Exit statuses after SIGINT and SIGTERM, as shells count them."""


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up as after an interrupt
    debug = "--debug" in sys.argv[1:] or os.environ.get("GEM_DEBUG", "").lower() in {"1", "true"}
    if "--debug" in sys.argv[1:]:  # accepted in any place, not only before the subcommand
        sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != "--debug"]
    environment.prepare(debug=debug)
    try:
        app()
    except GemError as error:
        if debug:
            raise
        sys.exit(fail(error))
    except SystemExit as ending:
        if ending.code in INTERRUPTED:
            err().print("interrupted; the same command goes on from where this one stopped")
        raise


if __name__ == "__main__":
    main()
