"""The step between a button and what it does: what will happen, who wants it, and why.

It is kept in the session, not in the run of the page that opened it, so that it stays open when the page is drawn anew.
"""

from typing import TYPE_CHECKING

import streamlit as st

from dashboard import actions
from dashboard.wording import escaped
from gem_core.errors import GemError

if TYPE_CHECKING:
    from dashboard.actions import Action
    from gem_core.records.promotion_log import Move

ASKED = "asked"  # the action whose confirmation is open
DONE = "done"  # what was done last, to be said once
OPERATOR = "operator"  # the name somebody gave, so that the next action need not ask for it again


def ask(action: "Action") -> None:
    """Have it confirmed before it is done."""
    st.session_state[ASKED] = action


def say_what_was_done() -> None:
    """Once, after it was done."""
    if DONE in st.session_state:
        st.success(escaped(st.session_state.pop(DONE)), icon=":material/check_circle:")


def show() -> None:
    """Open the confirmation that was asked for, if one was. The last thing of a page: only one can be open."""
    action: Action | None = st.session_state.get(ASKED)
    if action is None:
        return
    title, consequence, button = _words(action)

    @st.dialog(title, on_dismiss=_forget_question)
    def form() -> None:
        st.markdown(consequence)
        with st.form("signature", border=False, enter_to_submit=False):
            who = st.text_input("Your name", st.session_state.get(OPERATOR, ""), max_chars=80)
            reason = st.text_area("Reason", placeholder="What convinced you?", help="Kept in the log for good.")
            if not st.form_submit_button(button, type="primary", width="stretch"):
                return
        try:
            move = actions.perform(action, who, reason)
        except GemError as error:
            st.error(escaped(str(error)), icon=":material/block:")
            return
        st.session_state[OPERATOR] = who
        st.session_state[DONE] = _done(action, move)
        _forget_question()
        st.rerun()

    form()


def _forget_question() -> None:
    st.session_state.pop(ASKED, None)


def _words(action: "Action") -> tuple[str, str, str]:
    """Title, consequence and button of a confirmation."""
    version, name = f"v{action.version}", escaped(action.name)
    place = f"in place of **v{action.champion}**" if action.champion else "as the first one"
    becomes = f"**{version}** becomes the champion of **{name}** {place}."
    if action.kind == "approve":
        return f"Approve {version}", f"{becomes} Whoever asks for the champion gets it from then on.", "Approve"
    if action.kind == "decline":
        said = f"**{version}** waits no more, and stays registered. The champion of **{name}** stays who it is."
        return f"Decline {version}", said, "Decline"
    return f"Roll back to {version}", f"{becomes} v{action.champion} stays registered.", "Roll back"


def _done(action: "Action", move: "Move") -> str:
    """What was done, in a sentence."""
    if action.kind == "decline":
        return f"v{action.version} was declined. It is move {move.number} of the log."
    was = f"v{move.from_version}" if move.from_version else "nobody"
    return f"v{action.version} is the champion now; it was {was}. It is move {move.number} of the log."
