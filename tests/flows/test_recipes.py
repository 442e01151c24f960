"""The shipped recipes: each is valid, complete and named as its file."""

import pytest

from flows import recipes
from gem_core.errors import GemError
from gem_core.recipe import Recipe
from gem_core.sandbox.store import EMBEDDING_TASKS, LANGUAGE_GROUP

PAPER = ["llama-3-8b", "llama-3.2-1b", "llama-3.2-3b", "mistral-7b", "smollm2-135m"]


@pytest.fixture(params=recipes.names())
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return recipes.load(request.param)


def test_the_recipes_of_the_first_day_are_shipped() -> None:
    assert set(recipes.names()) >= {"sandbox", "english-12m", *PAPER}


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_named_as_its_file_and_says_what_it_is_for(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")


def test_every_recipe_measures_both_sides_and_gates_both(recipe: Recipe) -> None:
    assert recipe.evaluation.embedding.tasks
    assert recipe.evaluation.language.tasks
    against_base = [gate for gate in recipe.gates if gate.against == "base"]
    assert all(gate.test != "estimate" for gate in against_base), "what has to be shown is not left to luck"
    (gain,) = (gate for gate in against_base if gate.metric == "embedding" and not gate.each)
    assert gain.test == "superiority"
    assert gain.at_least > 0
    (loss,) = (gate for gate in against_base if gate.metric == "language")
    assert loss.test == "non-inferiority"
    assert -2 < loss.at_least < 0, "to be shown on hundreds of questions: a measured loss of about one at most"
    assert any(gate.against == "champion" for gate in recipe.gates)


def test_no_recipe_names_a_task_twice(recipe: Recipe) -> None:
    for tasks in (recipe.evaluation.embedding.tasks, recipe.evaluation.language.tasks):
        assert len(set(tasks)) == len(tasks)


@pytest.mark.parametrize("name", PAPER)
def test_the_large_recipes_keep_the_numbers_that_the_paper_states(name: str) -> None:
    recipe = recipes.load(name)
    training, objective, data = recipe.training, recipe.objective, recipe.data
    assert (training.steps, training.batch_size) == (1000, 32)
    assert (training.learning_rate, training.contrastive_learning_rate) == (1e-4, 1e-5)
    assert sum(source.rows or 0 for source in data.sources) == 32_000
    assert data.max_length == 512
    assert (objective.raw_share, objective.contrastive_start, objective.contrastive_weight) == (0.8, 100, 1.0)
    assert (objective.contrastive.scale, objective.contrastive.max_scale) == (20.0, 100.0)
    assert len(recipe.evaluation.embedding.tasks) == 15
    assert "mmlu" in recipe.evaluation.language.tasks
    assert recipe.evaluation.language.fewshot == 5


@pytest.mark.parametrize("name", PAPER)
def test_the_large_recipes_draw_their_data_from_a_pinned_commit(name: str) -> None:
    assert all(len(source.revision or "") == 40 for source in recipes.load(name).data.sources)


@pytest.mark.parametrize("name", ["sandbox", "english-12m", "english-12m-merged", "english-12m-paper"])
def test_the_small_recipes_train_on_two_processors(name: str) -> None:
    resources = recipes.load(name).resources
    assert (resources.workers, resources.cpus_per_worker, resources.gpus_per_worker) == (2, 1, 0)


def test_the_sandbox_recipe_measures_all_that_the_sandbox_offers() -> None:
    evaluation = recipes.load("sandbox").evaluation
    assert set(evaluation.embedding.tasks) == set(EMBEDDING_TASKS)
    assert evaluation.language.tasks == (LANGUAGE_GROUP,)
    assert f"sandbox:{evaluation.sandbox}" == recipes.load("sandbox").base_model.source


def test_an_unknown_recipe_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(GemError, match="did you mean sandbox"):
        recipes.load("sandbx")


@pytest.mark.slow
def test_the_libraries_know_every_task_that_the_recipes_name() -> None:
    import mteb
    from lm_eval.tasks import TaskManager

    evaluations = [recipes.load(name).evaluation for name in recipes.names() if name != "sandbox"]
    embedding = {task for evaluation in evaluations for task in evaluation.embedding.tasks}
    language = {task for evaluation in evaluations for task in evaluation.language.tasks}
    assert {task.metadata.name for task in mteb.get_tasks(tasks=sorted(embedding))} == embedding
    assert language <= set(TaskManager().all_tasks)
