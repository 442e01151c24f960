"""The second look of gates that ask for more items: all models measured once more, on as many as are needed."""

from collections.abc import Callable

from flows.outcome import Comparison
from flows.progress import report
from gem_core.evaluation.scores import Scores
from gem_core.evaluation.store import ScoreStore
from gem_core.judging.gates import judge
from gem_core.judging.more_items import looked_at_twice, on_more_items, read_at_half
from gem_core.recipe import Evaluation, Recipe


def second_look(
    recipe: Recipe, comparison: Comparison, store: ScoreStore, evaluate: Callable[[str, Evaluation], Scores]
) -> Comparison:
    """Measure more, once, where a gate asks for it and nothing else stands against the candidate.

    Figures are not measured for it: a gate on one counts here as not yet decided, and has its say in the verdict.

    Args:
        recipe: Whose gates count.
        comparison: The first look.
        store: Where the records are.
        evaluate: The scores of a role (``base``, ``candidate``, ``champion``) on more items; unchanged tasks are known.

    Returns:
        The comparison to judge by; it names the gates that are read at half their level.
    """
    twice = looked_at_twice(recipe.gates, comparison.candidate)
    if not twice:
        return comparison
    comparison = comparison.model_copy(update={"looked_twice": twice})
    first = judge(
        comparison.candidate,
        comparison.baseline,
        comparison.champion,
        [gate for gate in read_at_half(recipe.gates, twice) if gate.at_most is None],
        records=store.items,
        predictions=store.predictions,
    )
    evaluation = on_more_items(recipe.evaluation, first, comparison.candidate)
    if evaluation is None:
        return comparison
    report("more items", 0.0, f"of {', '.join(sorted(twice))}")
    more = {role: evaluate(role, evaluation) for role in comparison.by_role()}
    report("more items", 1.0, "measured")
    return comparison.model_copy(
        update={
            "baseline": more["base"],
            "candidate": more["candidate"],
            "champion": more.get("champion"),
        }
    )
