"""The recipes that ship with the platform, by name."""

from collections.abc import Sequence
from pathlib import Path

from gem_core.errors import GemError
from gem_core.near_matches import did_you_mean
from gem_core.recipe import Recipe, files

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The shipped recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a shipped recipe by name, or any other by its path.

    Raises:
        GemError: no such recipe (with near matches), or it does not validate.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return files.load(Path(name_or_path), overrides)
    if name_or_path not in names():
        shipped = f"shipped: {', '.join(names())}; or give a path to a .yaml file"
        hint = did_you_mean(name_or_path, names(), shipped)
        raise GemError(f"unknown recipe {name_or_path} ({hint})")
    return files.load(FOLDER / f"{name_or_path}.yaml", overrides)
