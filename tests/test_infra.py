"""What can be known of infra/ without a container engine: names that resolve, options that the locked tools have."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
TOOLS = {name: service for name, service in SERVICES.items() if "build" in service and "entrypoint" in service}


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_depends_on_is_there(name: str) -> None:
    assert set(SERVICES[name].get("depends_on", ())) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.split(":")[0]
        assert (INFRA / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_nodes_share_what_a_base_of_the_hub_links_to() -> None:
    (mount,) = {volume for volume in COMPOSE["x-gem"]["volumes"] if volume.startswith("home:")}
    for name in ("gem", "ray-head", "dashboard"):
        assert SERVICES[name]["environment"]["HF_HOME"].startswith(f"{mount.split(':')[1]}/")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_every_variable_has_an_example() -> None:
    named = set(re.findall(r"(?<!\$)\$\{(\w+)", (INFRA / "docker-compose.yaml").read_text(encoding="utf-8")))
    examples = re.findall(r"^(\w+)=", (INFRA / ".env.example").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert named == set(examples)


def test_urls_inside_point_to_services_and_their_ports() -> None:
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    urls = {url for environment in environments for url in environment.values() if url.startswith("http://")}
    hosts = {url.removeprefix("http://").split("/")[0].split(":")[0] for url in urls}
    assert hosts == {"minio", "mlflow", "prefect", "ray-head"}


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    lines = re.findall(r"^COPY (.+) \S+$", (INFRA / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((ROOT / name).exists() for name in copied)
    assert copied == {line[1:] for line in ignored if line.startswith("!")}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOOLS)
def test_the_locked_tools_have_the_options_that_a_service_gives(name: str) -> None:
    tool, *subcommand = (part for part in TOOLS[name]["entrypoint"] if not part.endswith(".py"))
    given = {part.split("=")[0] for part in TOOLS[name]["command"]}
    command = [str(Path(sys.executable).with_name(tool)), *subcommand, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert given <= set(re.findall(r"--[a-z][a-zA-Z.-]+", text))
