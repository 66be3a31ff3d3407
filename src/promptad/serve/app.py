"""The routes of the service, and its page."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from promptad.errors import InputError
from promptad.serve.batching import NoPlaceError
from promptad.serve.gate import Gate, busy, refused
from promptad.serve.parts import Part
from promptad.serve.service import Judged, Service, Upload

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
NO_PICTURE = "no picture: send files under `images`, such as curl -F images=@part.png"

Images = Annotated[list[UploadFile], File(description="one picture or several")]
Errors = dict[int | str, dict[str, Any]]
_LINE = {"content": {"application/json": {"example": {"error": "one line"}}}}
ERRORS: Errors = {code: _LINE | {"description": said} for code, said in ((404, "unknown part"), (422, "no picture"))}
ERRORS |= {413: _LINE | {"description": "too large"}, 503: _LINE | {"description": "too many pictures are waiting"}}


def make_app(service: Service, *, token: str | None, max_mb: float) -> FastAPI:
    """Return the application of a service, which it closes at its end.

    Args:
        service: judges.
        token: that requests must bring, but for the page and /healthz; None if none is needed.
        max_mb: megabytes of one request's body, at most.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # Without their HTML documents, which load scripts from elsewhere.
    app = FastAPI(title="promptad", version=version("promptad"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, token=token, places=service.places, max_bytes=int(max_mb * 1e6))
    _add_errors(app)
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(
            PAGE, headers={"Content-Security-Policy": content_policy(PAGE), "Cache-Control": "no-cache"}
        )

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def health() -> dict[str, str | int]:
        """Whether the service runs."""
        return {"status": "ok", "parts": len(service.parts)}

    @app.get("/parts")
    async def parts() -> list[dict[str, Any]]:
        """The parts that can be judged, with thresholds and settings."""
        return [part.to_dict() for part in service.parts.values()]

    @app.post("/parts/{name:path}/predict", responses=ERRORS)
    async def predict(name: str, images: Images, map: Literal["png"] | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """Judge pictures: a record for each, in their order, as a line of predictions.jsonl.

        A picture that cannot be read has its `error` in its record. With `map=png` a record has the anomaly map over
        the picture as a data URL, too.
        """
        judged = await _judge(service, _part(service, name), images, overlays=map is not None)
        return [_content(one) for one in judged]

    @app.post("/predict", responses=ERRORS)
    async def predict_only(images: Images, map: Literal["png"] | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """Judge pictures, where there is one part only."""
        return await predict(_only_name(service), images, map)

    @app.post(
        "/parts/{name:path}/map", responses=ERRORS | {200: {"content": {"image/png": {}}}}, response_class=Response
    )
    async def anomaly_map(name: str, images: Images) -> Response:
        """The anomaly map over one picture."""
        if len(images) != 1:
            raise InputError(f"{len(images)} pictures: send one for its map")
        (one,) = await _judge(service, _part(service, name), images, overlays=True)
        if one.overlay is None:
            raise InputError(one.record.error)
        return Response(one.overlay, media_type="image/png")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(AnyHTTPException)
    async def told(request: Request, error: AnyHTTPException) -> JSONResponse:
        if error.status_code == 404 and error.detail == "Not Found":
            error.detail = f"nothing is at {request.url.path}: /openapi.json names what there is"
        if error.status_code == 405:
            error.detail = f"{request.url.path} does not take {request.method}: /openapi.json names what it takes"
        return refused(cast(HTTPException, error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = str(first["loc"][1]) if len(first["loc"]) > 1 else ""
        line = NO_PICTURE if first["loc"][0] == "body" else f"`{where}` {first.get('input')}: {first['msg']}"
        return refused(HTTPException(422, line))

    @app.exception_handler(InputError)
    async def mistaken(_: Request, error: InputError) -> JSONResponse:
        return refused(HTTPException(422, str(error)))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return refused(HTTPException(500, "something unexpected went wrong: the service's log says what"))


async def _judge(service: Service, part: Part, images: Sequence[UploadFile], *, overlays: bool) -> list[Judged]:
    """Judge uploaded files, one of which has its place already."""
    if len(images) > service.places.most:
        most = service.places.most
        raise HTTPException(413, f"{len(images)} pictures in one request: send at most {most} at once")
    uploads = [Upload(image.filename or "picture", image.file) for image in images]
    try:
        with service.places.hold(len(images) - 1):
            return await service.judge(part, uploads, overlays)
    except NoPlaceError:
        raise busy(service.places) from None


def _part(service: Service, name: str) -> Part:
    if name not in service.parts:
        raise HTTPException(404, f"no part {name!r} here: there is {', '.join(service.parts)}")
    return service.parts[name]


def _only_name(service: Service) -> str:
    if len(service.parts) > 1:
        raise HTTPException(404, f"several parts are here: ask /parts/NAME/predict for {', '.join(service.parts)}")
    return next(iter(service.parts))


def _content(judged: Judged) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(judged.record.to_line())
    if judged.overlay is not None:
        content["map"] = f"data:image/png;base64,{base64.b64encode(judged.overlay).decode()}"
    return content


def content_policy(page: str) -> str:
    """Return what a browser may do for the page: run its own script, and load nothing from elsewhere."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{own}'; style-src 'unsafe-inline'; img-src data: blob:;"
        " media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
