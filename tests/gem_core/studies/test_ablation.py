import numpy as np
import pytest

from gem_core.errors import GemError
from gem_core.recipe import Recipe
from gem_core.studies.ablation import GRIDS, REFERENCE, Result, Variant, variants
from gem_core.studies.ablation_table import markdown, rows_of

RECIPE = Recipe.model_validate(
    {"name": "tiny", "base_model": {"source": "x"}, "data": {"sources": [{"source": "x.txt"}]}}
)
AS_THE_DEFAULTS = (
    "k = 1",
    "p = 0.8",
    "contrast in place of words",
    "rows that start at the mean",
    "by AdamW alone",
    "without the null space",
    "without the divergence",
    "with neither",
)


def result(variant, seed, noise, *, items=200, missing=False):
    generator = np.random.default_rng(7)
    gold = generator.normal(size=items)
    own = np.random.default_rng([seed, int(100 * noise)])
    predictions = (gold + noise * own.normal(size=items)).tolist()
    points = {} if missing else {"STS12": 100 * float(np.corrcoef(gold, predictions)[0, 1])}
    return Result(
        variant=variant, seed=seed, points=points, predictions={"STS12": predictions}, golds={"STS12": gold.tolist()}
    )


def test_every_variant_of_every_grid_fits_a_recipe():
    grid = variants("all")
    assert grid[0].name == REFERENCE
    assert len({variant.name for variant in grid}) == len(grid) == 1 + sum(map(len, GRIDS.values()))
    for variant in grid:
        made = variant.recipe(RECIPE, 5)
        assert made.seed == 5
        alike = not variant.overrides or variant.name in AS_THE_DEFAULTS
        assert (made.shaping() == RECIPE.model_copy(update={"seed": 5}).shaping()) is alike
        comes_to = variant.comes_to(RECIPE, 5) == grid[0].comes_to(RECIPE, 5)
        assert comes_to is (alike and variant.baseline is None)


def test_an_unknown_grid_is_told():
    with pytest.raises(GemError, match="no grid poolings; there are all, pooling"):
        variants("simcse,poolings")
    with pytest.raises(GemError, match="no grid"):
        variants("")


def test_a_variant_that_does_not_fit_is_named():
    with pytest.raises(GemError, match="of odd"):
        Variant(name="odd", overrides=("special_tokens.count=0",)).recipe(RECIPE, 1)


def test_the_table_averages_seeds_and_gives_intervals():
    results = [result(REFERENCE, seed, 0.5) for seed in (1, 2)] + [result("worse", seed, 2.0) for seed in (1, 2)]
    results += [result("alike", 3, 0.5), result("broken", 1, 1.0, missing=True)]
    rows = {row.variant: row for row in rows_of(results, ["STS12"])}
    assert rows[REFERENCE].difference is None
    assert rows["worse"].seeds == (1, 2)
    low, high = rows["worse"].interval
    assert low < rows["worse"].difference < high < 0
    low, high = rows["alike"].interval
    assert low < 0 < high
    assert rows["broken"].mean is None
    assert rows["broken"].interval is None
    table = markdown(list(rows.values()), ["STS12"])
    assert table == markdown(rows_of(results, ["STS12"]), ["STS12"])  # equal results, equal intervals
    assert "| broken | – | – | – | – | 1 |" in table


def test_without_the_reference_there_is_nothing_to_compare_with():
    (row,) = rows_of([result("alone", 1, 0.5)], ["STS12"])
    assert (row.difference, row.interval) == (None, None)
