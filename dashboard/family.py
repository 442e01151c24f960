"""Which registered model a page is about."""

from typing import TYPE_CHECKING, NoReturn

import streamlit as st

from dashboard import queries
from dashboard.selection import choose_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.delta_generator import DeltaGenerator


def nothing_yet() -> NoReturn:
    """Say how to get a first version, and end the page."""
    st.info("No versions yet: run `gem demo` to train and register a first one.", icon=":material/deployed_code:")
    st.stop()


def choose_family(place: "DeltaGenerator", none: "Callable[[], NoReturn]" = nothing_yet) -> str:
    """A drop-down list of the registered models, kept in the page's address.

    Args:
        place: Where the list is shown.
        none: Ends the page where no model is registered.

    Raises:
        GemError: MLflow is out of reach.
    """
    names = [family.name for family in queries.families()]
    if not names:
        none()
    with place:
        return choose_one("Model", names, key="model", default=names[0], help="A registered model in MLflow.")
