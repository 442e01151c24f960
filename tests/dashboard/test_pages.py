"""The pages, run by Streamlit's own test runner on a real store."""

import socket
from pathlib import Path

import pytest
from garden import NAME, use
from streamlit.testing.v1 import AppTest

from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
TRY, PROMOTION = "screens/try_it.py", "screens/promotion.py"


def open_app(page: str | None = None, **address: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    for key, value in address.items():
        app.query_params[key] = value
    app.run()
    return app.switch_page(page).run() if page else app


def compare(app: AppTest, typed: str | None = None) -> AppTest:
    if typed is not None:
        app.text_area[0].set_value(typed)
    return app.button[0].click().run()


def text_of(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in [*app.title, *app.markdown, *app.caption, *app.info, *app.error])


def test_versions_stand_side_by_side_with_their_changes(store):
    app = open_app()
    assert not app.exception
    table = app.dataframe[0].value.set_index("version")
    assert table.index.tolist() == ["v4", "v3", "v2", "v1"]
    assert list(table.loc["v2", "aliases"]) == ["champion"]
    assert list(table.loc["v3", "verdict"]) == ["failed"]
    assert table.loc["v3", "embedding_change_base"] == pytest.approx(table.loc["v3", "embedding"] - 39.275)
    assert table.loc["v3", "embedding_change_champion"] > 0 > table.loc["v3", "language_change_champion"]
    assert table.loc["v2"].isna()["language_change_champion"]
    assert table.loc["v4"].isna()["embedding"]
    assert "**v2** is the champion" in text_of(app)


def test_a_version_shows_its_averages_gates_and_origin(store):
    app = open_app(version="v3")
    assert app.selectbox(key="version").value == "v3"
    values = {metric.label: metric.value for metric in app.metric[:4]}
    assert values["Embedding average"] == "70.6"
    assert values["Against the base"] == ":green[+31.4]"
    said = text_of(app)
    assert "**language\\-kept** :red-badge" in said
    assert "at least \\-1\\.00 is needed" in said
    assert f"models:/{NAME}/3".replace(":", "\\:") in said


def test_a_missing_score_is_said_not_guessed(store):
    app = open_app(version="v4")
    assert app.metric[0].value == "–"
    assert "its data could not be read" in text_of(app)


def test_unfinished_and_failed_runs_are_listed(store):
    runs = open_app().dataframe[-1].value
    states = {row.run: row.status[0] for row in runs.itertuples()}
    assert states[f"{NAME}-under-way"] == "running"
    assert states[f"{NAME}-out-of-memory"] == "failed"
    assert states[f"{NAME}-seed-1"] == "finished"
    assert dict(zip(runs["run"], runs["made"], strict=True))[f"{NAME}-seed-1"] == "v2"


def test_the_selection_is_kept_in_the_address(store):
    app = open_app()
    assert (app.query_params["model"], app.query_params["version"]) == (NAME, "v4")
    assert app.query_params["beside"] == ["base", "v2"]
    app.selectbox(key="version").set_value("v1").run()
    app.pills[0].set_value([]).run()
    assert app.query_params["version"] == "v1"
    again = open_app(**app.query_params)
    assert again.selectbox(key="version").value == "v1"
    assert again.pills[0].value == []


def test_what_is_shown_beside_a_version_can_be_chosen(store):
    app = open_app(version="v3", beside=["v1"])
    assert app.pills[0].value == ["v1"]
    app.pills[0].set_value(["base", "v1", "v2"]).run()
    assert not app.exception
    assert app.query_params["beside"] == ["base", "v2", "v1"]
    app.selectbox(key="version").set_value("v2").run()  # v2 is no longer beside itself
    assert app.pills[0].value == ["base", "v1"]


def test_an_address_that_names_nothing_shows_the_newest(store):
    app = open_app(model="gone", version="v99", beside=["v77"])
    assert not app.exception
    assert app.selectbox(key="version").value == "v4"


@pytest.mark.parametrize("page", [None, PROMOTION, TRY])
def test_without_versions_the_page_says_how_to_make_one(empty, page):
    app = open_app(page)
    assert not app.exception
    assert not app.error
    assert "gem demo" in text_of(app)
    assert not empty.exists(), "looking must leave no trace"


@pytest.mark.parametrize("page", [None, PROMOTION, TRY])
def test_a_registry_that_is_down_is_one_clear_error(tmp_path, monkeypatch, page):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use(monkeypatch, tmp_path, uri=f"http://127.0.0.1:{port}")
    app = open_app(page)
    assert not app.exception
    assert len(app.error) == 1
    assert "no MLflow server answers" in app.error[0].value.replace("\\", "")


def test_a_damaged_store_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to look at")
    use(monkeypatch, tmp_path)
    app = open_app()
    assert len(app.error) == 1
    assert "no SQLite database" in app.error[0].value


def test_a_version_that_another_program_registered_is_shown_without_scores(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path)
    client = Registry(Settings()).client
    run_id = Tracking(Settings().mlflow_uri).start_run("elsewhere", "by hand", {})
    client.create_registered_model("elsewhere")
    client.create_model_version("elsewhere", str(tmp_path / "nowhere"), run_id)
    app = open_app()
    assert not app.exception
    assert not app.error
    assert "No champion yet" in text_of(app)
    assert "no scores yet" in text_of(app)
    tried = compare(open_app(TRY))
    assert not tried.exception
    assert len(tried.error) == 1


def test_texts_are_embedded_by_two_models(store):
    app = open_app(TRY)
    assert (app.selectbox(key="left").value, app.selectbox(key="right").value) == ("base", "v2")
    assert not app.dataframe
    assert [said.value for said in app.markdown] == ["Type a few texts and see which of them two models find similar."]
    compare(app, "The old fox sleeps here.\nThe quick owl sleeps there.\nSomething else entirely")
    assert not app.exception
    assert not app.error
    pairs = app.dataframe[0].value
    assert len(pairs) == 3
    assert {"base", "v2", "Rank, base", "Rank, v2"} <= set(pairs.columns)
    assert pairs[["base", "v2"]].abs().max().max() <= 1
    assert (pairs["base"] - pairs["v2"]).abs().max() > 1e-3


def test_a_model_against_itself_is_pointed_out(store):
    app = open_app(TRY)
    app.selectbox(key="left").set_value("v2")
    compare(app)
    assert "the same model" in text_of(app)
    assert not app.error


@pytest.mark.parametrize(("typed", "message"), [("", "no text"), ("alone", "second line"), ("a\n" * 20, "at most 12")])
def test_texts_that_cannot_be_compared_are_one_clear_error(store, typed, message):
    app = compare(open_app(TRY), typed)
    assert not app.exception
    assert message in app.error[0].value
    assert not app.dataframe


def test_a_model_whose_files_are_gone_is_one_clear_error(tmp_path, filled, monkeypatch):
    import shutil

    home = tmp_path / "copy"
    shutil.copytree(filled.home, home)
    use(monkeypatch, home)
    version = Registry(Settings()).get(NAME, "2")
    here = Path(version.source.removeprefix("file://"))
    hidden = here.with_name("hidden")
    here.rename(hidden)
    try:
        app = compare(open_app(TRY))
        assert not app.exception
        assert len(app.error) == 1
        assert f"models:/{NAME}/2" in app.error[0].value.replace("\\", "")
    finally:
        hidden.rename(here)
