"""Suites as recipe data: what they hold, and what a recipe says over them."""

import pytest
from pydantic import ValidationError

from gem_core.recipe import Evaluation
from gem_core.recipe.evaluation import suites


@pytest.mark.parametrize("name", suites())
def test_every_shipped_suite_is_valid_and_described(name):
    evaluation = Evaluation(suite=name)
    embedding = evaluation.embedding
    assert embedding.tasks or embedding.benchmarks or evaluation.language.tasks or evaluation.generation.prompts
    assert suites()[name].endswith(".")


def test_the_paper_s_suite_is_the_paper_s():
    paper = Evaluation(suite="paper")
    assert len(paper.embedding.tasks) == 15
    assert (paper.language.tasks, paper.language.fewshot) == (("mmlu",), 5)
    similarity = dict.fromkeys(("SICK-R", "STS17", "STSBenchmark"), "Retrieve semantically similar text")
    assert (paper.embedding.template, paper.embedding.instructions) == ("{instruction}: {text}", similarity)


def test_what_a_recipe_says_stands_over_its_suite():
    written = Evaluation.model_validate(
        {"suite": "paper", "dtype": "bfloat16", "embedding": {"batch_size": 8}, "language": {"limit": 10}}
    )
    assert (written.dtype, written.embedding.batch_size, written.language.limit) == ("bfloat16", 8, 10)
    assert len(written.embedding.tasks) == 15
    assert written.language.fewshot == 5
    again = Evaluation.model_validate(written.model_dump(mode="json"))
    assert again == written, "what is recorded needs no suite"


def test_what_a_suite_says_of_a_task_falls_away_with_the_task():
    fewer = Evaluation.model_validate({"suite": "paper", "embedding": {"tasks": ["STS17", "STS12"]}})
    assert list(fewer.embedding.instructions) == ["STS17"]
    shots = Evaluation.model_validate({"suite": "language", "language": {"tasks": ["mmlu"]}}).language.by_task
    assert list(shots) == ["mmlu"]
    with pytest.raises(ValidationError, match="names STS21, which tasks does not ask for"):
        Evaluation.model_validate({"suite": "paper", "embedding": {"instructions": {"STS21": "Find."}}})


def test_what_a_task_does_not_say_stays_the_section_s_when_it_is_written_and_read():
    by_task = {"mmlu": {"limit": 10}, "arc_easy": {"limit": None}}
    asked = Evaluation.model_validate(
        {"language": {"tasks": ["mmlu", "arc_easy"], "fewshot": 5, "limit": 3, "by_task": by_task}}
    )
    again = Evaluation.model_validate_json(asked.model_dump_json())
    assert again.model_dump(mode="json")["language"]["by_task"] == by_task
    for task in ("mmlu", "arc_easy"):
        assert again.language.by_task[task].model_fields_set == {"limit"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"suite": "papers"}, "unknown suite 'papers'; there are .*paper"),
        ({"language": {"tasks": ["arc"], "by_task": {"mmlu": {"fewshot": 5}}}}, "names mmlu, which tasks does not"),
        ({"language": {"tasks": ["mmlu"], "by_task": {"mmlu": {"shots": 5}}}}, "shots"),
    ],
)
def test_what_does_not_fit_is_refused(content, message):
    with pytest.raises(ValidationError, match=message):
        Evaluation.model_validate(content)
