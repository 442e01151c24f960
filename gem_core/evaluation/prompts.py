"""The prompts of a generation task: beginnings of texts that no training read, the same ones for every model."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from gem_core.errors import GemError
from gem_core.recipe import TextSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gem_core.recipe import GenerationEvaluation
    from gem_core.sandbox import Sandbox
    from gem_core.settings import Settings

SANDBOX = "sandbox"
"""The name of a sandbox world's own texts."""
SEED = 0
"""Of the draw; not a recipe's own, so that candidates of several seeds are asked the same."""
DRAWS = 30
"""Texts of a sandbox looked at for each prompt, at most."""


def state_of(generation: GenerationEvaluation) -> str:
    """What the prompts are drawn from, in this one state of it: a commit of a data set, or the digest of a file.

    A branch is asked of the hub; where that is out of reach the state is unknown, and nothing can be measured.
    """
    from gem_core.settings import Settings
    from gem_core.sources.texts import pin

    try:
        return pin(_source(generation), Settings()).revision
    except GemError as error:
        return f"unknown: {error}"


def prompts(generation: GenerationEvaluation, settings: Settings, sandbox: Sandbox | None) -> tuple[list[str], int]:
    """The prompts to continue, and how many there would be without the limit.

    Args:
        generation: Where they come from, and how many words each has.
        settings: Where data is kept.
        sandbox: The world, where they are its own.

    Raises:
        GemError: The texts cannot be had, or not one of them is long enough.
    """
    words = generation.prompt_words
    if generation.prompts == SANDBOX and sandbox is not None:
        from gem_core.sandbox.held_out import held_out_texts

        texts: Iterable[str] = islice(held_out_texts(sandbox), DRAWS * generation.count)  # many begin alike
    else:
        from gem_core.sources.texts import load, pin

        table, _ = load(pin(_source(generation), settings), settings, seed=SEED)
        order = np.random.default_rng(SEED).permutation(len(table))
        texts = (table[int(row)]["text"] or "" for row in order)
    found: dict[str, None] = {}
    for text in texts:
        if len(split := text.split()) > words:
            found[" ".join(split[:words])] = None
        if len(found) == generation.count:
            break
    if not found:
        raise GemError(
            f"{generation.prompts} has no text of more than {words} words to continue; lower "
            "evaluation.generation.prompt_words"
        )
    return list(found)[: generation.limit], len(found)


def _source(generation: GenerationEvaluation) -> TextSource:
    return TextSource(
        source=generation.prompts or "",
        revision=generation.revision,
        split=generation.split,
        column=generation.column,
    )
