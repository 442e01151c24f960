import json
import os
import socket
import subprocess
import sys

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from gem_core import identity
from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.recipe import BaseModelSource
from gem_core.sources import hub
from gem_core.sources.models import ResolvedModel, kind_of, locate, resolve
from gem_core.sources.texts import PinnedSource, data_license

CARD = "---\nlicense: apache-2.0\n---\n# A model\n"


def write_model(folder, **config):
    """The files of a decoder, without the weights being any good."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "a", "tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
    (folder / "README.md").write_text(CARD)
    save_file({"weight": np.arange(4, dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def test_a_folder_is_pinned_by_its_content(model, settings):
    found = resolve(BaseModelSource(source=str(model)), settings)
    assert found.folder == model
    assert found.revision == found.digest == content_digest(model)
    assert found.license == "apache-2.0"
    assert ResolvedModel.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_changed_weight_is_another_model_and_a_changed_card_is_not(model, settings):
    before = resolve(BaseModelSource(source=str(model)), settings)
    (model / "README.md").write_text("no front matter")
    card = resolve(BaseModelSource(source=str(model)), settings)
    save_file({"weight": np.zeros(4, dtype=np.float32)}, model / "model.safetensors")
    weight = resolve(BaseModelSource(source=str(model)), settings)
    assert card.digest == before.digest != weight.digest
    assert card.license is None


def test_digests_of_large_folders_are_remembered_until_a_file_changes(model, settings, monkeypatch):
    monkeypatch.setattr(identity, "REMEMBER_DIGESTS_FROM", 0)
    digest = identity.folder_digest(model, settings)
    monkeypatch.setattr(identity, "content_digest", lambda folder: pytest.fail("hashed again"))
    assert identity.folder_digest(model, settings) == digest == content_digest(model)
    monkeypatch.setattr(identity, "content_digest", content_digest)
    (model / "config.json").write_text('{"architectures": ["MistralForCausalLM"]}')
    assert identity.folder_digest(model, settings) == content_digest(model) != digest


def remove(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()

    return change


def config(**content):
    return lambda folder: (folder / "config.json").write_text(json.dumps(content))


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unpadded(folder):
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


REFUSED = {
    "no config": (remove("config.json"), "has no config.json"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "config.json of .* is not valid JSON"),
    "list as config": (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
    "encoder": (config(architectures=["BertForMaskedLM"]), "not a decoder language model .*BertForMaskedLM"),
    "two-way head": (config(architectures=["BertLMHeadModel"], model_type="bert"), "not a decoder"),
    "encoder-decoder": (config(architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True), "not a decoder"),
    "nameless": (config(), "names no architecture"),
    "trained": (lambda folder: (folder / "gem.json").write_text("{}"), "already trained GEM model"),
    "no tokenizer": (remove("tokenizer.json"), "has no tokenizer"),
    "no padding": (unpadded, "neither a pad nor an eos token"),
    "pickled": (pickled, "only pickled weights .*convert it to safetensors"),
    "no weights": (remove("model.safetensors"), r"no \*.safetensors weights"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_gem_cannot_train_is_refused_in_one_line(model, settings, change, message):
    change(model)
    with pytest.raises(GemError, match=message) as refusal:
        resolve(BaseModelSource(source=str(model)), settings)
    assert "\n" not in str(refusal.value)


def test_a_tokenizer_class_may_bring_the_padding(model, settings):
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (model / "vocab.json").write_text('{"a": 0, "<|endoftext|>": 1}')
    (model / "merges.txt").write_text("")
    (model / "tokenizer.json").unlink()
    assert resolve(BaseModelSource(source=str(model)), settings).folder == model


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/folder", "does not exist"),
        ("sandbox:one", "write sandbox:SEED"),
        ("s3://", "no S3 address"),
        ("models:/name/1", "cannot be a base model"),
    ],
)
def test_a_source_that_names_nothing_is_refused(settings, source, message):
    with pytest.raises(GemError, match=message):
        resolve(BaseModelSource(source=source), settings)


def test_a_revision_of_a_folder_is_refused(model, settings):
    with pytest.raises(GemError, match="only means something for a hub model"):
        resolve(BaseModelSource(source=str(model), revision="main"), settings)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("sandbox:1", "sandbox"),
        ("s3://bucket/prefix", "s3"),
        ("models:/name@champion", "registry"),
        ("./here", "folder"),
        ("owner/name", "hub"),
        ("gpt2", "hub"),
    ],
)
def test_kinds_of_references(reference, kind):
    assert kind_of(reference) == kind


def test_an_existing_folder_wins_over_a_hub_id(tmp_path, monkeypatch, settings):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "owner" / "name")
    assert locate("owner/name", settings) == tmp_path / "owner" / "name"


def test_no_torch_and_no_mlflow_to_resolve(model):
    code = (
        "import sys; from gem_core.sources.models import locate; from gem_core.settings import Settings\n"
        f"locate({str(model)!r}, Settings())\n"
        "print(sorted({'torch', 'mlflow', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- S3 ---


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    for item in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=item["Key"])
    client.delete_bucket(Bucket="models")


def upload(client, folder, prefix):
    for path in folder.iterdir():
        client.upload_file(str(path), "models", f"{prefix}/{path.name}")


def test_a_prefix_is_the_same_model_as_its_folder(s3, model, settings):
    upload(s3, model, "team/base")
    s3.put_object(Bucket="models", Key="team/base/optimizer.bin", Body=b"not wanted")
    s3.put_object(Bucket="models", Key="team/base/sub/other.json", Body=b"{}")
    seen = []
    found = resolve(
        BaseModelSource(source="s3://models/team/base/"), settings, progress=lambda *what: seen.append(what)
    )
    assert found.digest == content_digest(model)
    assert found.license == "apache-2.0"
    assert seen[-1] == ("downloaded", 1.0)
    assert [share for _, share in seen] == sorted(share for _, share in seen)


def test_a_second_run_downloads_nothing_and_a_changed_object_is_another_model(s3, model, settings):
    upload(s3, model, "base")
    source = BaseModelSource(source="s3://models/base")
    first = resolve(source, settings)
    again = resolve(source, settings, progress=lambda *what: pytest.fail(f"downloads {what}"))
    assert again == first
    s3.put_object(Bucket="models", Key="base/config.json", Body=b'{"architectures": ["MistralForCausalLM"]}')
    changed = resolve(source, settings)
    assert changed.digest != first.digest
    assert content_digest(first.folder) == first.digest


def test_an_interrupted_download_goes_on(s3, model, settings):
    upload(s3, model, "base")

    class StopError(Exception):
        pass

    def stop(what, share):
        if share > 0:
            raise StopError

    source = BaseModelSource(source="s3://models/base")
    with pytest.raises(StopError):
        resolve(source, settings, progress=stop)
    kept = next((settings.home / "models" / "s3").glob("*.partial"))
    assert any(kept.iterdir())
    assert resolve(source, settings).digest == content_digest(model)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("source", "message"), [("s3://models/nothing", "nothing lies under"), ("s3://no-such-bucket/x", "S3 refuses")]
)
def test_what_is_not_in_s3_is_refused(s3, settings, source, message):
    with pytest.raises(GemError, match=message):
        resolve(BaseModelSource(source=source), settings)


def test_storage_that_does_not_answer_is_named(s3, settings, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(GemError, match="check AWS_ENDPOINT_URL"):
        resolve(BaseModelSource(source="s3://models/base"), settings)


# --- hub ---


@pytest.mark.parametrize("offline", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["unreachable", "offline"])
def test_a_hub_that_does_not_answer_is_named(tmp_path, offline):
    code = (
        "from gem_core.sources.models import locate; from gem_core.settings import Settings\n"
        "from gem_core.errors import GemError\n"
        "try: locate('owner/name', Settings())\n"
        "except GemError as error: print(error)"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "GEM_HOME": str(tmp_path), **offline}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert "the hub http://127.0.0.1:9 cannot be reached and model owner/name is not in the cache" in done.stdout


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache of the test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.hub
def test_a_hub_model_is_pinned_to_its_commit(cache, settings):
    seen = []
    found = resolve(BaseModelSource(source="gem-lab/english-12m"), settings, progress=lambda *what: seen.append(what))
    assert len(found.revision) == 40
    assert found.license == "other"
    assert seen[-1][1] == 1.0
    assert content_digest(found.folder) == found.digest
    pinned = resolve(BaseModelSource(source="gem-lab/english-12m", revision=found.revision), settings)
    assert pinned == found
    assert locate("gem-lab/english-12m", settings) == found.folder


@pytest.mark.hub
def test_what_others_put_into_the_shared_snapshot_is_not_the_model(cache, settings):
    found = resolve(BaseModelSource(source="gem-lab/english-12m"), settings)
    snapshot = next(cache.glob("models--*/snapshots/*"))
    (snapshot / "original").mkdir()
    (snapshot / "original" / "params.json").write_text("{}")
    (snapshot / "consolidated.safetensors").write_bytes(b"the same weights again")
    again = resolve(BaseModelSource(source="gem-lab/english-12m"), settings)
    assert again == found


@pytest.mark.hub
def test_links_are_mended_when_the_cache_was_emptied(cache, settings):
    found = resolve(BaseModelSource(source="gem-lab/english-12m"), settings)
    cache.rename(cache.with_name("gone"))
    assert not (found.folder / "model.safetensors").exists()
    assert resolve(BaseModelSource(source="gem-lab/english-12m"), settings) == found


@pytest.mark.hub
@pytest.mark.parametrize("name", ["gem-lab/no-such-model", "not a name", "a/b/c"])
def test_an_unknown_model_is_refused(cache, settings, name):
    with pytest.raises(GemError, match="was not found"):
        resolve(BaseModelSource(source=name), settings)


@pytest.mark.hub
def test_an_unsuitable_model_is_refused_before_its_weights_are_downloaded(cache, tmp_path):
    def refuse(folder, name):
        assert (folder / "config.json").is_file()
        assert not (folder / "model.safetensors").exists()
        raise GemError("no")

    with pytest.raises(GemError, match="no"):
        hub.fetch("gem-lab/english-12m", None, tmp_path / "links", check=refuse)
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.hub
def test_the_commit_of_a_data_set(cache):
    assert len(hub.data_commit("gem-lab/books-sentences", None)) == 40
    with pytest.raises(GemError, match="data set gem-lab/none was not found"):
        hub.data_commit("gem-lab/none", None)


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: mit", "mit"),
        ("license:\n- cc-by-4.0\n- mit", "cc-by-4.0, mit"),
        ("license: other\nlicense_name: house-rules", "house-rules"),
        ("configs:\n- config_name: default", None),
    ],
)
def test_the_licence_of_a_data_set_is_read_from_its_card_in_the_cache(tmp_path, monkeypatch, front, expected):
    commit = "e" * 40
    card = tmp_path / "datasets--owner--data" / "snapshots" / commit / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text(f"---\n{front}\n---\n# Rows\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = PinnedSource("owner/data", commit, "train", "text", None)
    assert data_license(source) == expected


def test_a_licence_that_cannot_be_had_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub.data_license("owner/data", "e" * 40) is None
    assert "the licence of owner/data is not known" in caplog.text
    for local in ("sandbox:1", "rows.jsonl"):
        assert data_license(PinnedSource(local, "f" * 64, "train", "text", None)) is None
