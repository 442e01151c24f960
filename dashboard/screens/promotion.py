"""The page "Promotion": who is champion, the challenger that waits for a person, the way back, and the log."""

from typing import TYPE_CHECKING, get_args

import streamlit as st

from dashboard import actions, charts, confirmation, queries, tables
from dashboard.actions import Action
from dashboard.family import choose_family
from dashboard.panels import coloured_tags, gate_cards, unreadable, version_badges
from dashboard.wording import ago, coloured_change, escaped, points
from gem_core.errors import GemError
from gem_core.records import promotion_log

if TYPE_CHECKING:
    from gem_core.records.promotion_log import Move
    from gem_core.records.versions import Version

ACTIONS: tuple[str, ...] = get_args(promotion_log.Action)


def page() -> None:
    """The whole page, top to bottom; stops early where there is nothing to show."""
    heading, chooser = st.columns([3, 1], vertical_alignment="bottom")
    heading.title("Promotion", anchor=False)
    try:
        name = choose_family(chooser)
        versions, moves = queries.versions(name), queries.history(name)
        confirmation.say_what_was_done()
        st.markdown(_summary(versions, moves))
        _challenger(versions, moves)
        _way_back(name, versions, moves)
        st.subheader("Log", anchor=False)
        _log(name, moves)
        confirmation.show()
    except GemError as error:
        unreadable(error)
        st.stop()


def _summary(versions: "list[Version]", moves: "list[Move]") -> str:
    """Who is champion since when and by whom; who runs in shadow."""
    champion, shadow = tables.champion_of(versions), tables.holder_of(versions, "shadow")
    if champion is None:
        said = "No champion yet: no version has been promoted."
    else:
        crowned = promotion_log.last_of(moves, promotion_log.CHAMPION_ACTIONS)
        by = f"; {escaped(crowned.who)} made it champion {ago(crowned.when)}" if crowned else ""
        said = f"**{tables.label(champion)}** is the champion{by}."
    if shadow is not None:
        said += f" **{tables.label(shadow)}** runs in shadow, until `gem promote {shadow.name} {shadow.version}`."
    return said


def _challenger(versions: "list[Version]", moves: "list[Move]") -> None:
    """The version that waits: what was found of it, and the two buttons."""
    challenger, champion = tables.holder_of(versions, "challenger"), tables.champion_of(versions)
    if challenger is None:
        with st.container(border=True):
            st.markdown("### :material/done_all: Nothing waits for a decision")
            st.caption(
                "A version comes here when its recipe says `promotion: manual`, or when a gate cannot tell and asks "
                "for a person."
            )
        return
    with st.container(border=True):
        waiting = promotion_log.last_of(moves, ("challenge",), challenger.version)
        title, buttons = st.columns([3, 2], vertical_alignment="center")
        title.subheader(f"{tables.label(challenger)} waits for a decision", anchor=False)
        title.markdown(version_badges(challenger))
        if waiting is None:
            st.warning(
                "Its alias was set by other means than this platform, so there is no report to decide by. "
                f"`gem promote {challenger.name} {challenger.version}` promotes it on your own judgement.",
                icon=":material/warning:",
            )
            return
        st.caption(f"Put forward {ago(waiting.when)} by {escaped(waiting.who)}: {escaped(waiting.reason)}")
        late = _too_late(waiting, champion)
        with buttons:
            _decision_buttons(challenger, champion, waiting, late=late is not None)
        if late is not None:
            st.warning(late, icon=":material/warning:")
        _averages(challenger, champion)
        wide, narrow = st.columns([3, 2], gap="large")
        with wide:
            _differences(challenger, champion)
        with narrow:
            st.markdown("### What the quality gates say")
            gate_cards(queries.report_behind(challenger.name, waiting))
            st.page_link(
                "screens/compare.py",
                label=f"All scores and the origin of {tables.label(challenger)}",
                icon=":material/leaderboard:",
                query_params={"model": challenger.name, "version": tables.label(challenger)},
            )


def _too_late(waiting: "Move", champion: "Version | None") -> str | None:
    """Why an approval would be refused; None when it would not."""
    reigning = champion and champion.version
    if reigning == waiting.from_version:
        return None
    judged = f"v{waiting.from_version}" if waiting.from_version else "no champion"
    now = f"v{reigning} is champion" if reigning else "there is no champion"
    return (
        f"It was judged against {judged}, and by now {now}: it cannot be approved any more. "
        "Run its recipe again, and it is compared with the new champion."
    )


def _decision_buttons(challenger: "Version", champion: "Version | None", waiting: "Move", *, late: bool) -> None:
    """Approve and decline; where this dashboard only reads, how it is done elsewhere."""
    name, number = challenger.name, challenger.version
    if not actions.allowed():
        st.caption(
            f"This dashboard only reads. Decide with `gem approve {name} {number}` or `gem decline {name} {number}`."
        )
        return
    reigning = champion and champion.version
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Decline", icon=":material/close:", key="decline"):
            confirmation.ask(Action("decline", name, number, reigning, waiting.hash))
        if st.button("Approve", icon=":material/check:", key="approve", type="primary", disabled=late):
            confirmation.ask(Action("approve", name, number, reigning, waiting.hash))


def _averages(challenger: "Version", champion: "Version | None") -> None:
    """The averages of both kinds beside the champion's and the base's."""
    for kind, card in zip(tables.KINDS, st.columns(2), strict=True):
        with card.container(horizontal=True):
            st.metric(f"{kind.capitalize()} average", points(tables.average(challenger.scores, kind)))
            over = tables.against_champion(challenger, champion, kind)
            st.metric("Against the champion", coloured_change(over))
            gain = tables.difference(challenger.scores, challenger.baseline, kind)
            st.metric("Against its base", coloured_change(gain))


def _differences(challenger: "Version", champion: "Version | None") -> None:
    """Task by task against the champion; against its own base where nobody reigns."""
    second = tables.label(challenger)
    if challenger.limited:
        st.caption(f"Measured on a part of their items only: {', '.join(map(escaped, challenger.limited))}.")
    if champion is None:
        first, said, reference, rows = "the base", "its base (there is no champion)", challenger.baseline, ()
    else:
        first, reference = tables.label(champion), champion.scores
        said = f"the champion, {first}"
        rows = queries.comparison(champion, challenger).rows
    table = tables.difference_table(challenger, reference, rows)
    st.markdown(f"### Task by task against {said}")
    if table.empty:
        st.caption("There is no task that both were measured on.")
        return
    known = table["low"].notna().any()
    st.caption(
        "A bar is the interval of a change. Green, red: the items show it; grey: it may be chance; blue: no interval."
        if known
        else "Intervals need the record of every item, which this machine has not: `gem compare` where it was measured."
    )
    st.altair_chart(
        charts.difference_chart(table, first, second),
        width="stretch",
        alt=f"Change of {second} against {first} on each task",
    )


def _way_back(name: str, versions: "list[Version]", moves: "list[Move]") -> None:
    """Give the alias back to an earlier champion, or to a named version; folded away until someone asks."""
    champion, before = tables.champion_of(versions), promotion_log.reigns(moves)[:-1]
    others = [tables.label(version) for version in versions if version is not champion]
    if champion is None or not others:
        return
    with st.expander("Roll the champion back", icon=":material/undo:"):
        if not actions.allowed():
            st.caption(f"This dashboard only reads. Use `gem rollback {name} --reason …`.")
            return
        st.markdown("When the champion disappoints, the alias goes back at once; every version stays registered.")
        left, right = st.columns([1, 3], vertical_alignment="bottom")
        previous = f"v{before[-1]}" if before and f"v{before[-1]}" in others else others[0]
        to = left.selectbox(
            "Back to",
            others,
            index=others.index(previous),
            format_func=lambda one: f"{one}, the champion before" if before and one == f"v{before[-1]}" else one,
        )
        if right.button("Roll back", icon=":material/undo:", key="rollback"):
            confirmation.ask(Action("rollback", name, to.removeprefix("v"), champion.version))


def _log(name: str, moves: "list[Move]") -> None:
    """Every move, and whether the log is whole."""
    broken = promotion_log.broken_link(moves)
    if broken is not None:
        st.error(
            f"The log is damaged: {escaped(broken)}. Nothing can be moved until a person has looked at it.",
            icon=":material/link_off:",
        )
    else:
        st.caption(
            f":material/link: {len(moves)} moves, each with the hash of the one before: none is missing or changed. "
            f"`gem verify-log {name}` also checks reports and aliases."
        )
    column = st.column_config
    st.dataframe(
        tables.move_table(moves),
        hide_index=True,
        width="stretch",
        height="content" if len(moves) <= 10 else 387,
        column_config={
            "number": column.NumberColumn("No.", width="small"),
            "when": column.DatetimeColumn("When", format="D MMM YYYY, HH:mm"),
            "action": coloured_tags("What", ACTIONS),
            "version": column.TextColumn("Version", width="small"),
            "champion": column.TextColumn("Champion then", width="small", help="After the move."),
            "who": column.TextColumn("Who", width="medium"),
            "reason": column.TextColumn("Why", width="large"),
        },
    )


page()
