"""``gem encode``, ``generate`` and ``evaluate``: use and measure models."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows import recipes
from flows.commands.runs import JsonOption
from flows.console import err, metric_label, out, points, print_json, table
from flows.progress import shown_on
from gem_core.errors import GemError
from gem_core.near_matches import did_you_mean
from gem_core.recipe import EmbeddingEvaluation, Evaluation, LanguageEvaluation
from gem_core.recipe.evaluation import suites
from gem_core.settings import Settings
from gem_core.sources.models import locate

if TYPE_CHECKING:
    from pathlib import Path

    from gem_core.evaluation.scores import Scores

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A folder, hub id, sandbox:SEED, models:/NAME/VERSION or models:/NAME@ALIAS."),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"A suite ({', '.join(suites())}), or a recipe, shipped or a .yaml file: its evaluation section.",
    ),
]
TasksOption = Annotated[
    str | None, typer.Option(help="mteb tasks or benchmarks and lm-eval tasks or groups, separated by commas.")
]


def encode(
    model: ModelArgument,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts; or lines on standard input.")
    ] = None,
    query: Annotated[
        bool,
        typer.Option("--query", help="The texts are queries: wrap them in the template of the training."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Embed texts: one line of numbers for each, in order.

    For example `gem encode models:/sandbox@champion "a text"`, or `gem encode MODEL --json < lines.txt`.
    """
    from gem_core.method.model import GemModel
    from gem_core.method.model_parts import BARE

    rows = texts if texts else _lines()
    if not rows:
        raise GemError("no text to embed: give texts as arguments, or one a line on standard input")
    opened = GemModel.open(model, settings=Settings())
    vectors = opened.encode(rows, template=opened.query_template if query else BARE)
    if json:
        print_json([{"text": text, "embedding": vector.tolist()} for text, vector in zip(rows, vectors, strict=True)])
    else:
        for vector in vectors:
            typer.echo(" ".join(f"{value:.6f}" for value in vector))


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    max_tokens: Annotated[int, typer.Option(min=1, help="At most this many new tokens.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    json: JsonOption = False,
) -> None:
    """Continue a prompt."""
    from gem_core.method.model import GemModel

    opened = GemModel.open(model, settings=Settings())
    text = opened.generate(prompt, max_new_tokens=max_tokens, temperature=temperature, seed=seed)
    if json:
        print_json({"prompt": prompt, "continuation": text})
    else:
        typer.echo(text)


def evaluate(
    model: ModelArgument, suite: SuiteOption = None, tasks: TasksOption = None, json: JsonOption = False
) -> None:
    """Score a model with MTEB and lm-eval tasks; known scores are not measured again.

    For example `gem evaluate models:/sandbox@champion --suite sandbox`, or
    `gem evaluate gem-lab/english-12m --tasks STSBenchmark,arc_easy`.
    """
    with shown_on(err()):
        scores = measured(model, evaluation_of(suite, tasks))
    if json:
        print_json(scores)
        return
    rows = []
    for metric in scores.metrics():
        rows.append([metric_label(metric, scores), points(scores.value(metric))])
        rows += [[f"  {part.task}", points(part.value)] for part in scores.parts(metric)]
    out().print(table(f"Scores of {model}", ["metric", "points"], rows))
    for task, reason in scores.missing.items():
        out().print(f"{task} is missing: {reason}", style="yellow", soft_wrap=True)


def _lines() -> list[str]:
    if sys.stdin.isatty():
        return []
    try:
        return [line for line in (raw.strip() for raw in sys.stdin) if line]
    except UnicodeDecodeError as error:
        raise GemError(f"standard input is not {error.encoding.upper()} text: convert it first (iconv)") from error


def evaluation_of(suite: str | None, tasks: str | None) -> Evaluation:
    """What the options of a command ask to be measured.

    Raises:
        GemError: Both or neither of them, or names that nobody knows.
    """
    if (suite is None) == (tasks is None):
        raise GemError("give either --suite NAME (a suite, or a recipe whose tasks to use) or --tasks A,B")
    if suite is not None:
        if suite in suites():
            return Evaluation(suite=suite)
        known = [*suites(), *recipes.names()]
        if not suite.endswith((".yaml", ".yml")) and suite not in known:
            hint = did_you_mean(suite, known, f"there are {', '.join(known)}; or give a path to a .yaml file")
            raise GemError(f"unknown suite {suite} ({hint})")
        return recipes.load(suite).evaluation
    from gem_core.evaluation.catalogue import embedding_names, is_sandbox, sort_tasks, split_names

    names = split_names(tasks or "")
    if not names:
        raise GemError("--tasks names no task; for example --tasks STSBenchmark,arc_easy")
    embedding, language = sort_tasks(names)
    benchmarks = () if all(map(is_sandbox, embedding)) else embedding_names().benchmarks
    return Evaluation(
        sandbox=0 if any(map(is_sandbox, (*embedding, *language))) else None,
        embedding=EmbeddingEvaluation(
            tasks=tuple(name for name in embedding if name not in benchmarks),
            benchmarks=tuple(name for name in embedding if name in benchmarks),
        ),
        language=LanguageEvaluation(tasks=language),
    )


def measured(model: str, evaluation: Evaluation) -> "Scores":
    """The scores of any MODEL argument, measured where they are not known."""
    from flows.progress import report
    from gem_core.evaluation.run import evaluate as measure

    settings = Settings()
    folder: Path = locate(model, settings)
    return measure(
        folder, model, evaluation, settings, progress=lambda task, fraction: report(f"scoring {model}", fraction, task)
    )


COMMANDS = (encode, generate, evaluate)
