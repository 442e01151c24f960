from flows import recipes
from flows.ablation import key_of


def test_results_outlive_another_gate_and_nothing_that_they_depend_on():
    recipe = recipes.load("english-12m")
    key = key_of(recipe, "7be84e69b027")
    assert key.startswith("english-12m-")
    assert key.endswith("-7be84e69")
    assert key_of(recipes.load("english-12m", ["gates=[]", "promotion=manual"]), "7be84e69b027") == key
    for change in ("seed=2", "training.steps=9", "evaluation.embedding.tasks=[STS12]", "evaluation.dtype=bfloat16"):
        assert key_of(recipes.load("english-12m", [change]), "7be84e69b027") != key, change
