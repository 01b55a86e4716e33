"""Serve the same stand-in page with status 200 at every path; replaces a program that tests do not have."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    """A handler that returns one page for every path."""

    def do_GET(self) -> None:
        """Send the page."""
        body = b'{"database": "ok", "stand_in": true}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1].lstrip("-") if sys.argv[1:] else 3000)), Page).serve_forever()
