"""Given a module, its test is found by its path, or by the table here.

The test of `edge/cors.py` is `edge/test_cors.py` below `tests/unit/gateway`; that of a whole package is
`test_<package>.py` beside the package. What can only be seen from outside is tested through a running server,
as the table says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.house.sources import REPOSITORY

SOURCES = {
    "gateway": REPOSITORY / "gateway/src/coincast_gateway",
    "chassis": REPOSITORY / "libs/chassis/src/coincast_chassis",
    "market": REPOSITORY / "market-data-svc/src/coincast_market_data",
}
# Tests of what several modules do together.
ACROSS = {
    "gateway": {"test_clock_jumps.py", "routers/test_new_endpoint.py"},
    "chassis": set[str](),
    "market": {"test_priorities.py"},
}
OVER_REST = "tests/contract/gateway/test_gateway_"
OVER_GRPC = "tests/contract/test_chassis_"
MARKET = "tests/contract/test_market_"
# The test of each module without one by its path, most of them through a running server; a package stands for
# its modules.
ELSEWHERE = {
    "gateway": {
        "__main__.py": "tests/integration/test_gateway_workers.py",
        "app.py": f"{OVER_REST}line.py",
        "asgi_types.py": f"{OVER_REST}http.py",
        "auth/api_keys.py": f"{OVER_REST}access.py",
        "auth/authenticator.py": f"{OVER_REST}access.py",
        "auth/factory.py": f"{OVER_REST}access.py",
        "cache/content_encoding.py": f"{OVER_REST}hot.py",
        "cache/redis_tier.py": "tests/faults/test_gateway_redis_garbage.py",
        "cache/response_cache.py": f"{OVER_REST}hot.py",
        "cli": f"{OVER_REST}access.py",
        "clients/forecast.py": f"{OVER_REST}stale_forecasts.py",
        "clients/past_forecasts.py": f"{OVER_REST}past_forecasts.py",
        "clients/resilient.py": f"{OVER_REST}breaker.py",
        "clients/training.py": f"{OVER_REST}training.py",
        "coingecko_compat": f"{OVER_REST}mirror_errors.py",
        "dependencies.py": f"{OVER_REST}line.py",
        "edge/cors.py": f"{OVER_REST}access.py",
        "errors/handlers.py": f"{OVER_REST}errors.py",
        "errors/partial_results.py": f"{OVER_REST}errors.py",
        "errors/problems.py": f"{OVER_REST}errors.py",
        "errors/validation.py": f"{OVER_REST}errors.py",
        "experiments.py": f"{OVER_REST}access.py",
        "formats/columnar.py": f"{OVER_REST}exports.py",
        "formats/csv.py": f"{OVER_REST}hot.py",
        "formats/exports.py": f"{OVER_REST}exports.py",
        "formats/negotiation.py": f"{OVER_REST}exports.py",
        "health/collector.py": f"{OVER_REST}health.py",
        "health/component.py": f"{OVER_REST}health.py",
        "health/sampler.py": f"{OVER_REST}health.py",
        "health/service.py": f"{OVER_REST}health.py",
        "health/summaries.py": f"{OVER_REST}health.py",
        "mcp_app.py": f"{OVER_REST}mcp.py",
        "metrics.py": "tests/e2e/test_e2e_metrics.py",
        "openapi.py": f"{OVER_REST}openapi.py",
        "routers/coins.py": f"{OVER_REST}history.py",
        "routers/exports.py": f"{OVER_REST}exports.py",
        "routers/forecasts.py": f"{OVER_REST}ledger.py",
        "routers/health.py": f"{OVER_REST}health.py",
        "routers/markets.py": f"{OVER_REST}line.py",
        "routers/models.py": f"{OVER_REST}training.py",
        "routers/prices.py": f"{OVER_REST}prices_stream.py",
        "routers/risk.py": f"{OVER_REST}risk.py",
        "routers/training.py": f"{OVER_REST}training.py",
        "routers/usage.py": f"{OVER_REST}access.py",
        "schemas/fields.py": f"{OVER_REST}errors.py",
        "schemas/from_proto.py": f"{OVER_REST}openapi.py",
        "schemas/responses": f"{OVER_REST}openapi.py",
        "server.py": f"{OVER_REST}http.py",
        "settings.py": f"{OVER_REST}access.py",
        "web/assets.py": "tests/unit/gateway/routers/test_pages.py",
        "workers.py": "tests/integration/test_gateway_workers.py",
    },
    "chassis": {
        "app.py": f"{OVER_GRPC}hop.py",
        "errors.py": f"{OVER_GRPC}hop.py",
        "grpc/channel.py": f"{OVER_GRPC}grpc_traps.py",
        "grpc/error_mapping.py": f"{OVER_GRPC}hop.py",
        "grpc/health.py": f"{OVER_GRPC}watch.py",
        "grpc/server.py": f"{OVER_GRPC}grpc_traps.py",
        "grpc/server_interceptor.py": f"{OVER_GRPC}hop.py",
        "healthcheck.py": f"{OVER_GRPC}probe.py",
        "item_errors.py": "tests/unit/gateway/clients/test_market.py",
        "observability/loop_lag.py": "tests/integration/test_chassis_process.py",
        "observability/sentry.py": "tests/integration/test_chassis_sentry.py",
        "observability/telemetry.py": "tests/integration/test_chassis_tracing.py",
        "observability/tracing.py": "tests/integration/test_chassis_tracing.py",
        "observability/tracing_export.py": "tests/integration/test_chassis_tracing.py",
        "redis.py": "tests/integration/test_chassis_redis.py",
        "run.py": "tests/integration/test_chassis_process.py",
    },
    "market": {
        "__main__.py": "tests/integration/test_market_replicas.py",
        "app.py": f"{MARKET}service.py",
        "archive/inbox.py": "tests/unit/market/archive/test_importer.py",
        "archive/row_validation.py": "tests/unit/market/archive/test_importer.py",
        "catalogue/service.py": f"{MARKET}service.py",
        "cli": f"{MARKET}commands.py",
        "domain.py": f"{MARKET}service.py",
        "grpc/arrow_encoder.py": "tests/e2e/test_e2e_line.py",
        "grpc/batch.py": f"{MARKET}service.py",
        "grpc/proto_mapping.py": f"{MARKET}service.py",
        "grpc/servicer.py": f"{MARKET}service.py",
        "grpc/status.py": f"{MARKET}start.py",
        "identifiers.py": "tests/unit/market/test_cache.py",
        "infrastructure.py": f"{MARKET}start.py",
        "item_errors.py": "tests/unit/market/prices/test_service.py",
        "jobs/backfill.py": "tests/unit/market/test_history.py",
        "jobs/maintenance.py": f"{MARKET}commands.py",
        "jobs/refresh.py": f"{MARKET}start.py",
        "jobs/repair.py": f"{MARKET}false_tail.py",
        "jobs/warmup.py": f"{MARKET}start.py",
        "markets/service.py": f"{MARKET}figures.py",
        "metrics.py": "tests/e2e/test_e2e_metrics.py",
        "passthrough/routes.py": "tests/unit/market/test_cache.py",
        "passthrough/service.py": f"{MARKET}mirrored.py",
        "ports.py": "tests/unit/market/test_priorities.py",
        "prices/simple_price.py": f"{MARKET}mirrored.py",
        "prices/watch.py": f"{MARKET}watch.py",
        "settings.py": "tests/unit/market/test_coingecko.py",
    },
}


def modules(name: str) -> list[Path]:
    """Return the modules of a package, relative to it."""
    found = sorted(SOURCES[name].rglob("*.py"))
    return [each.relative_to(SOURCES[name]) for each in found if each.name != "__init__.py"]


def by_path(module: Path) -> list[Path]:
    """Return where the unit test of a module may be: beside its name, or beside that of its package."""
    candidates = [module.parent / f"test_{module.name}"]
    if module.parent.name:
        candidates.append(module.parent.parent / f"test_{module.parent.name}.py")
    return candidates


@pytest.mark.parametrize(
    ("name", "module"), [(name, module) for name in SOURCES for module in modules(name)], ids=str
)
def test_a_module_has_a_test_by_its_path_or_in_the_table(name: str, module: Path) -> None:
    tests = REPOSITORY / "tests/unit" / name
    own = any((tests / each).exists() for each in by_path(module))
    listed = {str(module), str(module.parent)} & ELSEWHERE[name].keys()
    assert own or listed, f"write tests/unit/{name}/{by_path(module)[0]}"
    assert not (own and str(module) in listed), f"{module} has a test by its path: remove it from the table"


@pytest.mark.parametrize("name", SOURCES)
def test_every_unit_test_is_where_its_module_is(name: str) -> None:
    tests = REPOSITORY / "tests/unit" / name
    homes = {each for module in modules(name) for each in by_path(module)}
    found = {each.relative_to(tests) for each in tests.rglob("test_*.py")}
    assert {str(each) for each in found - homes} == ACROSS[name]


@pytest.mark.parametrize(
    ("name", "module", "test"),
    [(name, module, test) for name, rows in ELSEWHERE.items() for module, test in rows.items()],
    ids=str,
)
def test_the_table_names_modules_and_tests_that_exist(name: str, module: str, test: str) -> None:
    assert (SOURCES[name] / module).exists(), f"there is no {module} any more: remove it from the table"
    assert (REPOSITORY / test).exists(), f"there is no {test}"
