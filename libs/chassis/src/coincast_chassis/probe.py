"""A container's health check: `python -m coincast_chassis.probe grpc HOST:PORT | http URL`; code 0 or 1."""

import sys
import urllib.error
import urllib.request


def grpc_serves(address: str, timeout_seconds: float = 3.0) -> bool:
    """Whether the standard health service at the address says SERVING."""
    import grpc  # noqa: PLC0415 - the probe of the gateway does without it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - as above

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_seconds
            )
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def http_answers(url: str, timeout_seconds: float = 3.0) -> bool:
    """Whether the address answers with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_seconds) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main(arguments: list[str]) -> int:
    """0 where the target is well, 1 where it is not, 2 for a wrong call."""
    probes = {"grpc": grpc_serves, "http": http_answers}
    if len(arguments) != 2 or arguments[0] not in probes:
        sys.stderr.write("usage: python -m coincast_chassis.probe grpc HOST:PORT | http URL\n")
        return 2
    return 0 if probes[arguments[0]](arguments[1]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
