"""What the project says of itself is so: commands, links, lock, pages."""

import contextlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from flows import environment

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("infra/*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Every file of the repository; none outside a checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    """Every tracked file that is text."""
    for path in tracked():
        with contextlib.suppress(UnicodeDecodeError):
            yield path, path.read_text(encoding="utf-8")


def lock() -> dict[str, list[Requirement]]:
    """The pins of requirements.lock by name; several where platforms differ."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.lstrip().startswith("#"):
            pin = Requirement(line)
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def pinned_version(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


def code(text: str) -> str:
    """The code of a page: indented or fenced blocks and spans."""
    blocks = re.findall(r"^    .+$", text, flags=re.MULTILINE) + re.findall(r"```.*?```", text, flags=re.DOTALL)
    return "\n".join(blocks + re.findall(r"`[^`\n]+`", text))


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    pins = lock()
    for requirement in map(Requirement, wanted):
        versions = [pinned_version(pin) for pin in pins[canonicalize_name(requirement.name)]]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_lock_is_closed_over_the_dependencies_of_what_it_pins() -> None:
    pins = lock()
    here = {name for name, several in pins.items() if any(not pin.marker or pin.marker.evaluate() for pin in several)}
    for name in here:
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in here, f"{name} needs {requirement}"


def test_the_lock_names_no_registry_no_path_and_no_cuda_package() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|@ |--(index|extra-index|find-links|trusted)|\+cpu", text)
    assert not [name for name in lock() if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_this_environment_is_the_locked_one() -> None:
    for name, several in lock().items():
        for pin in several:
            if not pin.marker or pin.marker.evaluate():
                installed = Version(metadata.version(name))
                assert installed.public == str(pinned_version(pin)), f"{name}: run `make install`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_resolves(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_command_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", code(page.read_text(encoding="utf-8")))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_gem_command_of_a_page_exists(page: Path) -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^#+ `gem (.+)`$", commands, flags=re.MULTILINE))
    said = re.findall(
        r"(?:^|[`\s])gem ([a-z]+(?:-[a-z]+)*(?: (?:list|show|validate)\b)?)", code(page.read_text(encoding="utf-8"))
    )
    assert set(said) <= known | {"command"}  # figures speak of the gem command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_that_a_page_gives_to_gem_exists(page: Path) -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^#+ `gem (.+?)`$(.+?)(?=^#|\Z)", commands, flags=re.MULTILINE | re.DOTALL))
    for line in code(page.read_text(encoding="utf-8")).splitlines():
        called = re.search(r"\bgem ((?:recipe )?[a-z]+(?:-[a-z]+)*)\b(.*)", line.split(" #")[0])
        if called and called[1] in sections:
            given = set(re.findall(r"(?<!\S)--[a-z-]+", called[2]))
            assert given <= set(re.findall(r"--[a-z-]+", sections[called[1]])), line


def test_the_readme_names_every_command() -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    readme = code((ROOT / "README.md").read_text(encoding="utf-8"))
    assert all(f"gem {name}" in readme for name in re.findall(r"^#+ `gem (.+)`$", commands, flags=re.MULTILINE))


def test_the_page_of_commands_is_what_the_command_says() -> None:
    written = subprocess.run(
        [sys.executable, "-m", "typer", "flows.cli", "utils", "docs", "--name", "gem", "--title", "The gem command"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8").strip() == written.strip(), "run `make docs`"


def test_make_lists_every_target_that_people_call() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)
    assert phony
    assert set(re.findall(r"make ([a-z]+)", listed)) == set(phony[1].split())


@pytest.mark.parametrize("file", ["Makefile", "infra/Dockerfile"])
def test_analytics_are_off_wherever_tools_are_started(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for name in environment.NO_ANALYTICS:
        assert re.search(rf"\b{name} ?:?= ?\w", text), f"{file} does not set {name}"


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    personal = re.compile(r"(?<![\w.$}])/(?:root|Users|home/(?!gem\b)\w+|work|workspace|mnt|srv)/\w+")
    found = {path: personal.findall(text) for path, text in texts() if path != Path(__file__)}
    assert not {path.name: hits for path, hits in found.items() if hits}


def test_no_file_is_large() -> None:
    assert not [path.name for path in tracked() if path.stat().st_size > 2**20]


def test_the_licence_is_the_one_that_the_project_declares() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_an_old_python_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    arguments = ["make", "--no-print-directory", "install", f"PYTHON={old}", f"VENV={tmp_path / 'none'}"]
    refused = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert refused.stderr.splitlines()[0].startswith("GEM Platform needs Python 3.11 or newer")
    assert not (tmp_path / "none").exists()
