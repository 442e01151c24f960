"""What is put between mteb and a model."""

import mteb
import numpy as np
import pytest
from mteb.types import PromptType

from gem_core.evaluation.mteb import MtebEncoder, TextVectors, template_of
from gem_core.evaluation.run import evaluate
from gem_core.recipe import Evaluation

INSTRUCT = "Instruct: {instruction}\nQuery: {text}"


class Lengths:
    """Texts by their lengths once wrapped, and how often it was asked; a blank one has no token."""

    read_out = "special"

    def __init__(self):
        self.asked = []

    def encode(self, texts, *, batch_size, max_length, template, refuse_blank):
        assert not refuse_blank
        self.asked.append((template, tuple(texts)))
        sizes = [len(template.replace("{text}", text)) * bool(text) for text in texts]
        return np.array([[size, size, 0.0, 1.0 * bool(size)] for size in sizes], dtype=np.float32)


@pytest.mark.parametrize(
    ("task", "prompt_type", "instruction", "expected"),
    [
        ("SciFact", PromptType.query, None, "{text}"),
        ("SciFact", PromptType.query, "Query: {text}", "Query: {text}"),
        ("SciFact", PromptType.document, "Query: {text}", "{text}"),
        (
            "SciFact",
            PromptType.query,
            INSTRUCT,
            "Instruct: Given a scientific claim, retrieve documents that support or refute the claim\nQuery: {text}",
        ),
        ("SciFact", PromptType.document, INSTRUCT, "{text}"),
        ("STSBenchmark", None, INSTRUCT, "Instruct: Retrieve semantically similar text.\nQuery: {text}"),
        (
            "Banking77Classification",
            None,
            INSTRUCT,
            "Instruct: Given a online banking query, find the corresponding intents\nQuery: {text}",
        ),
    ],
)
def test_queries_get_the_instruction_and_documents_nothing(task, prompt_type, instruction, expected):
    plan = instruction and {"template": instruction, "instruction": None}
    assert template_of(mteb.get_task(task).metadata, prompt_type, plan) == expected
    if plan and "{instruction}" in expected:
        own = template_of(mteb.get_task(task).metadata, prompt_type, plan | {"instruction": "Find"})
        assert own == "Instruct: Find\nQuery: {text}"


def test_a_text_is_embedded_once_for_each_template():
    model = Lengths()
    vectors = TextVectors(model, "special")
    options = {"batch_size": 2, "max_length": 8}
    bare = vectors.of(["one", "three", "one"], **options)
    wrapped = vectors.of(["one"], **options, template="Query: {text}")
    again = vectors.of(["three", "one"], **options)
    assert bare[:, 0].tolist() == [3, 5, 3]
    assert wrapped[:, 0].tolist() == [10]
    assert again[:, 0].tolist() == [5, 3]
    assert model.asked == [("{text}", ("one", "three")), ("Query: {text}", ("one",))]


def test_a_blank_text_of_a_base_without_a_first_token_is_like_nothing():
    task = mteb.get_task("STSBenchmark").metadata
    encoder = MtebEncoder(TextVectors(Lengths(), "mean+last"), "0" * 64, (1, 2))
    found = encoder.encode([{"text": ["a", ""]}], task_metadata=task, batch_size=2, max_length=8)
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])
    assert encoder.similarity(found, found)[1].tolist() == [0, 0]
    assert encoder.similarity_pairwise(found, found).tolist() == pytest.approx([1, 0])


def test_an_instruction_moves_the_score_and_not_without_one(gem_folder, settings):
    def score(**options):
        asked = {"sandbox": 7, "embedding": {"tasks": ["SandboxSTS"], "max_length": 64, **options}}
        (found,) = evaluate(gem_folder, "a model", Evaluation.model_validate(asked), settings).tasks
        return found.value

    bare, named = score(), {"SandboxSTS": "Say what it is"}
    assert score(template=INSTRUCT) == bare  # the sandbox's tasks have no instruction of their own
    assert score(template=INSTRUCT, instructions=named) != bare
    assert score(template="Query: {text}") != bare
