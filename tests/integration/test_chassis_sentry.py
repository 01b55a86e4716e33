"""Error reports against a local receiver: what is sent, what is hidden, what is not sent at all."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import pytest

PROGRAM = """
import os
from coincast_chassis import context
from coincast_chassis.errors import NotFound
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.settings import ServiceSettings
from coincast_chassis.observability.telemetry import telemetry
from coincast_chassis.observability.tracing import current_tracing
from opentelemetry.trace import SpanKind

settings = ServiceSettings(
    sentry_dsn=os.environ["DSN"], environment="test", log_level="info", sentry_traces_sample_rate=1.0
)
secret = "SES" + "AME"
with telemetry("chassis", settings):
    log = get_logger("toy")
    ids = context.bind(request_id="r1", trace_id="ab" * 16)
    with ids, current_tracing().span("Toy/Get", kind=SpanKind.SERVER):
        log.info("fetching", url=f"https://x?x_cg_demo_api_key={secret}")
        log.warning("call refused", exc_info=NotFound("no such coin"))
        try:
            raise ValueError(f"redis://:{secret}@redis is away")
        except ValueError as error:
            log.error("call failed", exc_info=error, api_key=secret)
"""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[str]]]:
    bodies: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            unpack = {"gzip": gzip.decompress, "br": brotli.decompress}.get(
                self.headers["Content-Encoding"], bytes
            )
            bodies.append(unpack(body).decode())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://public@127.0.0.1:{server.server_port}/1", bodies
    server.shutdown()
    server.server_close()
    thread.join()


def run(dsn: str) -> None:
    environment = {**os.environ, "DSN": dsn}
    subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, timeout=60
    )


def items(bodies: list[str], kind: str) -> list[dict]:
    found = []
    for body in bodies:
        lines = body.splitlines()
        found += [
            json.loads(lines[i + 1])
            for i, line in enumerate(lines[:-1])
            if f'"type":"{kind}"' in line.replace(" ", "")
        ]
    return found


def test_an_error_is_reported_whole_and_without_secrets(receiver):
    dsn, bodies = receiver
    run(dsn)
    (event,) = items(bodies, "event")
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    assert event["environment"] == "test"
    assert event["release"] == "coincast-chassis@0.1.0"
    assert event["tags"]["request_id"] == "r1"
    assert event["tags"]["trace_id"] == "ab" * 16
    assert "fetching" in [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert "SESAME" not in "".join(bodies)
    (transaction,) = items(bodies, "transaction")
    assert transaction["transaction"] == "Toy/Get"


def test_without_a_dsn_nothing_is_sent(receiver):
    _, bodies = receiver
    run("")
    assert bodies == []
