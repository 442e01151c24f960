"""What a reader chose, kept in the page's address: a link shows a colleague the same thing."""

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Sequence


NOTHING = ""
"""In the address of a reader who chose none of several; without any word about it the default is shown."""


def choose_one(label: str, options: "Sequence[str]", *, key: str, default: str, help: str | None = None) -> str:
    """A drop-down list whose choice is kept in the address under ``key``.

    An address that names something that no longer exists shows the default.
    """
    _restore(key, st.query_params.get(key), options, default)
    chosen = st.selectbox(label, options, key=key, help=help, persist_state="session")
    st.query_params[key] = chosen
    return chosen


def choose_some(
    label: str,
    options: "Sequence[str]",
    *,
    key: str,
    default: "Sequence[str]",
    help: str | None = None,
) -> list[str]:
    """Several of ``options``, kept in the address under ``key`` (repeated), always in the order of ``options``."""
    if key in st.session_state:
        st.session_state[key] = [value for value in st.session_state[key] if value in options]
    else:
        named = st.query_params.get_all(key)
        known = [value for value in named if value in options]
        st.session_state[key] = known if known or named == [NOTHING] else list(default)
    chosen = st.pills(label, options, selection_mode="multi", key=key, help=help, persist_state="session")
    ordered = [value for value in options if value in chosen]
    st.query_params[key] = ordered or NOTHING
    return ordered


def _restore(key: str, named: str | None, options: "Sequence[str]", default: str) -> None:
    if st.session_state.get(key) not in options:
        st.session_state[key] = named if named in options else default
