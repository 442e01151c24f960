"""Models held in memory to try them: few, shared by all readers, known by their content.

Two versions of equal weights are one entry, and a version that is registered again is a new one. The least recently
used model gives way when a further one is wanted.
"""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from gem_core.errors import GemError
from gem_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from gem_core.method.model import GemModel

MOST_LOADED = 3
"""Models in memory at a time: two that are compared, and one to go back to."""


@dataclass(frozen=True)
class Candidate:
    """A model that can be tried."""

    label: str
    """What the page calls it: ``v2``, ``base``."""
    digest: str
    """Its content digest."""
    reference: str
    """Where it is found: any MODEL argument of the ``gem`` command."""
    read_out: str | None = None
    """How a text becomes a vector; the model's own way when unset."""


@dataclass
class _Loaded:
    model: "GemModel"
    busy: threading.Lock = field(default_factory=threading.Lock)
    """One reader at a time computes with a model; others wait their turn instead of sharing memory for two."""


def embed(candidate: Candidate, texts: "Sequence[str]") -> "np.ndarray":
    """Embeddings [N, D] of the texts, of length 1.

    Raises:
        GemError: the model cannot be found or loaded, or is not the one that was registered.
    """
    loaded = _load(candidate.digest, candidate.read_out, candidate.reference)
    with loaded.busy:
        return loaded.model.encode(texts)


@st.cache_resource(max_entries=MOST_LOADED, show_spinner="Loading the model …")
def _load(digest: str, read_out: str | None, _reference: str) -> _Loaded:
    # The underscore keeps the reference out of the cache's key: a model is its content, not its name.
    from gem_core.method.model import (
        GemModel,  # imports torch and transformers: seconds that a table of versions need not pay
    )

    model = GemModel.open(_reference, settings=Settings(), read_out=read_out)
    if model.digest != digest:
        raise GemError(
            f"{_reference} holds {(model.digest or 'nothing')[:12]}, not the {digest[:12]} that was registered: "
            "its files were changed since"
        )
    return _Loaded(model)
