"""A process that is started while gRPC calls are under way must come to life."""

import os
import subprocess
import sys

import pytest

STARTS = 40
# A function that runs between fork and exec makes the standard library really fork.
BESIDE_CALLS = f"""
import coincast_chassis
import asyncio, grpc, grpc.aio, os

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        async def echo(request, context):
            return request
        return grpc.unary_unary_rpc_method_handler(echo)

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    echo = grpc.aio.insecure_channel(f"127.0.0.1:{{port}}").unary_unary("/a/b")

    async def calls():
        while True:
            await echo(b"x")

    callers = [asyncio.create_task(calls()) for _ in range(8)]
    codes = []
    for _ in range({STARTS}):
        child = await asyncio.create_subprocess_exec("true", preexec_fn=os.getpid)
        codes.append(await child.wait())
    print(sum(code == 0 for code in codes), flush=True)
    os._exit(0)

asyncio.run(main())
"""


def _python(code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=110, check=True
    )
    return done.stdout.strip()


def test_every_process_started_beside_calls_lives() -> None:
    assert _python(BESIDE_CALLS) == str(STARTS)


@pytest.mark.parametrize("package", ["gateway", "market_data", "forecast", "training", "stack"])
def test_every_service_says_so_before_grpc_is_there(package: str) -> None:
    said = "os.environ.get('GRPC_ENABLE_FORK_SUPPORT'), 'grpc' in sys.modules"
    assert _python(f"import coincast_{package}, os, sys; print(({said}))") == "('0', False)"
