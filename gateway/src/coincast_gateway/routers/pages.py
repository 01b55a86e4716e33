"""The web pages, their files, and the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from coincast_chassis.errors import NotFound
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import StaticFiles
from coincast_gateway.errors.problems import ALWAYS, KINDS, NOT_FOUND, problem_responses
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.web.assets import HERE, YEAR_SECONDS, Assets

HTML = "text/html; charset=utf-8"
# The pages load nothing from other sites and have no inline scripts or styles.
POLICY = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
# Swagger UI and Redoc show images and run workers from blobs.
SWAGGER_POLICY = POLICY.replace(b"img-src 'self' data:", b"img-src 'self' data: blob:") + (
    b"; worker-src 'self' blob:"
)
# Redoc adds two style elements: an empty one, whose rules it sets by script, and that of its scroll bar. If a
# newer Redoc has another style, the browser's error message names the hash that is missing here.
REDOC_STYLES = (
    b"'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    b"'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)
REDOC_POLICY = SWAGGER_POLICY + b"; style-src 'self' " + REDOC_STYLES
ONE_NAME = problem_responses(*ALWAYS, NOT_FOUND)
ASSET_TYPES = ("text/javascript", "text/css", "image/svg+xml")
TEXT = {"schema": {"type": "string"}}
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9._\-]{1,100}$", description="Its name.")]

router = APIRouter(tags=["pages"], responses=problem_responses(*ALWAYS))


def render_page(assets: Assets, file: str, policy: bytes = POLICY) -> RenderedResponse:
    """Return a page with the paths of its files filled in.

    Args:
        assets: The files of the pages.
        file: The name of the HTML file.
        policy: The Content-Security-Policy.
    """
    page = assets.fill((HERE / file).read_text(encoding="utf-8"))
    headers = ((b"content-security-policy", policy), (b"referrer-policy", b"no-referrer"))
    return RenderedResponse(page.encode(), HTML, fresh_seconds=60.0, headers=headers)


@router.get(
    "/",
    operation_id="home",
    summary="The web page with prices, forecasts and health",
    response_class=HTMLResponse,
)
@cached(seconds=60.0)
async def get_home(assets: StaticFiles) -> RenderedResponse:
    """Return the web page."""
    return render_page(assets, "index.html")


@router.get("/docs", operation_id="docs", summary="Try the interface", response_class=HTMLResponse)
@cached(seconds=60.0)
async def get_docs(assets: StaticFiles) -> RenderedResponse:
    """Return Swagger UI."""
    return render_page(assets, "docs.html", SWAGGER_POLICY)


@router.get("/redoc", operation_id="redoc", summary="Read the reference", response_class=HTMLResponse)
@cached(seconds=60.0)
async def get_redoc(assets: StaticFiles) -> RenderedResponse:
    """Return Redoc."""
    return render_page(assets, "redoc.html", REDOC_POLICY)


@router.get("/openapi.json", operation_id="openapi", summary="The description of this interface")
@cached(seconds=60.0)
async def get_openapi(request: Request) -> RenderedResponse:
    """Return the OpenAPI document."""
    # The ages in the document belong to examples, so they must not grow.
    return RenderedResponse(orjson.dumps(request.app.openapi()), fresh_seconds=60.0, has_ages=False)


@router.get(
    "/problems/{name}",
    operation_id="problem",
    summary="What a problem's type means",
    responses=ONE_NAME,
)
@cached(seconds=3600.0)
async def get_problem(name: Name) -> RenderedResponse:
    """Return the meaning of a problem document's `type`."""
    kind = KINDS.get(name)
    if kind is None:
        raise NotFound(f"There is no problem {name!r}.", field="name", suggestions=sorted(KINDS))
    document = {
        "type": f"/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "meaning": kind.meaning,
    }
    return render_json(document, fresh_seconds=3600.0)


@router.get(
    "/assets/{name}",
    operation_id="asset",
    summary="A file of the pages",
    response_class=Response,
    responses=ONE_NAME | {200: {"content": dict.fromkeys(ASSET_TYPES, TEXT)}},
)
@cached(seconds=YEAR_SECONDS)
async def get_asset(name: Name, assets: StaticFiles) -> RenderedResponse:
    """Return a file of the pages. Its name contains a hash of its content, so it is cached for a year."""
    asset = assets.by_name.get(name)
    if asset is None:
        raise NotFound("There is no such file.", field="name")
    return RenderedResponse(asset.body, asset.media_type, fresh_seconds=YEAR_SECONDS)
