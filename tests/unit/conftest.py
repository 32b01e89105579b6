"""A server of files on this machine, in place of the mirrors of data sets and weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def serve() -> Iterator[Callable[[Path], tuple[str, list[str]]]]:
    """Serves a folder over HTTP: (address, the paths asked for so far)."""
    running = []

    def start(folder: Path) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *args: Any) -> None:
                asked.append(self.path)

            def log_message(self, *args: Any) -> None:
                pass

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((httpd, thread))
        return f"http://127.0.0.1:{httpd.server_port}/", asked

    yield start
    for httpd, thread in running:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
