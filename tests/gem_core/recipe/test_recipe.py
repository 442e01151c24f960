"""A recipe is validated, frozen and digestible; what does not fit is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gem_core.errors import GemError
from gem_core.recipe import Recipe
from gem_core.recipe.files import dump, load, parse

MINIMAL = {"name": "tiny", "base_model": {"source": "sandbox:0"}, "data": {"sources": [{"source": "sandbox:0"}]}}

OVER_TASKS = {"name": "g", "against": "base", "at_least": 0.0, "test": "superiority", "over": "tasks"}


def tiny(**changes):
    return parse(MINIMAL | changes, origin="tiny.yaml")


def test_the_defaults_are_the_papers():
    recipe = tiny()
    assert (recipe.objective.raw_share, recipe.training.batch_size, recipe.data.max_length) == (0.8, 32, 512)
    assert (recipe.training.learning_rate, recipe.training.contrastive_learning_rate) == (1e-4, 1e-5)
    assert (recipe.objective.contrastive_start, recipe.objective.contrastive_weight) == (100, 1.0)
    assert (recipe.objective.contrastive.scale, recipe.objective.contrastive.max_scale) == (20, 100)


def test_a_benchmark_is_an_average_over_tasks():
    (gate,) = tiny(
        gates=[{**OVER_TASKS, "metric": "embedding.MTEB(eng, v2)"}],
        evaluation={"embedding": {"benchmarks": ["MTEB(eng, v2)"]}},
    ).gates
    assert gate.over == "tasks"
    assert not gate.averages, "a comma in a benchmark's name does not make a list of it"


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError):
        tiny().seed = 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trainning": {}}, "unknown key trainning (did you mean training?)"),
        ({"training": {"zzz": 1}}, "unknown key training.zzz (allowed: steps, batch_size,"),
        ({"training": {"batch_size": "many"}}, "training.batch_size = 'many': input should be a valid integer"),
        ({"training": {"steps": 0}}, "training.steps = 0: input should be greater than or equal to 1"),
        ({"objective": {"raw_share": 1.2}}, "objective.raw_share = 1.2: input should be less than or equal to 1"),
        ({"adaptation": {"method": "prefix"}}, "adaptation.method = 'prefix': input should be 'lora' or 'full'"),
        ({"data": {"sources": []}}, "data.sources = []"),
        (
            {"data": {"sources": [{"sauce": "x", "source": "y"}]}},
            "unknown key data.sources.0.sauce (did you mean source?)",
        ),
        (
            {"special_tokens": {"count": 0}},
            "count=0 leaves no token to read an embedding from",
        ),
        ({"special_tokens": {"count": -1}}, "special_tokens.count = -1: input should be greater than or equal to 1"),
        ({"training": {"attention": "flash_attention_2"}}, "flash_attention_2 takes no mask, but rows of this recipe"),
        ({"training": {"steps": 50}}, "contrastive_start (100) leaves no contrastive step"),
        ({"adaptation": {"method": "full"}, "objective": {"keep_language": 1.0}}, "needs adaptation.method=lora"),
        ({"adaptation": {"method": "full", "null_space": 0.01}}, "null_space confines an adapter"),
        ({"adaptation": {"scope": "special", "null_space": 0.01}}, "null_space has no meaning with"),
        ({"adaptation": {"null_space": 0.0}}, "greater than 0"),
        ({"adaptation": {"method": "full", "scope": "special"}}, "scope=special needs adaptation.method=lora"),
        ({"adaptation": {"scope": "special"}, "objective": {"keep_language": 1.0}}, "has no meaning with"),
        (
            {"adaptation": {"scope": "special"}, "objective": {"raw_share": 1, "contrastive": {"rows": "none"}}},
            "learns from rows with special tokens alone",
        ),
        (
            {
                "objective": {"contrastive": {"bag_of_words": 1}},
                "data": {"sources": [{"source": "x"}, {"source": "y", "pairs": True}]},
            },
            "bag_of_words=1 contrasts nothing, which is all that pairs serve",
        ),
        (
            {"objective": {"contrastive": {"bag_of_words": 1, "dimensions": [8]}}},
            "dimensions shortens what is contrasted, and with bag_of_words=1 nothing is",
        ),
        (
            {
                "adaptation": {"scope": "special"},
                "training": {"attention": "flash_attention_2"},
                "objective": {"raw_share": 1},
            },
            "flash_attention_2 takes no mask, but rows of this recipe",
        ),
        ({"objective": {"cut": [1, 1]}}, "such a cut leaves no suffix"),
        ({"gates": [{**OVER_TASKS, "metric": "embedding.STS12"}]}, "a test of an average over tasks"),
        ({"objective": {"cut": [0, 0]}}, "such a cut leaves no prefix"),
        ({"objective": {"cut": [0.5, 0.2]}}, "give the lower share first"),
        ({"data": {"sources": [{"source": "x", "query_template": "Query:"}]}}, "the template has no {text}"),
        ({"data": {"sources": [{"source": "x", "use": ["raw"]}]}}, "no source of data.sources serves the contrastive"),
        (
            {"data": {"sources": [{"source": "x", "query_template": "Query: {text}"}]}},
            "query_template wraps the anchors of pairs; set pairs=true",
        ),
        (
            {"data": {"sources": [{"source": "x"}, {"source": "y", "pairs": True, "use": ["raw"]}]}},
            "pairs serve the contrastive loss alone; leave use out",
        ),
        ({"evaluation": {"embedding": {"tasks": ["SandboxSTS"]}}}, "need evaluation.sandbox"),
        ({"name": "Bad Name"}, "name = 'Bad Name'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(changes, expected):
    with pytest.raises(GemError) as caught:
        tiny(**changes)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


RAW_AND_VIEWS = {"source": "x", "use": ["raw", "contrastive"]}
SPECIAL_AND_VIEWS = {"source": "x", "use": ["special", "contrastive"]}
PAIRS = {"source": "x", "pairs": True}


@pytest.mark.parametrize(
    ("source", "objective", "scope", "expected"),
    [
        ({"source": "x"}, {"raw_share": 0, "keep_language": 1}, "all", "keep_language is taken of raw rows"),
        (SPECIAL_AND_VIEWS, {"keep_language": 1}, "all", "keep_language is taken of raw rows"),
        ({"source": "x"}, {"raw_share": 1, "contrastive": {"rows": "special"}}, "all", "rows=special contrasts rows"),
        (RAW_AND_VIEWS, {"contrastive": {"rows": "special"}}, "all", "rows=special contrasts rows"),
        ({"source": "x", "use": ["raw"]}, {"contrastive": {"rows": "none"}}, "special", "with special tokens alone"),
        (PAIRS, {"contrastive": {"rows": "none"}}, "all", "no source of data.sources serves next-token rows"),
        (PAIRS, {}, "all", "contrastive_start=100 are steps of the next-token loss alone"),
        (RAW_AND_VIEWS, {}, "special", "contrastive_start=100 are steps of the next-token loss alone"),
        (PAIRS, {"contrastive_start": 0}, "all", None),
        (RAW_AND_VIEWS, {"contrastive_start": 0}, "special", None),
        (RAW_AND_VIEWS, {"raw_share": 0, "keep_language": 1}, "all", None),
        (SPECIAL_AND_VIEWS, {"raw_share": 1, "contrastive": {"rows": "special"}}, "all", None),
        (PAIRS, {"raw_share": 1, "contrastive_start": 0, "contrastive": {"rows": "special"}}, "all", None),
        ({"source": "x"}, {"raw_share": 1}, "special", "contrastive_start=100"),
    ],
)
def test_every_loss_has_rows_to_be_taken_of(source, objective, scope, expected):
    changes = {"data": {"sources": [source]}, "objective": objective, "adaptation": {"scope": scope}}
    if expected is None:
        tiny(**changes)
        return
    with pytest.raises(GemError, match=expected) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


def test_flash_attention_serves_recipes_whose_rows_are_plain_causal():
    assert tiny(training={"attention": "flash_attention_2"}, objective={"raw_share": 1.0}).needs_mask is False


def test_every_fault_is_reported_at_once():
    with pytest.raises(GemError) as caught:
        tiny(training={"steps": 0, "batch": 3}, seed=-1)
    assert all(key in str(caught.value) for key in ("training.steps", "training.batch", "seed"))


def test_resources_and_description_change_no_digest():
    plain = tiny()
    assert tiny(resources={"workers": 8}, description="another sentence").digest() == plain.digest()


@pytest.mark.parametrize(
    ("changes", "retrains"),
    [
        ({"seed": 2}, True),
        ({"objective": {"raw_share": 0.5}}, True),
        ({"gates": [{"name": "g", "metric": "embedding", "against": "base", "at_least": 1}]}, False),
        ({"promotion": "manual"}, False),
        ({"evaluation": {"embedding": {"tasks": ["STS12"]}}}, False),
    ],
)
def test_only_what_shapes_the_weights_changes_the_training_digest(changes, retrains):
    plain, changed = tiny(), tiny(**changes)
    assert changed.digest() != plain.digest()
    assert (changed.training_digest() != plain.training_digest()) is retrains


@given(st.integers(0, 2**31 - 1), st.floats(0, 1), st.integers(101, 10_000))
def test_a_dumped_recipe_loads_to_the_same_recipe(tmp_path_factory, seed, share, steps):
    recipe = tiny(seed=seed, objective={"raw_share": share}, training={"steps": steps})
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(dump(recipe))
    loaded = load(path)
    assert loaded == recipe
    assert loaded.digest() == recipe.digest()


def test_every_field_is_documented():
    def check(section):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(candidate, "model_fields"):
                    check(candidate)

    check(Recipe)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, True),
        ({"objective": {"bottleneck": False}}, False),
        ({"objective": {"raw_share": 1}}, False),
        ({"objective": {"raw_share": 1}, "special_tokens": {"count": 2}}, True),
        ({"objective": {"raw_share": 1}, "special_tokens": {"count": 2, "blind": False}}, False),
        ({"objective": {"raw_share": 1, "contrastive": {"dropout_kind": "mask"}}}, True),
        ({"objective": {"raw_share": 1, "contrastive_start": 0}, "adaptation": {"scope": "special"}}, True),
    ],
)
def test_which_recipes_need_a_mask(changes, needed):
    assert tiny(**changes).needs_mask is needed
