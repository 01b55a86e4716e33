"""The pages for people, their files, and the machine-readable description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from coincast_chassis.errors import NotFound
from coincast_gateway.errors.problems import KINDS, NOT_FOUND
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.fields import Query
from coincast_gateway.schemas.requests.market import NoQuery
from coincast_gateway.serving.endpoint import ALWAYS, Call, Endpoint
from coincast_gateway.web.assets import HERE, YEAR_SECONDS, Assets

HTML = "text/html; charset=utf-8"
# Nothing is loaded from elsewhere; styles may stand inline because the chart libraries write them so.
POLICY = (
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    b"worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PAGE_HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class NameQuery(Query):
    """One thing by its name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._\-]{1,100}$", description="Its name.")]


class PageRoutes:
    """Static replies."""

    def __init__(self, assets: Assets, describe: Callable[[], dict[str, Any]]) -> None:
        self._assets = assets
        self._describe = describe

    async def asset(self, query: NameQuery, call: Call) -> RenderedResponse:
        """A file under a name that changes with its content."""
        asset = self._assets.by_name.get(query.name)
        if asset is None:
            raise NotFound("There is no such file.", field="name")
        return RenderedResponse(asset.body, asset.media_type, fresh_seconds=YEAR_SECONDS)

    async def home(self, query: NoQuery, call: Call) -> RenderedResponse:
        """The page for everyone."""
        return self._page("index.html")

    async def docs(self, query: NoQuery, call: Call) -> RenderedResponse:
        """Swagger UI."""
        return self._page("docs.html")

    async def redoc(self, query: NoQuery, call: Call) -> RenderedResponse:
        """Redoc."""
        return self._page("redoc.html")

    async def openapi(self, query: NoQuery, call: Call) -> RenderedResponse:
        """The description itself."""
        return render_json(self._describe(), fresh_seconds=60.0)

    async def problem(self, query: NameQuery, call: Call) -> RenderedResponse:
        """What a problem's `type` means."""
        kind = KINDS.get(query.name)
        if kind is None:
            raise NotFound(f"There is no problem {query.name!r}.", field="name", suggestions=sorted(KINDS))
        document = {
            "type": f"/problems/{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "meaning": kind.meaning,
        }
        return render_json(document, fresh_seconds=3600.0)

    def _page(self, file: str) -> RenderedResponse:
        page = self._assets.filled((HERE / file).read_text(encoding="utf-8"))
        return RenderedResponse(page.encode(), HTML, fresh_seconds=60.0, headers=PAGE_HEADERS)

    def endpoints(self) -> list[Endpoint]:
        """All of them; none asks for a key."""
        html: dict[str, Any] = {"tag": "pages", "query": NoQuery, "media_type": "text/html", "scope": "none"}
        return [
            Endpoint(
                path="/",
                name="home",
                answer=self.home,
                summary="Prices, forecasts and health, to look at",
                **html,
            ),
            Endpoint(path="/docs", name="docs", answer=self.docs, summary="Try the interface", **html),
            Endpoint(path="/redoc", name="redoc", answer=self.redoc, summary="Read the reference", **html),
            Endpoint(
                path="/openapi.json",
                name="openapi",
                tag="pages",
                answer=self.openapi,
                query=NoQuery,
                scope="none",
                summary="The description of this interface",
            ),
            Endpoint(
                path="/problems/{name}",
                name="problem",
                tag="pages",
                answer=self.problem,
                query=NameQuery,
                scope="none",
                problems=(*ALWAYS, NOT_FOUND),
                summary="What a problem's type means",
            ),
            Endpoint(
                path="/assets/{name}",
                name="asset",
                tag="pages",
                answer=self.asset,
                query=NameQuery,
                scope="none",
                media_type="*/*",
                problems=(*ALWAYS, NOT_FOUND),
                summary="A file of the pages",
            ),
        ]
