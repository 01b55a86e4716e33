"""What the services show on /metrics, by name."""

import pytest

from deploy.metrics_page import families, shown_names


@pytest.fixture(scope="session")
def shown_metrics() -> set[str]:
    return {name for family in families() for name in shown_names(family)}
