"""``gem ablate`` and ``gem diagnose``: what a part of the method is worth, and what scores do not tell of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import recipes
from flows.commands.models import ModelArgument
from flows.commands.recipes import RecipeArgument, SetOption
from flows.commands.runs import JsonOption
from flows.console import err, out, print_json, table
from flows.progress import shown_on
from gem_core.errors import GemError
from gem_core.settings import Settings

if TYPE_CHECKING:
    from gem_core.studies.diagnostics import Diagnosis


def ablate(
    recipe: RecipeArgument,
    grid: Annotated[
        str,
        typer.Option(
            help="Which variants, by commas: "
            "pooling, prompts, simcse, floor, parts, words, language, optimizer, blindness, k, p; or all."
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
    from gem_core.studies.ablation import variants
    from gem_core.studies.ablation_table import markdown

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


def diagnose(
    model: ModelArgument,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="A file with a text a line; each file counts as a domain. Repeatable. Default: ours."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """See where special tokens look, what moves an embedding, how embeddings spread, and how well texts are restored.

    For example `gem diagnose models:/sandbox@champion`, or `gem diagnose MODEL --texts news.txt --texts recipes.txt`.
    """
    from gem_core.method.model import GemModel
    from gem_core.studies.diagnostics import TEXTS
    from gem_core.studies.diagnostics import diagnose as look

    domains = {str(path): _lines(path) for path in texts} if texts else TEXTS
    found = look(GemModel.open(model, settings=Settings()), domains)
    if json:
        print_json(found)
    else:
        _show(model, found)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise GemError(f"cannot read the texts in {path}: {error}") from error


def _show(model: str, found: "Diagnosis") -> None:
    def cells(values: object) -> list[list[str]]:
        return [[name.replace("_", " "), "–" if v is None else f"{v:.3f}"] for name, v in vars(values).items()]

    console = out()
    if found.attention:
        head = ["layer", "text", "first token", "special tokens", "by quarter of the text"]
        rows = [
            [str(n), f"{a.text:.2f}", f"{a.first:.2f}", f"{a.special:.2f}", " ".join(f"{q:.2f}" for q in a.quarters)]
            for n, a in enumerate(found.attention, start=1)
        ]
        console.print(table(f"Where the special tokens of {model} look (shares)", head, rows), "")
    console.print(
        table("An embedding against a changed one (cosine)", ["change", "cosine"], cells(found.stability)), ""
    )
    console.print(table(f"How {found.texts} embeddings lie", ["measure", "value"], cells(found.space)))
    if found.restored:
        rows = [
            [f"{r.shortest} to {r.longest or '…'}", str(r.texts), f"{r.exact:.1%}", f"{r.tokens:.1%}"]
            for r in found.restored
        ]
        head = ["tokens of the text", "texts", "without a fault", "tokens right"]
        console.print("", table("Restored from the special tokens alone", head, rows))


COMMANDS = (ablate, diagnose)
