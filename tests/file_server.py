"""A server on this machine that serves one file: whole, or with the faults that downloads meet."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<html>quota exceeded</html>"


class Handler(BaseHTTPRequestHandler):
    """What the server gives is named by the path."""

    def do_GET(self):
        self.server.requests.append(self.path)
        getattr(self, self.path.split("/")[1])()

    def answer(self, body, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.answer(self.server.content)

    def slow(self):
        time.sleep(0.5)
        self.answer(self.server.content)

    def changed(self):
        self.answer(self.server.content[:-1] + b"x")

    def page(self):
        self.answer(PAGE)

    def empty(self):
        self.answer(b"")

    def half(self):
        self.answer(self.server.content[: len(self.server.content) // 2], length=len(self.server.content))

    def stuck(self):
        self.half()
        time.sleep(60)

    def forbidden(self):
        self.answer(PAGE, 403)

    def busy(self):
        self.answer(PAGE, 503)

    def hasty(self):
        """Break off at first, then serve the whole file."""
        self.half() if self.server.requests.count("/hasty") == 1 else self.good()

    def missing(self):
        self.answer(b"no such file", 404)

    def nothing(self):
        """Close the connection without a word."""

    def log_message(self, *args):
        pass


@contextmanager
def serving(content, handler=Handler):
    """A server with `content`, `url` and the list of its `requests`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.content, server.requests = content, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
