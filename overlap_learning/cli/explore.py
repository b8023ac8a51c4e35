"""explore: the explorer's page, opened in a browser."""

import logging
import webbrowser

from overlap_learning.cli.values import ConfigError
from overlap_learning.explore.curves import run
from overlap_learning.explore.server import ExplorerError, page_server
from overlap_learning.explore.state import State


def explore(port: int, *, opens_browser: bool) -> bool:
    """Serve the page until Ctrl-C.

    Args:
        port: of this machine; 0: any that is free.
        opens_browser: whether to open a browser.

    Raises:
        ConfigError: if Bokeh is not installed, or the port is taken.
    """
    try:
        server = page_server(port)
    except ExplorerError as error:
        raise ConfigError(str(error)) from error
    print("Compiling the first picture ...", flush=True)
    run(State.default())
    address = f"http://localhost:{server.port}/"
    print(f"The explorer is at {address}, for this machine only; Ctrl-C ends it.", flush=True)
    # Of a tab that is closed while a picture is drawn, one line for every message that it does not hear.
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    server.start()
    if opens_browser and not webbrowser.open(address):
        print(
            "No browser was found here. If you sit at another machine, run this there, and open the address: "
            f"ssh -L {server.port}:localhost:{server.port} HOST",
            flush=True,
        )
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        print("\nEnded.")
    finally:
        server.stop()
    return True
