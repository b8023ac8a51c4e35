"""Server: the explorer's page, served to this machine alone."""

import errno
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from bokeh.server.server import Server


class ExplorerError(Exception):
    """The page can't be served; the message says which command helps."""


def page_server(port: int) -> "Server":
    """A server of the page on the loopback address, not started yet; `server.port` is where.

    It takes connections of pages of this very address only. What the browser sends are values of widgets, which are
    checked as an address is; no code.

    Args:
        port: of this machine; 0: any that is free.

    Raises:
        ExplorerError: if Bokeh is not installed, or the port is taken.
    """
    try:
        from bokeh.application import Application
        from bokeh.application.handlers import FunctionHandler
        from bokeh.server.server import Server
    except ImportError:
        raise ExplorerError("the explorer needs Bokeh: pip install 'overlap_learning[explore]'") from None
    from overlap_learning.explore.page import Page

    def fill(document: Any) -> None:
        Page(document, _query(document))

    try:
        # Without a list of origins Bokeh takes only pages of this address for the origin of a connection.
        return Server({"/": Application(FunctionHandler(fill))}, port=port, address="127.0.0.1")
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        reason = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
        raise ExplorerError(f"port {port} {reason}; for one that is free: overlap-learning explore --port 0") from None


def _query(document: Any) -> str:
    """What an address says after its "?"."""
    arguments = document.session_context.request.arguments
    pairs = [(name, value.decode(errors="replace")) for name, values in arguments.items() for value in values]
    return urlencode(pairs, safe=":,")
