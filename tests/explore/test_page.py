"""The explorer's page, without a browser and in one."""

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from overlap_learning.cli import main

pytest.importorskip("bokeh")
from bokeh.document import Document

from overlap_learning.explore.page import Page

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


def opened(query):
    """The page of an address, drawn, and what does what the server does next."""
    document = Document()
    page = Page(document, query)

    def go_on():
        while document.session_callbacks:
            callback = document.session_callbacks[0]
            document.callbacks.remove_session_callback(callback)
            callback.callback()

    page.draw()
    go_on()
    return document.get_model_by_name, go_on


def test_a_move_redraws_and_what_is_infeasible_goes_to_the_end_of_its_slider():
    find, go_on = opened("")
    before, slider = find("loss_lines").data["ys"][0], find("a_zu")
    # As from a browser that does not know of the ends.
    slider.value = 7.0
    go_on()
    assert slider.value == slider.end < 1
    assert (find("loss_lines").data["ys"][0] != before).any()
    assert find("a_vu").end < 0.91
    assert "zu=" + str(slider.end) in find("program").text
    assert find("address").value.endswith(f"zu:{slider.end}")
    find("a_zu").value = 0.25
    go_on()
    assert find("address").value == ""


def test_a_damaged_address_opens_the_default_and_says_so():
    find, go_on = opened("rank=<b>")
    assert "rank must be one of 1, 2, 3, and is &#x27;&lt;b&gt;&#x27;" in find("notice").text
    assert find("notice").visible
    assert find("address").value == ""
    find("rank").value = "2"
    go_on()
    assert not find("notice").visible
    assert find("a_zu2").value == 0.125


@pytest.fixture(scope="module")
def served():
    """The address of a page that the installed program serves."""
    program = Path(sys.executable).with_name("overlap-learning")
    command = [program, "explore", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://\S+/", line)))
        finally:
            process.terminate()


def test_other_machines_and_pages_of_other_places_are_not_answered(served):
    port = int(served.rstrip("/").rpartition(":")[2])
    with socket.socket() as other:
        # The machine by another of its names.
        assert other.connect_ex(("127.0.0.2", port)) != 0
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "http://example.org"}  # fmt: skip
    connection.request("GET", "/ws", headers=headers)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        pytest.skip(
            "the explorer was not tried in a browser: install chromium and chromedriver (Debian: chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", f"user-data-dir={tmp_path}", "window-size=1400,1000",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


#: Moves a slider 20 times by a hundredth, each time after the frame that shows all curves of the last: these curves.
MOVES = """
const done = arguments[arguments.length - 1], slider = find('a_zu'), curves = [];
const move = () => { slider.value += 0.01; };
find('eigenvalues_lines').change.connect(() => requestAnimationFrame(() => requestAnimationFrame(() => {
  curves.push(find('loss_lines').data.ys[0].join()); curves.length < 20 ? move() : done(curves);
})));
move();
"""


def test_in_a_browser_a_slider_moves_the_curve(served, browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    find = "const find = name => Bokeh.documents[0].get_model_by_name(name);"
    is_drawn = "window.Bokeh?.documents?.length == 1 && find('status')?.text.startsWith('Integrated')"

    def ask(expression):
        return browser.execute_script(f"{find} return {expression}")

    def until(expression):
        WebDriverWait(browser, 60, 0.05).until(lambda _: ask(expression))

    def element(name, kind):
        return ask(f"Bokeh.index.find_one(find('{name}')).shadow_el.querySelector('{kind}')")

    browser.get(served)
    until(is_drawn)
    first = ask("Array.from(find('loss_lines').data.ys[0])")
    # By the keyboard, as a person without a mouse.
    element("a_zu", ".noUi-handle").send_keys(Keys.ARROW_RIGHT)
    until("location.search.includes('zu:0.26')")
    assert ask("Array.from(find('loss_lines').data.ys[0])") != first
    # As a hand that drags: each move draws curves of its own. How fast: `python -m benchmarks.explorer`.
    assert len(set(browser.execute_async_script(find + MOVES))) == 20
    element("equivalent", "button").click()
    until("find('status').text.includes('b is equivalent to a') && find('loss_lines').data.ys.length == 2")
    # The address alone brings both networks back.
    b = ask("Array.from(find('loss_lines').data.ys[1])")
    browser.get(browser.current_url)
    until(is_drawn)
    assert ask("Array.from(find('loss_lines').data.ys[1])") == b
    browser.get(f"{served}?rank=0")
    until(is_drawn)
    assert ask("find('notice').visible && find('notice').text").startswith("The address says no state")
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []


# Tornado leaves the socket open with which it did not get the port; the program ends then.
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_what_keeps_the_page_away_is_one_line(capsys, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["explore", "--port", str(port)]) == 2
    taken = f"overlap-learning: port {port} is taken; for one that is free: overlap-learning explore --port 0\n"
    assert capsys.readouterr().err == taken
    monkeypatch.setitem(sys.modules, "bokeh.application", None)
    assert main(["explore"]) == 2
    missing = "overlap-learning: the explorer needs Bokeh: pip install 'overlap_learning[explore]'\n"
    assert capsys.readouterr().err == missing


def test_without_a_browser_the_program_says_what_to_type_and_ends_by_ctrl_c(capsys, monkeypatch):
    from tornado.ioloop import IOLoop

    # Ctrl-C as soon as the page is served; None: there is no browser.
    ctrl_c = lambda address: IOLoop.current().add_callback(signal.raise_signal, signal.SIGINT)  # noqa: E731
    monkeypatch.setattr("webbrowser.open", ctrl_c)
    assert main(["explore", "--port", "0"]) == 0
    printed = capsys.readouterr().out
    port = re.search(r"http://localhost:(\d+)/", printed)[1]
    assert f"No browser was found here. {HELP}: ssh -L {port}:localhost:{port} HOST\n" in printed
    assert printed.endswith("Ended.\n")


HELP = "If you sit at another machine, run this there, and open the address"
