"""The routes of the pages.

In:      requests of a browser.
Out:     `/ui/…`, unless the settings leave it out; `/docs`. (`/` is KServe's.)
Refuses: what is no file of the pages (404).

The pages hold no data, and need no key. They read the public API, with the key that their reader types in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from rlway_serve.settings import Settings
from rlway_serve.ui.assets import Asset, read_assets

Handler = Callable[[Request], Awaitable[Response]]

# What a browser may do with the pages: nothing comes from elsewhere, nothing is sent elsewhere, and no script or style
# stands in the HTML. Pictures and films of a bundle are fetched with the key, and shown as blobs.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "cache-control": "no-cache",  # kept, and asked for again by its ETag
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# What /docs consists of. It has paths of its own, since --no-ui leaves out the others.
REFERENCE = ("address.js", "element.js", "icon.svg", "key.js", "page.css", "reference.css", "reference.js", "schema.js")


def open_pages(settings: Settings) -> APIRouter:
    """The routes. They are in no OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    assets = read_assets()

    def add(path: str, handler: Handler) -> None:
        router.add_api_route(path, handler, methods=["GET", "HEAD"], response_class=Response)

    async def reference(request: Request) -> Response:
        return _answer(request, assets["docs.html"])

    async def reference_file(request: Request) -> Response:
        name = request.path_params["file"]
        return _answer(request, assets[name] if name in REFERENCE else None)

    add("/docs", reference)
    add("/docs/{file}", reference_file)
    if not settings.ui:
        return router

    async def to_page(request: Request) -> Response:  # noqa: ARG001
        return RedirectResponse("ui/", 307, HEADERS)  # relative, so that a proxy may put a path in front

    async def page_file(request: Request) -> Response:
        return _answer(request, assets.get(request.path_params["file"] or "index.html"))

    add("/ui", to_page)
    add("/ui/{file:path}", page_file)
    return router


def _answer(request: Request, asset: Asset | None) -> Response:
    if asset is None:
        raise HTTPException(404)
    headers = HEADERS | {"etag": asset.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
