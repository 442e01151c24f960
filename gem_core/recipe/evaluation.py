"""The section of a recipe that says how models are measured, and the suites that it may begin from."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gem_core.recipe.section import PositiveInt, Section

SUITES = Path(__file__).parent / "suites"
"""Evaluations by name: one YAML file each, with the keys of ``evaluation`` and a ``description``."""


class EmbeddingEvaluation(Section):
    """MTEB tasks."""

    tasks: tuple[str, ...] = ()
    """mteb task names, or ``Sandbox...`` tasks."""
    benchmarks: tuple[str, ...] = ()
    """mteb benchmarks by name, such as ``MTEB(eng, v2)``: each its tasks, with the subsets and splits that it asks for,
    and their plain average. ``languages`` narrows none of them."""
    languages: tuple[str, ...] = ("eng",)
    """Subsets of multilingual tasks, as ISO 639-3 codes; each subset's score is kept beside the task's."""
    batch_size: PositiveInt = 64
    """Texts a batch; recorded, since scores move with it."""
    max_length: PositiveInt = 512
    """Tokens a text; longer ones are cut."""
    template: str = "{text}"
    """What texts are wrapped in, but for the documents of retrieval tasks: ``Query: {text}``, or with the instruction
    of the task ``Instruct: {instruction} Query: {text}``. A task without an instruction keeps its texts bare then."""
    instructions: dict[str, str] = Field(default={})
    """Instructions by task, in place of mteb's own (which are those of E5-mistral and LLM2Vec)."""

    @model_validator(mode="after")
    def _the_template_has_its_places(self) -> Self:
        if "{text}" not in self.template:
            raise ValueError("evaluation.embedding.template has no {text}, the place of the text")
        if self.instructions and "{instruction}" not in self.template:
            raise ValueError("evaluation.embedding.instructions need {instruction} in evaluation.embedding.template")
        stray = [name for name in self.instructions if name not in self.tasks]
        if stray and not self.benchmarks:
            raise ValueError(
                f"evaluation.embedding.instructions names {', '.join(stray)}, which tasks does not ask for"
            )
        return self


class LanguageTask(Section):
    """What one language task is given in place of the section's own values."""

    fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt."""
    limit: PositiveInt | None = None
    """Questions a task."""

    @model_serializer(mode="wrap")
    def _what_is_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not said: read back, a null would take the place of the section's value."""
        return {key: value for key, value in write(self).items() if key in self.model_fields_set}


class LanguageEvaluation(Section):
    """lm-eval tasks."""

    tasks: tuple[str, ...] = ()
    """lm-eval task or group names."""
    fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; each task's own default when unset."""
    limit: PositiveInt | None = None
    """Questions a task: a quick look, marked as such in every report."""
    by_task: dict[str, LanguageTask] = Field(default={})
    """Examples and limit of single tasks or groups: ``{mmlu: {fewshot: 5}}``."""
    batch_size: PositiveInt = 32
    """Requests a batch."""

    @model_validator(mode="after")
    def _special_cases_are_asked_for(self) -> Self:
        if stray := [name for name in self.by_task if name not in self.tasks]:
            raise ValueError(f"evaluation.language.by_task names {', '.join(stray)}, which tasks does not ask for")
        return self


class GenerationEvaluation(Section):
    """Continuations: the model writes on from texts that it was not trained on, and the base reads what it wrote."""

    prompts: str | None = None
    """The texts whose beginnings are continued: a hub data set, a ``.jsonl``, ``.parquet`` or ``.txt`` file, or
    ``sandbox``: texts about the held-out things of ``evaluation.sandbox``. Nothing is written when unset."""
    revision: str | None = None
    """Of a hub data set: a commit; a branch or tag is resolved each time it is asked for."""
    split: str = "validation"
    """Which split of a hub data set."""
    column: str = "text"
    """The column that holds the text."""
    decoding: tuple[Literal["greedy", "sampled"], ...] = Field(default=("sampled",), min_length=1)
    """Each a task of its own: the likeliest token, or tokens drawn from the model's distribution as it is."""
    count: PositiveInt = 200
    """Prompts, drawn once and for all models alike; fewer where the texts are fewer."""
    prompt_words: PositiveInt = 12
    """Words of a prompt; a text needs more than that."""
    max_new_tokens: PositiveInt = 64
    """Tokens of a continuation at most."""
    temperature: float = Field(default=1.0, gt=0.0)
    """Of the sampling."""
    limit: PositiveInt | None = None
    """Only the first so many prompts: a quick look, marked as such in every report."""
    batch_size: PositiveInt = 32
    """Prompts a batch."""


class Evaluation(Section):
    """How base, candidate and champion are measured: all three with these same settings."""

    suite: str | None = None
    """A suite to begin from (`gem evaluate --help` lists them): its values stand where this section says nothing,
    and are what is shown and recorded."""
    sandbox: int | None = Field(default=None, ge=0)
    """Seed of the sandbox world whose tasks are offered besides the libraries' own."""
    embedding: EmbeddingEvaluation = EmbeddingEvaluation()
    """Embedding tasks."""
    language: LanguageEvaluation = LanguageEvaluation()
    """Language tasks."""
    generation: GenerationEvaluation = GenerationEvaluation()
    """Continuations, for what multiple choice misses."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the measured model; fixed, because scores move with it."""

    @model_validator(mode="before")
    @classmethod
    def _begin_from_the_suite(cls, content: Any) -> Any:  # noqa: ANN401 - whatever was written
        if isinstance(content, dict) and content.get("suite") is not None:
            merged = _over(_for_tasks_of(content, suite(str(content["suite"]))), content)
            del merged["suite"]  # what is recorded is what was asked: a suite may change with a later version
            return merged
        return content

    @model_validator(mode="after")
    def _sandbox_tasks_need_a_world(self) -> Self:
        names = [*self.embedding.tasks, *self.language.tasks]
        of_sandbox = any(name.lower().startswith("sandbox") for name in names) or self.generation.prompts == "sandbox"
        if self.sandbox is None and of_sandbox:
            raise ValueError("sandbox tasks need evaluation.sandbox, the seed of their world")
        return self


def suites() -> dict[str, str]:
    """The suites that ship with the platform, with a sentence on each."""
    return {path.stem: _read(path)["description"] for path in sorted(SUITES.glob("*.yaml"))}


def suite(name: str) -> dict[str, Any]:
    """The content of a suite, as an ``evaluation`` section.

    Raises:
        ValueError: There is none of this name.
    """
    path = SUITES / f"{name}.yaml"
    if name not in suites():
        raise ValueError(f"unknown suite {name!r}; there are {', '.join(suites())}")
    return {key: value for key, value in _read(path).items() if key != "description"}


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _for_tasks_of(said: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """A suite, without what it says of single tasks where a recipe names tasks of its own, and not these."""
    kept = dict(below)
    for section, of_task in (("embedding", "instructions"), ("language", "by_task")):
        own = said.get(section)
        tasks = own.get("tasks") if isinstance(own, dict) else None
        if isinstance(tasks, list | tuple) and of_task in kept.get(section, {}):
            left = {task: value for task, value in kept[section][of_task].items() if task in tasks}
            kept[section] = kept[section] | {of_task: left}
    return kept


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two mappings in one; what `above` says holds, section by section."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
