"""``gem recipe``: look at recipes and check them."""

from typing import Annotated

import typer

from flows import recipes
from flows.console import out, print_json, table
from gem_core.recipe.files import dump

app = typer.Typer(no_args_is_help=True, help="Look at the shipped recipes and check your own.")

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a path to a .yaml file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. `--set training.steps=50`. Repeatable."),
]


@app.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""
    loaded = [recipes.load(name) for name in recipes.names()]
    out().print(
        table(
            "Recipes",
            ["name", "base model", "description"],
            ([r.name, r.base_model.source, r.description] for r in loaded),
        )
    )


@app.command()
def show(
    recipe: RecipeArgument, overrides: SetOption = None, json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Print a recipe with every default filled in.

    A recipe of your own starts with `gem recipe show sandbox > mine.yaml`.
    """
    loaded = recipes.load(recipe, overrides or ())
    if json:
        print_json(loaded.model_dump(mode="json"))
    else:
        typer.echo(dump(loaded), nl=False)


@app.command()
def validate(recipe: RecipeArgument, overrides: SetOption = None) -> None:
    """Check a recipe; exit status 1 and one line for each thing that does not fit."""
    loaded = recipes.load(recipe, overrides or ())
    out().print(f"{recipe} is valid: {loaded.name}, digest {loaded.digest()[:12]}")
