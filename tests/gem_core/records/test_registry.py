import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from safetensors.numpy import save_file

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.records import model_files
from gem_core.records.lineage import Lineage
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings
from gem_core.sources.models import locate

LINEAGE = Lineage(
    base_model="owner/base",
    base_revision="c" * 40,
    base_digest="b" * 64,
    data_digest="d" * 64,
    recipe={"name": "x", "training": {"steps": 1}},
    recipe_digest="r" * 64,
    data_sources=({"source": "owner/data", "revision": "e" * 40, "license": "mit"},),
    worker_seconds=12.5,
)


@pytest.fixture
def run_id(store, request):
    return Tracking(store.mlflow_uri).start_run("runs", request.node.name, {})


@pytest.fixture
def name(request):
    return request.node.name.split("[")[0].replace("_", "-")[:60]


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({"weight": np.ones(100, np.float32)}, folder / "model.safetensors")
    (folder / "sub" / "more.json").write_text("[]")
    (folder / "README.md").write_text("# card")
    return folder


def change(model):
    (model / "config.json").write_text(f'{{"at": {time.time_ns()}}}')
    return model


def test_a_version_comes_back_as_it_was_registered(registry, name, model, run_id):
    made = register(
        registry, name, model, run_id, LINEAGE, who="tests", scores={"embedding": 50.5}, baseline={"embedding": 30.0}
    )
    assert (made.version, made.digest, made.run_id) == ("1", content_digest(model), run_id)
    assert (made.scores, made.baseline) == ({"embedding": 50.5}, {"embedding": 30.0})
    assert made.lineage == LINEAGE
    assert (made.aliases, made.verdict, made.report) == ((), None, None)
    assert registry.get(name, "1") == registry.get(name, "latest") == made
    assert registry.versions(name) == [made]
    assert name in [family.name for family in registry.models()]


def test_the_same_content_is_the_same_version(registry, name, model, run_id):
    first = register(registry, name, model, run_id, LINEAGE, who="tests")
    again = register(registry, name, model, run_id, LINEAGE, who="tests", scores={"language": 1.0})
    assert (again.version, again.scores) == (first.version, {"language": 1.0})
    assert [move.action for move in Championship(registry, name).history()] == ["register"]
    second = register(registry, name, change(model), run_id, LINEAGE, who="tests")
    assert (second.version, second.source != first.source) == ("2", True)
    assert [version.version for version in registry.versions(name)] == ["2", "1"]
    assert content_digest(registry.download(name, "1")) == first.digest
    assert content_digest(registry.download(name, "2")) == second.digest


def test_every_way_of_naming_a_version(registry, store, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    Championship(registry, name).promote("latest", Grounds("tests", "first"), expected=None)
    Championship(registry, name).challenge("1", Grounds("tests", "again"), expected="1")
    assert registry.get(name, "champion") == registry.get(name, "challenger") == registry.champion(name)
    folder = registry.download(name, "1")
    assert content_digest(folder) == content_digest(model)
    assert (folder / "README.md").read_text() == "# card"
    for reference in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/latest"):
        assert registry.download_uri(reference) == folder == locate(reference, store)
    assert registry.get(name, "1").reference == f"models:/{name}/1"


def test_a_verdict_is_kept_with_its_report(registry, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    registry.record_scores(name, "1", {"embedding": 1.0}, {"embedding": 2.0})
    registry.record_report(name, "1", {"verdict": "fail", "results": [{"difference": -1.0}]})
    registry.describe(name, "1", "# A card")
    found = registry.get(name, "1")
    assert (found.scores, found.baseline, found.verdict) == ({"embedding": 1.0}, {"embedding": 2.0}, "fail")
    assert found.report["results"][0]["difference"] == -1.0


def test_a_quick_look_is_marked_as_one(registry, name, model, run_id):
    measured = {"language": 60.0, "embedding": 50.0}
    marked = {"scores": measured, "baseline": measured, "limited": ("language",)}
    assert register(registry, name, model, run_id, LINEAGE, who="tests", **marked).limited == ("language",)
    registry.record_scores(name, "1", measured, measured)
    assert registry.get(name, "1").limited == ()


def test_a_report_longer_than_a_tag_is_the_versions_all_the_same(registry, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    report = {"verdict": "pass", "results": [{"name": f"gate-{n}", "reason": "x" * 1000} for n in range(200)]}
    registry.record_report(name, "1", report)
    found = registry.get(name, "1")
    assert (found.verdict, found.report) == ("pass", report)


def test_a_report_that_an_earlier_release_wrote_is_read(registry, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    registry.client.set_model_version_tag(name, "1", "gem.report", '{"verdict": "fail", "results": []}')
    assert registry.get(name, "1").report == {"verdict": "fail", "results": []}


def test_a_card_is_the_description_and_lies_whole_beside_the_weights(registry, name, model, run_id):
    version = register(registry, name, model, run_id, LINEAGE, who="tests")
    card = "# A card\n" + "x" * model_files.DESCRIPTION_LIMIT
    registry.describe(name, "1", card)
    shown = registry.client.get_model_version(name, "1").description
    assert len(shown) == model_files.DESCRIPTION_LIMIT
    assert shown.startswith("# A card")
    folder = registry.download(name, "1")
    assert (folder / "README.md").read_text() == card
    assert content_digest(folder) == version.digest


def test_versions_are_found_by_their_lineage(registry, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    tags = registry.client.get_model_version(name, "1").tags
    assert (tags["gem.base_model"], tags["gem.worker_seconds"], "gem.image" in tags) == ("owner/base", "12.5", False)
    query = f"name='{name}' and tags.`gem.base_digest`='{LINEAGE.base_digest}'"
    assert [found.version for found in registry.client.search_model_versions(query)] == [1]


def test_a_damaged_or_changed_folder_is_not_registered(registry, name, model, run_id):
    trained = content_digest(model)
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(GemError, match="is damaged"):
        register(registry, name, model, run_id, LINEAGE, who="tests")
    weights.write_bytes(whole[:-4] + bytes(4))  # as long as it should be
    with pytest.raises(GemError, match=f"was changed since it was trained .*not {trained[:12]}"):
        register(registry, name, model, run_id, LINEAGE, who="tests", digest=trained)
    assert all(family.name != name for family in registry.models())


@pytest.mark.parametrize("bad", ["", "Upper", "a/b", "a b", "1a", "a:b", "x" * 64])
def test_a_name_that_would_not_do_is_refused(registry, model, run_id, bad):
    with pytest.raises(GemError, match="cannot be a model's name"):
        register(registry, bad, model, run_id, LINEAGE, who="tests")


def test_what_is_not_there_is_refused_with_what_is(registry, name, model, run_id):
    register(registry, name, model, run_id, LINEAGE, who="tests")
    with pytest.raises(GemError, match="has no version or alias '7'; it has: 1"):
        registry.get(name, "7")
    with pytest.raises(GemError, match=f"did you mean .*{name}"):
        registry.versions(name[:-1])
    with pytest.raises(GemError, match="no version or alias 'champion'"):
        registry.download_uri(f"models:/{name}@champion")
    for malformed in ("models:/", f"models:/{name}", f"models:/{name}/one", f"models:/{name}/1/model"):
        with pytest.raises(GemError, match="write models:/NAME/VERSION"):
            registry.download_uri(malformed)
    assert registry.champion("never-heard-of") is None


def test_a_registry_without_models_says_so(tmp_path):
    registry = Registry(Settings(home=tmp_path, tracking_uri=None))
    assert registry.models() == []
    with pytest.raises(GemError, match="none yet"):
        registry.versions("any")


def test_files_that_were_changed_are_refused(registry, name, model, run_id):
    version = register(registry, name, model, run_id, LINEAGE, who="tests")
    stored = model_files.local_path(version.source)
    (stored / "config.json").write_text('{"changed": true}')
    with pytest.raises(GemError, match="are not those that were registered"):
        registry.download(name, "1")
    shutil.rmtree(stored)
    with pytest.raises(GemError, match="is its store on another machine"):
        registry.download(name, "1")


def test_a_copy_that_was_interrupted_is_made_again(registry, name, model, run_id, store):
    root = model_files.local_path(Tracking(store.mlflow_uri).run(run_id).artifact_uri)
    (root / "model").mkdir(parents=True)
    (root / "model" / "model.safetensors").write_bytes(bytes(10))
    (root / "model" / "left-over.json").write_text("{}")
    version = register(registry, name, model, run_id, LINEAGE, who="tests")
    assert content_digest(registry.download(name, version.version)) == content_digest(model)


def test_nothing_is_registered_when_the_files_cannot_be_stored(registry, name, model, run_id, store):
    root = model_files.local_path(Tracking(store.mlflow_uri).run(run_id).artifact_uri)
    root.parent.mkdir(parents=True, exist_ok=True)
    root.write_text("a file where the folder should be")
    with pytest.raises(GemError, match=r"cannot be stored .* free some space"):
        register(registry, name, model, run_id, LINEAGE, who="tests")
    assert registry.versions(name) == []
    root.unlink()
    assert register(registry, name, model, run_id, LINEAGE, who="tests").version == "1"


def test_an_unknown_run_registers_nothing(registry, name, model):
    with pytest.raises(GemError, match="not found"):
        register(registry, name, model, "0" * 32, LINEAGE, who="tests")
    assert registry.versions(name) == []


def test_versions_of_other_programs_are_read_too(registry, name, run_id):
    registry.client.create_registered_model(name)
    registry.client.create_model_version(name, "/nowhere", run_id)
    found = registry.get(name, "1")
    assert (found.digest, found.lineage, found.scores) == ("", None, {})


def test_tags_that_were_changed_cost_a_version_what_they_said_and_no_more(registry, name, model, run_id, caplog):
    register(registry, name, model, run_id, LINEAGE, who="tests", scores={"embedding": 50.5})
    for tag, text in (("lineage", '{"base_model": 1}'), ("scores", "see the wiki"), ("report", "[]")):
        registry.client.set_model_version_tag(name, "1", f"gem.{tag}", text)
    found = registry.get(name, "1")
    assert (found.lineage, found.scores, found.report) == (None, {}, None)
    assert found.digest == content_digest(model)
    assert "gem.lineage" in caplog.text


@pytest.mark.slow
def test_the_same_through_a_server(tmp_path, model):
    """Over HTTP, with artifacts handed out by the server, as jobs on other machines see it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/kept"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        wait_for(f"{uri}/health", server)
        settings = Settings(home=tmp_path / "home", tracking_uri=uri)
        tracking, registry = Tracking(uri), Registry(settings)
        run_id = tracking.start_run("remote", "run", {"gem.run_key": "k"})
        tracking.log_steps(run_id, [(1, {"loss": 1.0})])
        made = register(registry, "remote", model, run_id, LINEAGE, who="tests", scores={"embedding": 1.0})
        assert register(registry, "remote", model, run_id, LINEAGE, who="tests") == made
        assert Championship(registry, "remote").promote("1", Grounds("tests", "first"), expected=None).to_version == "1"
        assert tracking.run(run_id).metrics == {"loss": 1.0}
        folder = registry.download("remote", "champion")
        assert folder.is_relative_to(tmp_path / "home")
        assert content_digest(folder) == content_digest(model)
        assert registry.download("remote", "1") == folder
        (folder / "config.json").write_text("damaged")
        with pytest.raises(GemError, match="are not those that were registered"):
            registry.download("remote", "1")
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)
    with pytest.raises(GemError, match="no MLflow server answers"):
        Registry(settings).models()


def wait_for(url, process, seconds=120):
    for _ in range(seconds * 5):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server on loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer")
