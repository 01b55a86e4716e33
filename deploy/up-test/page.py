"""Answer every address with 200 and a stand-in page; for tests without the real program."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    """One page for every path."""

    def do_GET(self) -> None:
        """Answer."""
        body = b'{"database": "ok", "stand_in": true}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1].lstrip("-") if sys.argv[1:] else 3000)), Page).serve_forever()
