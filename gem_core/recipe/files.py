"""Recipes as files: read YAML, apply ``--set`` overrides, and say clearly what does not fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gem_core.errors import GemError
from gem_core.near_matches import did_you_mean
from gem_core.recipe import Recipe


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides such as ``training.steps=50`` or ``data.sources.0.rows=100``.

    Args:
        path: a YAML file.
        overrides: ``key.path=value``, the value in YAML; a number in the path indexes a list.

    Raises:
        GemError: the file cannot be read, or a key or value does not fit; names key, value and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GemError(f"cannot read recipe {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GemError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise GemError(f"recipe {path} has to be a mapping of keys to values, see `gem recipe show sandbox`")
    for override in overrides:
        apply_override(content, override)
    return parse(content, origin=path.name)


def parse(content: dict[str, Any], *, origin: str) -> Recipe:
    """Validate already read content; ``origin`` names it in errors."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_describe(detail) for detail in error.errors())
        raise GemError(f"recipe {origin}: {faults}") from error


def dump(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included, in the order of the schema."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one value in place. Keys that do not exist are left for validation to name.

    Raises:
        GemError: no ``=``, an empty path, invalid YAML, or a path through something that is not a mapping or list.
    """
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise GemError(f"--set {override}: write it as key.path=value, for example training.steps=50")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GemError(f"--set {override}: the value is not valid YAML") from error
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise GemError(
                    f"--set {override}: {'.'.join(keys[:depth])} has entries 0 to {len(place) - 1}, not {key}"
                )
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last:
                place.setdefault(key, {})
        else:
            raise GemError(f"--set {override}: {'.'.join(keys[:depth])} is a value, it has no key {key}")
        if last:
            place[index] = value
        else:
            if place[index] is None:
                place[index] = {}
            place = place[index]


def _describe(detail: ErrorDetails) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        allowed = _fields_at(detail["loc"][:-1])
        hint = did_you_mean(str(detail["loc"][-1]), allowed, f"allowed: {', '.join(allowed)}")
        return f"unknown key {key} ({hint})"
    if detail["type"] == "missing":
        return f"{key} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not key or detail["type"] == "value_error":
        return message
    return f"{key} = {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at a place of the schema."""
    section: type[BaseModel] = Recipe
    for key in location:
        if isinstance(key, str) and key in section.model_fields:  # not so for the keys of a mapping
            annotation = section.model_fields[key].annotation
            candidates = [annotation, *get_args(annotation)]
            section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)
