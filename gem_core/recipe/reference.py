"""The reference of every recipe key, written from the schema itself: ``python -m gem_core.recipe.reference``.

The page is docs/recipes.md; a test compares the two, so a field and its description cannot drift apart.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from gem_core.recipe import Recipe

Schema = dict[str, Any]

PREAMBLE = """\
# Recipes

<!-- Written by `make docs` from gem_core/recipe/recipe.py: change the field there, not this page. -->

A recipe is a YAML file that describes a whole run. Unknown keys are refused, and what a file leaves out has the default
below. `gem recipe list` names the shipped ones, `gem recipe show NAME` prints one with every default filled in,
`gem recipe validate FILE` checks your own, and `--set key.path=value` overrides a value for one run:

    gem recipe show sandbox > mine.yaml
    gem recipe validate mine.yaml
    gem run mine.yaml --set training.steps=50 --set data.sources.0.rows=1000

A run is trained again only if what shapes the weights changed: the base model, `seed`, `special_tokens`, `adaptation`,
`data`, `objective` or `training`. Other tasks, gates or resources use the training that is there.
"""

_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def reference() -> str:
    """The page as Markdown: one table of keys a section of the recipe."""
    schema = Recipe.model_json_schema()
    return "\n".join([PREAMBLE, *_section("", schema, schema["$defs"])])


def _section(path: str, section: Schema, definitions: Schema) -> Iterator[str]:
    """The heading and table of one section, then those inside it; ``path`` leads to it and is empty for the whole."""
    if path:
        yield f"## `{path}`\n"
        yield _one_line(section["description"].split("\n\n")[0]) + "\n"
    yield "| key | default | allowed | meaning |"
    yield "| --- | --- | --- | --- |"
    inner: dict[str, Schema] = {}
    for key, field in section["properties"].items():
        if below := _path_below(path, key, field):
            inner[below] = definitions[_reference(field)]
        default = "required" if key in section.get("required", ()) else _default(field)
        allowed = f"[below](#{_anchor(below)})" if below else _allowed(field)
        # JSON schema leaves a field's own description out where its section says the same words.
        meaning = field.get("description") or inner[below]["description"]
        yield f"| `{key}` | {default} | {allowed} | {_cell(meaning)} |"
    yield ""
    for name, definition in inner.items():
        yield from _section(name, definition, definitions)


def _path_below(path: str, key: str, field: Schema) -> str:
    """The path of the section that a field holds; empty for a value.

    It ends in ``[]`` where the field holds a list of such sections, in ``.NAME`` where it holds them by name.
    """
    if not _reference(field):
        return ""
    several = "[]" if "items" in field else ".NAME" if "additionalProperties" in field else ""
    return f"{path}.{key}".removeprefix(".") + several


def _reference(field: Schema) -> str:
    """The name of the definition that a field, or each item of its list or mapping, refers to; empty for a value."""
    one: Schema = field.get("items") or field.get("additionalProperties") or field
    target: str = one.get("$ref", "")
    return target.rsplit("/", 1)[-1]


def _default(field: Schema) -> str:
    """A section's own defaults stand in its table."""
    return "" if isinstance(field.get("default", {}), dict) else f"`{json.dumps(field['default'])}`"


def _anchor(path: str) -> str:
    """The link to a section's heading, as Markdown viewers derive it."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "_-")


def _allowed(field: Schema) -> str:
    """What a value may be, in words short enough for a table."""
    if "anyOf" in field:
        return " or ".join(_allowed(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}: {'; '.join(_allowed(item) for item in field['prefixItems'])}"
    if field["type"] == "array":
        return f"list of {_allowed(field['items'])}"
    bounds = [text.format(f"{field[key]:,}") for key, text in _BOUNDS.items() if key in field]
    if "pattern" in field:
        bounds.append(f"matches `{_cell(field['pattern'])}`")
    return ", ".join([field["type"], *bounds])


def _one_line(text: str) -> str:
    """Text on one line, RST's double backticks as Markdown's."""
    return " ".join(text.split()).replace("``", "`")


def _cell(text: str) -> str:
    """Text that may stand in a Markdown table, where a bar ends the cell even in code."""
    return _one_line(text).replace("|", r"\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
