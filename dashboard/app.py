"""The dashboard's navigation, and nothing else: each page is one file under ``screens/``.

The folder is not called ``pages``: Streamlit takes a folder of that name as its older kind of navigation until this
script has run once, and a link to a page would not be found when it is the first thing asked of a new server.

Started by ``gem dashboard``, or by ``streamlit run dashboard/app.py``.
"""

import streamlit as st

st.set_page_config(page_title="GEM Platform", page_icon=":material/diamond:", layout="wide")
st.logo(":material/diamond:", size="large")
st.navigation(
    [
        st.Page(
            "screens/compare.py",
            title="Versions",
            icon=":material/leaderboard:",
            url_path="versions",
            default=True,
            help="Every trained version beside its base model and the champion: scores, verdicts, recent runs.",
        ),
        st.Page(
            "screens/promotion.py",
            title="Promotion",
            icon=":material/trophy:",
            url_path="promotion",
            help="The challenger that waits for a decision, the way back to an earlier champion, and the log.",
        ),
        st.Page(
            "screens/try_it.py",
            title="Try it",
            icon=":material/compare_arrows:",
            url_path="try",
            help="Embed your own texts with two models and see which they find similar.",
        ),
    ],
    position="top",
).run()
