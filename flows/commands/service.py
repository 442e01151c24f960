"""``gem dashboard`` and ``gem doctor``: services and the state of this installation."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from flows.commands.runs import JsonOption
from flows.console import out, print_json
from gem_core.errors import GemError
from gem_core.settings import Settings

SHOWN_VERSIONS = ("torch", "transformers", "peft", "mteb", "lm-eval", "mlflow", "prefect", "ray", "streamlit")


def dashboard(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Where to listen, on loopback.")] = None,
) -> None:
    """Open the dashboard: versions side by side, and a place to try them. Ctrl-C ends it."""
    chosen = port or Settings().dashboard_port
    _refuse_used(chosen)
    spec = importlib.util.find_spec("dashboard")
    if spec is None or spec.origin is None:
        raise GemError("the dashboard is not installed: reinstall the platform with `make install`")
    page = Path(spec.origin).with_name("app.py")
    options = {
        "server.port": chosen,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    out().print(f"dashboard at http://127.0.0.1:{chosen} (Ctrl-C ends it)")
    status = subprocess.run([sys.executable, "-m", "streamlit", "run", str(page), *flags], check=False).returncode
    raise typer.Exit(status)


def doctor(json: JsonOption = False) -> None:
    """Check this installation and say what is wrong; exit status 1 if something is."""
    findings = list(_findings(Settings()))
    if json:
        print_json([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in findings])
    else:
        for name, ok, detail in findings:
            mark = Text("ok     ", style="green") if ok else Text("problem", style="red")
            out().print(mark, f"{name}: {detail}", soft_wrap=True)
    if not all(ok for _, ok, _ in findings):
        raise typer.Exit(1)


def _refuse_used(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise GemError(f"port {port} is in use: give another with --port, or end what listens there") from error


def _findings(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    yield "python", sys.version_info >= (3, 11), platform.python_version()
    for package in SHOWN_VERSIONS:
        try:
            yield package, True, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, False, "not installed: run `make install`"
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    yield "home", os.access(existing, os.W_OK), f"{home} (GEM_HOME)"
    free = shutil.disk_usage(existing).free / 2**30
    yield "disk", free >= 2, f"{free:.1f} GiB free, the demo needs 2"
    yield "tracking", True, settings.mlflow_uri
    yield "ray", True, settings.ray_address or "a local cluster is started when needed (GEM_RAY_ADDRESS names another)"
    yield "hub", True, os.environ.get("HF_ENDPOINT", "the libraries' default (HF_ENDPOINT names another)")


COMMANDS = (dashboard, doctor)
