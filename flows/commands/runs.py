"""``gem demo``, ``gem run`` and ``gem train``: whole runs."""

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer

from flows import recipes
from flows.commands.recipes import RecipeArgument, SetOption
from flows.console import err, gate_table, out, print_json, score_rows, table, time_table
from flows.progress import shown_on
from gem_core.errors import GemError
from gem_core.recipe import Recipe
from gem_core.settings import Settings

if TYPE_CHECKING:
    from flows.outcome import Outcome

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else on standard output.")
]

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        envvar="GEM_RAY_ADDRESS",
        help="Job server of a Ray cluster, as http://head:8265. Without one a local cluster comes up for the run.",
    ),
]


def demo() -> None:
    """See the whole path on this machine in a few minutes, offline.

    Builds the sandbox (a small made-up world, its text, a small base model, benchmarks over it), fine-tunes the base by
    GEM on two Ray workers under a Prefect flow, scores both, judges, registers and promotes. Each further demo trains a
    new candidate (another seed) against the reigning champion.
    """
    outcome = _run(recipes.load("sandbox", [f"seed={_next_seed()}"]))
    _show(outcome)
    console = out()
    console.print("\nLook at it", style="bold")
    console.print("  gem dashboard               versions side by side; embed texts with two of them")
    console.print(f"  mlflow ui --backend-store-uri {Settings().mlflow_uri}", soft_wrap=True)
    console.print("  prefect server start        the flow runs, with their gate reports")
    console.print(f"  gem encode models:/{outcome.name}/{outcome.version} 'a text' 'another text'")


def run(
    recipe: RecipeArgument, overrides: SetOption = None, ray_address: RayOption = None, json: JsonOption = False
) -> None:
    """Run a recipe from base model to verdict; what an earlier run did already is not done again.

    For example `gem run sandbox --set seed=2`, or `gem run mine.yaml --set training.steps=50`.
    """
    _work_on(ray_address)
    outcome = _run(recipes.load(recipe, overrides or ()))
    if json:
        print_json(outcome)
    else:
        _show(outcome)


def train(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    output: Annotated[Path | None, typer.Option(help="Copy the trained model to this new folder.")] = None,
    ray_address: RayOption = None,
    json: JsonOption = False,
) -> None:
    """Only train: no scores, no registration. Prints the model's folder."""
    from flows.post_training import train_only

    if output is not None:
        check_new(output)
    _work_on(ray_address)
    with shown_on(err()):
        trained = train_only(recipes.load(recipe, overrides or ()))
    if output is not None:
        try:
            shutil.copytree(trained["folder"], output)
        except OSError as error:
            raise GemError(f"cannot write {output}: {error.strerror or error}; it is in {trained['folder']}") from error
        trained["folder"] = str(output)
    if json:
        print_json(trained)
    else:
        out().print(f"{trained['folder']}  digest {trained['digest'][:12]}", soft_wrap=True)


def check_new(folder: Path) -> None:
    """Refuse, before anything is spent, a new folder that is there already or cannot be made.

    Raises:
        GemError: Which of the two.
    """
    if folder.exists():
        raise GemError(f"{folder} exists: give a folder that does not, or remove it")
    place = next(parent for parent in folder.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise GemError(f"cannot write {folder}: {place} is no folder that takes one")


def _work_on(ray_address: str | None) -> None:
    """Name the cluster to the flow and all it starts, which read their settings from the environment."""
    if ray_address is None:
        return
    if not ray_address.startswith(("http://", "https://")):
        raise GemError(f"--ray-address {ray_address} is no job server: write it as http://head:8265")
    os.environ["GEM_RAY_ADDRESS"] = ray_address


def _next_seed() -> int:
    """The first seed that no demo has trained yet; a registry that is down is waited for."""
    from flows.promotion import patient
    from gem_core.records.registry import Registry

    @patient
    def known() -> int:
        registry = Registry(Settings())
        return sum(len(registry.versions(model.name)) for model in registry.models() if model.name == "sandbox")

    with shown_on(err()):
        return 1 + known()


def _run(recipe: Recipe) -> "Outcome":
    from flows.post_training import post_training

    with shown_on(err()):
        return post_training(recipe)


def _show(outcome: "Outcome") -> None:
    console = out()
    columns = outcome.comparison.by_role()
    if outcome.comparison.champion_version == outcome.version:
        columns.pop("champion")  # it is the candidate itself
    head, rows = score_rows(columns, reference="base")
    console.print()
    console.print(table("Scores (points, 0 to 100)", head, rows))
    console.print()
    console.print(gate_table(outcome.report))
    console.print()
    colour = "green" if outcome.decision.promoted else "yellow"
    console.print(
        f"{outcome.name} version {outcome.version}: {outcome.decision.sentence}", style=colour, soft_wrap=True
    )
    console.print()
    console.print(time_table(outcome.seconds, wall=time.time() - psutil.Process(os.getpid()).create_time()))


COMMANDS = (demo, run, train)
