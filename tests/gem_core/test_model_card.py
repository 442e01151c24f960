from huggingface_hub import ModelCard

from gem_core.judging.gates import GateReport, GateResult
from gem_core.model_card import model_card
from gem_core.recipe import Recipe
from gem_core.records.lineage import Lineage

RECIPE = Recipe.model_validate(
    {"name": "x", "base_model": {"source": "owner/base"}, "data": {"sources": [{"source": "d"}]}}
)


def lineage(**changes):
    return Lineage.model_validate(
        {
            "base_model": "owner/base",
            "base_revision": "c" * 40,
            "base_digest": "b" * 64,
            "base_license": "apache-2.0",
            "data_digest": "d" * 64,
            "data_sources": [{"source": "owner/data", "revision": "e" * 40}],
            "recipe": RECIPE.model_dump(mode="json"),
            "recipe_digest": "r" * 64,
            **changes,
        }
    )


REPORT = GateReport(
    verdict="fail",
    results=(
        GateResult(
            name="gain",
            metric="embedding",
            against="base",
            at_least=1.0,
            verdict="fail",
            reason="gains 0.5 | too little",
        ),
    ),
    candidate="a",
    baseline="b",
    champion=None,
)


def card(**changes):
    arguments = {"scores": {"embedding": 50.0, "language": 40.0}, "baseline": {"embedding": 30.25}, **changes}
    made = changes.pop("lineage", lineage())
    arguments.pop("lineage", None)
    return model_card("family version 3", made, **arguments)


def test_the_front_matter_is_what_the_hub_reads_and_carries_the_licence_over():
    data = ModelCard(card()).data
    assert (data.license, data.base_model, data.language) == ("apache-2.0", "owner/base", ["eng"])
    assert (data.library_name, "gem" in data.tags) == ("transformers", True)


def test_a_quick_look_is_marked():
    written = card(limited=("language",))
    assert "| language (limited) | not measured | 40.00 |" in written
    assert "| embedding | 30.25 | 50.00 | +19.75 |" in written
    assert "Limited: measured on a part of the items." in written
    assert "imited" not in card()


def test_a_base_that_is_no_hub_model_is_not_linked():
    text = card(lineage=lineage(base_model="sandbox:1", base_license=None))
    data = ModelCard(text).data
    assert (data.base_model, data.license) == (None, None)
    assert "| base model | `sandbox:1` |" in text


def test_scores_stand_beside_the_base():
    text = card()
    assert "| embedding | 30.25 | 50.00 | +19.75 |" in text
    assert "| language | not measured | 40.00 |  |" in text
    assert "Not measured." in card(scores={})


def test_gates_are_told_with_their_reasons_and_cannot_break_the_table():
    assert "Not judged yet." in card()
    text = card(report=REPORT)
    assert "Verdict: **fail**." in text
    assert "| gain | fail | gains 0.5 &#124; too little |" in text
    assert "no gates" in card(report=REPORT.model_copy(update={"results": ()}))


def test_recipe_and_lineage_are_there():
    text = card(digest="f" * 64)
    for row in (
        "| special tokens | 1 |",
        "| LoRA rank | 16 |",
        f"| data | `owner/data at {'e' * 12}` |",
        f"| base revision | `{'c' * 40}` |",
        f"| this model | `{'f' * 64}` |",
    ):
        assert row in text
    assert 'GemModel.open("models:/family/3"' in text
    full = RECIPE.model_dump(mode="json") | {"adaptation": {"method": "full", "rank": 16}}
    assert "LoRA rank" not in card(lineage=lineage(recipe=full))


def test_licences_of_base_and_data_are_carried_over():
    sources = [
        {"source": "owner/data", "revision": "e" * 40, "license": "cc-by-4.0"},
        {"source": "rows.jsonl", "revision": "f" * 64, "license": None},
    ]
    text = card(lineage=lineage(data_sources=sources, worker_seconds=1234.5, image="gem:1"))
    assert ModelCard(text).data.datasets == ["owner/data"]
    for row in (
        "| base | `owner/base` | apache-2.0 |",
        "| data | `owner/data` | cc-by-4.0 |",
        "| data | `rows.jsonl` | not stated |",
        "| cost | `1,234 worker-seconds` |",
        "| image | `gem:1` |",
    ):
        assert row in text


def test_the_same_records_make_the_same_card():
    assert card() == card()
