"""``gem ablate``: what a part of the method is worth."""

from typing import Annotated

import typer

from flows import recipes
from flows.commands.recipes import RecipeArgument, SetOption
from flows.commands.runs import JsonOption
from flows.console import err, print_json
from flows.progress import shown_on
from gem_core.errors import GemError


def ablate(
    recipe: RecipeArgument,
    grid: Annotated[
        str,
        typer.Option(
            help="Which variants, separated by commas: pooling, prompts, simcse, floor, parts, blindness, k, p; or all."
        ),
    ] = "pooling,floor,simcse,parts",
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by commas.")] = "1",
    overrides: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Set a recipe beside its rivals on the same base, rows, steps and tasks; prints a markdown table.

    Every variant is a Ray task; what an earlier run has is not run again. The table is kept in MLflow too. For example
    `gem ablate sandbox --grid pooling,simcse --seeds 1,2,3`.
    """
    from flows.ablation import ablate as run
    from gem_core.ablation import markdown, variants

    try:
        numbers = tuple(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError as error:
        raise GemError(f"--seeds {seeds}: write whole numbers, separated by commas") from error
    loaded = recipes.load(recipe, overrides or ())
    with shown_on(err()):
        rows = run(loaded, variants(grid), numbers)
    if json:
        print_json(rows)
    else:
        typer.echo(markdown(rows, loaded.evaluation.embedding.tasks))


COMMANDS = (ablate,)
