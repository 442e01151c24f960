"""The real server, looked at with a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from garden import NAME

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds; a busy machine imports torch slowly."""
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,900"
)


@pytest.fixture(scope="module")
def address(filled, tmp_path_factory):
    """The dashboard as ``gem dashboard`` starts it, on a free port and a registry of its own."""
    home = tmp_path_factory.mktemp("served")
    shutil.copy(filled.home / "mlflow.db", home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"GEM_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), *flags]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        _wait_until_healthy(port, server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)


def _wait_until_healthy(port: int, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.2)
        finally:
            connection.close()
    pytest.fail(f"the dashboard did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium with a profile of its own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    started = webdriver.Chrome(options, Service(driver))
    yield started
    started.quit()


def wait_until(browser, happened, what: str) -> None:
    """Until ``happened(browser)`` is true: the page is drawn part by part."""
    from selenium.common.exceptions import StaleElementReferenceException  # drawn anew while being read
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(browser, PATIENCE, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(happened, f"never came: {what}")


def wait_for(browser, text: str, where=None) -> None:
    """Until the page, or the part of it that ``where`` reads, says something."""
    wait_until(browser, lambda driver: text in (where or body)(driver), repr(text))


def charts(browser) -> int:
    """How many charts are drawn."""
    return len(browser.find_elements("css selector", "[data-testid='stVegaLiteChart'] .marks"))


def body(browser) -> str:
    """Every word that can be seen, except those in tables."""
    return browser.find_element("tag name", "body").text


def cells(browser) -> str:
    """The words of all tables: they are drawn on a canvas, with their content beside it for screen readers."""
    from selenium.webdriver.common.by import By

    tables = browser.find_elements(By.CSS_SELECTOR, "[data-testid='stDataFrame'] canvas table")
    return "\n".join(table.get_attribute("textContent") for table in tables)


def test_texts_are_embedded_with_two_versions(browser, address):
    """Also a link into the site as the first thing asked of a new server: the order of these tests matters."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(f"{address}/try?left=v1&right=v2")
    wait_for(browser, "Texts, one per line")
    assert "not found" not in body(browser)
    box = browser.find_element(By.TAG_NAME, "textarea")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("The old fox sleeps here.\nThe quick owl sleeps there.\nNothing of the kind")
    next(b for b in browser.find_elements(By.TAG_NAME, "button") if b.text.endswith("Compare")).click()
    wait_for(browser, "Where they disagree most")
    wait_until(browser, lambda driver: charts(driver) == 2, "two similarity charts")
    wait_for(browser, "Nothing of the kind", cells)
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("alone")
    next(b for b in browser.find_elements(By.TAG_NAME, "button") if b.text.endswith("Compare")).click()
    wait_for(browser, "add a second line")


def test_versions_and_their_changes_are_seen(browser, address):
    browser.get(address)
    wait_for(browser, "Recent runs")
    wait_for(browser, "embedding-gain")
    assert "v2 is the champion" in body(browser)
    assert "Traceback" not in body(browser)
    for word in ("v1", "v2", "v3", "v4", "champion", "failed", f"{NAME}-under-way", "running"):
        wait_for(browser, word, cells)
    assert "version=v4" in browser.current_url
    assert not [entry for entry in browser.get_log("browser") if "Uncaught" in entry["message"]]


def test_a_challenger_is_approved_by_hand(browser, address):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    patience = WebDriverWait(browser, 60, ignored_exceptions=[StaleElementReferenceException])

    def press(word: str, *, of: int) -> None:
        """The last button of this name, once there are so many: a page's parts appear one by one."""

        def named(_) -> list:
            buttons = [button for button in browser.find_elements(By.TAG_NAME, "button") if button.text.endswith(word)]
            return buttons if len(buttons) >= of else []

        patience.until(named)[-1].click()

    def write(selector: str, text: str) -> None:
        patience.until(lambda _: browser.find_elements(By.CSS_SELECTOR, selector))[0].send_keys(text)

    browser.get(f"{address}/promotion")
    wait_for(browser, "v4 waits for a decision")
    press("Approve", of=1)
    wait_for(browser, "v4 becomes the champion of garden in place of v2")
    write("input[aria-label='Your name']", "Ada")
    write("textarea[aria-label='Reason']", "I read fifty of them")
    press("Approve", of=2)  # the one in the dialog; what was typed is sent with it
    wait_for(browser, "v4 is the champion now; it was v2")
    wait_for(browser, "Nothing waits for a decision")
    wait_for(browser, "I read fifty of them", cells)
    browser.get(address)
    wait_for(browser, "v4 is the champion")
