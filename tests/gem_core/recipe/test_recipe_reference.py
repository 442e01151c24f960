"""docs/recipes.md says what the schema says."""

from pathlib import Path

from gem_core.recipe.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_defaults_bounds_and_choices_are_told() -> None:
    page = reference()
    assert "| `raw_share` | `0.8` | number, ≥ 0.0, ≤ 1.0 |" in page
    assert '| `method` | `"lora"` | `lora`, `full` |' in page
    assert "| `source` | required | string |" in page
    assert "| `sources` | required | [below](#datasources) |" in page


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {5}
