"""Parts that more than one page shows."""

from typing import TYPE_CHECKING

import streamlit as st

from dashboard.wording import ALIAS_BADGES, TAG_COLOURS, VERDICT_BADGES, escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.elements.lib.column_types import ColumnConfig

    from gem_core.errors import GemError
    from gem_core.judging.gates import GateReport
    from gem_core.records.versions import Version


def unreadable(error: "GemError") -> None:
    """What is shown instead of records."""
    st.error(escaped(str(error)), title="The records cannot be read", icon=":material/cloud_off:")


def version_badges(version: "Version") -> str:
    """Its aliases and the verdict on it, as Markdown."""
    badges = [ALIAS_BADGES.get(alias, f":gray-badge[{escaped(alias)}]") for alias in version.aliases]
    return " ".join([*badges, VERDICT_BADGES.get(version.verdict or "", ":gray-badge[not judged]")])


def gate_cards(report: "GateReport | None") -> None:
    """What each gate found, in its own words."""
    if report is None:
        st.caption("This version has not been judged.")
        return
    if not report.results:
        st.caption("The recipe has no gates, so there was nothing to judge by.")
    for result in report.results:
        with st.container(border=True, gap="xsmall"):
            st.markdown(f"**{escaped(result.name)}** {VERDICT_BADGES[result.verdict]}")
            st.caption(escaped(result.reason))


def coloured_tags(title: str, words: "Sequence[str]", explanation: str | None = None) -> "ColumnConfig":
    """A column of words, each in its colour."""
    return st.column_config.MultiselectColumn(
        title, options=list(words), color=[TAG_COLOURS[word] for word in words], help=explanation
    )
