"""What is checked before a request is read: its token, that there is a place, and while it is read, its size."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import HTTPException
from fastapi.responses import JSONResponse

from promptad.serve.batching import NoPlaceError, Places

OPEN = {"/", "/healthz"}  # need no token
PATIENCE = 30.0  # seconds between two pieces of a request's body
WAIT = {"Retry-After": "1"}

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


class Gate:
    """Lets requests through to an application.

    Args:
        app: the application.
        token: that requests must bring; None if none is needed.
        places: for images; a request that sends something needs one before it is read.
        max_bytes: of a request's body.
    """

    def __init__(self, app: App, token: str | None, places: Places, max_bytes: int) -> None:
        self.app, self.token, self.places, self.max_bytes = app, token, places, max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = dict(scope["headers"])
            self._check_token(scope["path"], headers.get(b"authorization", b""))
            if scope["method"] in ("GET", "HEAD"):
                await self.app(scope, receive, send)
                return
            announced = headers.get(b"content-length", b"0")
            if announced.isdigit() and int(announced) > self.max_bytes:
                raise self._too_large()
            try:
                with self.places.hold(1):
                    await self.app(scope, self._measured(receive), send)
            except NoPlaceError:
                raise busy(self.places) from None
        except HTTPException as refusal:
            await refused(refusal)(scope, receive, send)

    def _check_token(self, path: str, given: bytes) -> None:
        if self.token is None or path in OPEN:
            return
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.token.encode()):
            line = "wrong token: ask who runs this service" if given else "a token is needed: Authorization: Bearer …"
            raise HTTPException(401, line, {"WWW-Authenticate": "Bearer"})

    def _measured(self, receive: Receive) -> Receive:
        read = 0

        async def measured() -> Message:
            nonlocal read
            try:
                async with asyncio.timeout(PATIENCE):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {PATIENCE:g} seconds: send the whole request") from None
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise self._too_large()
            return message

        return measured

    def _too_large(self) -> HTTPException:
        most = f"{self.max_bytes / 1e6:g} MB"
        return HTTPException(413, f"more than {most} in one request: send fewer pictures at once, or smaller ones")


def busy(places: Places) -> HTTPException:
    """Return the refusal where no place is free."""
    return HTTPException(503, f"{places.most} pictures are waiting, which is all that may: ask again in a second", WAIT)


def refused(refusal: HTTPException) -> JSONResponse:
    """Return the answer of a refusal."""
    return JSONResponse({"error": " ".join(str(refusal.detail).split())}, refusal.status_code, refusal.headers)
