import pytest

from gem_core.errors import GemError
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.judging.comparison import compare
from gem_core.recipe import Recipe
from gem_core.records.lineage import Lineage
from gem_core.reproduction import changed_since, check_same, concluded, pinned


def lineage(base="owner/base", sources=("owner/data",), revisions=("e" * 40,), **changes):
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "base_model": {"source": base},
            "data": {"sources": [{"source": source} for source in sources]},
        }
    )
    known = {
        "base_model": base,
        "base_revision": "c" * 40,
        "base_digest": "b" * 64,
        "data_digest": "d" * 64,
        "data_sources": [{"source": s, "revision": r} for s, r in zip(sources, revisions, strict=True)],
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest(),
    }
    return Lineage.model_validate(known | changes)


def averages(unlike=(), **points):
    """A comparison in which these averages went from 50 to 50 plus what is given, some by other settings."""

    def scores(model, shift):
        tasks = tuple(
            TaskScore(
                task=kind, kind=kind, read_out="", metric="acc", value=50 + shift * change, items=9,
                settings=model if kind in unlike else "s",
            )
            for kind, change in points.items()
        )  # fmt: skip
        return Scores(model=model, reference=model, tasks=tasks)

    return compare(scores("then", 0.0), scores("now", 1.0))


def conclude(registered="a", made="b", **options):
    return concluded("models:/x/1", registered, made, "there", **({"changed": {}} | options))


def test_a_recipe_is_pinned_to_what_was_used():
    sources, revisions = ("owner/data", "rows.jsonl", "sandbox:1"), ("e" * 40, "f" * 64, "a" * 64)
    recipe = pinned(lineage(sources=sources, revisions=revisions))
    assert recipe.base_model.revision == "c" * 40
    assert [source.revision for source in recipe.data.sources] == ["e" * 40, None, None]
    assert pinned(lineage(base="sandbox:1")).base_model.revision is None


def test_a_recipe_of_another_platform_is_refused_with_the_code_it_needs():
    strange = lineage(recipe={"name": "x", "colour": "red"}, code_commit="abc123")
    with pytest.raises(GemError, match=r"not one of this platform .*abc123"):
        pinned(strange)


def test_other_beginnings_are_refused():
    check_same("base model", "a" * 64, "a" * 64)
    with pytest.raises(GemError, match=r"the base model cannot be had as it was: its digest is bbbb.* and was aaaa"):
        check_same("base model", "a" * 64, "b" * 64)


def test_equal_digests_are_the_proof():
    found = conclude("a", "a", changed={"torch": ("1", "2")})
    assert (found.verdict, found.succeeded) == ("identical", True)


@pytest.mark.parametrize(
    ("points", "margin", "verdict"),
    [
        ({"embedding": 0.9, "language": -0.9}, 1.0, "equal scores"),
        ({"embedding": 0.9, "language": -1.1}, 1.0, "different"),
        ({"embedding": 1.1}, 1.0, "different"),
        ({"embedding": 1.1}, 2.0, "equal scores"),
        ({"language": 0.5}, 0.0, "different"),
    ],
)
def test_other_weights_are_judged_by_scores(points, margin, verdict):
    found = conclude(comparison=averages(**points), margin=margin, changed={"torch": ("1", "2")})
    assert found.verdict == verdict
    assert found.succeeded == (verdict == "equal scores")
    assert f"{next(iter(points.values())):+.2f}" in found.sentence
    assert found.sentence.endswith("(other than then: torch)")


def test_without_scores_nothing_is_claimed():
    assert conclude().verdict == "not comparable"
    assert not conclude().succeeded


@pytest.mark.parametrize(("embedding", "verdict"), [(0.5, "not comparable"), (1.5, "different")])
def test_one_kind_alone_is_no_reproduction_where_the_other_was_measured_otherwise(embedding, verdict):
    found = conclude(comparison=averages(unlike=["language"], embedding=embedding, language=0.0))
    assert (found.verdict, found.succeeded) == (verdict, False)
    assert f"embedding {embedding:+.2f}" in found.sentence


def test_what_changed_since_is_named():
    then = lineage(packages={"torch": "1", "peft": "1"}, code_commit="a")
    now = lineage(packages={"torch": "2", "peft": "1", "mteb": "3"}, code_commit="a", image="gem:1")
    assert changed_since(then, now) == {
        "image": ("unknown", "gem:1"), "torch": ("1", "2"), "mteb": ("unknown", "3")
    }  # fmt: skip
