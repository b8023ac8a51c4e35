"""Explorer: from a slider's move to the picture of it, measured in a browser.

`python -m benchmarks.explorer` (some 20 seconds; needs chromium, chromedriver and selenium): the linear network of rank
1 that the page opens with, after a first move; a move is followed by the frame after the one in which all curves of it
have come.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import selenium.webdriver as webdriver
from selenium.webdriver.support.wait import WebDriverWait

from benchmarks.machine import versions

#: Moves there and back by a hundredth. Each returns the milliseconds to its frame.
MOVES = """
const done = arguments[arguments.length - 1], n_moves = arguments[0], taken = [];
const find = name => Bokeh.documents[0].get_model_by_name(name), slider = find('a_zu');
let start;
const move = () => {
  start = performance.now();
  slider.value += taken.length < n_moves / 2 ? 0.01 : -0.01;
};
const drawn = () => requestAnimationFrame(() => requestAnimationFrame(() => {
  taken.push(performance.now() - start);
  if (taken.length < n_moves) { move(); } else { find('eigenvalues_lines').change.disconnect(drawn); done(taken); }
}));
find('eigenvalues_lines').change.connect(drawn);
move();
"""
IS_DRAWN = """return window.Bokeh?.documents?.length == 1
  && Bokeh.documents[0].get_model_by_name('status')?.text.startsWith('Integrated')"""


def moves(address: str, n_moves: int) -> np.ndarray:
    """Milliseconds from each move to its picture, after one that is not counted."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "window-size=1400,1000"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(120)
        driver.get(address)
        WebDriverWait(driver, 60, 0.05).until(lambda _: driver.execute_script(IS_DRAWN))
        driver.execute_async_script(MOVES, 2)
        return np.array(driver.execute_async_script(MOVES, n_moves))
    finally:
        driver.quit()


def main() -> None:
    """Serve the page, move its slider, and print how long that takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=__doc__)
    parser.add_argument("--moves", type=int, default=40, help="how many (40)")
    arguments = parser.parse_args()
    program = Path(sys.executable).with_name("overlap-learning")
    command = [program, "explore", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+/", line)))
            taken = moves(address, arguments.moves)
        finally:
            process.terminate()
    print(", ".join(f"{name} {version}" for name, version in versions(("jax", "bokeh", "selenium")).items()))
    low, median, high = np.percentile(taken, (10, 50, 90))
    print(f"from a move to its picture: {median:.0f} ms, 10 to 90 % of {len(taken)} moves {low:.0f} to {high:.0f} ms")
    print(f"under 150 ms: {(taken < 150).mean():.0%} of the moves")


if __name__ == "__main__":
    main()
