"""What stands between the service and the world: limits, refusals, headers (taught in 08).

Whatever comes in, what goes out is one line of JSON without a word of our code; it is
counted, and never a picture's.
"""

import asyncio
import ctypes
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from . import messages, uploads
from .batching import CLOSING, FULL, Batcher, Busy
from .settings import CourseError

LOG = logging.getLogger(__name__)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Notice": messages.NOTICE,
}
RETRY = {"Retry-After": "1"}
PART = 65_536  # bytes: the next part of an answer waits until the last one is taken


@dataclass(frozen=True)
class Limits:
    room: int = 64  # inside at once, from upload to the answer's end; more are refused
    batch: int = 16  # pictures that are computed together
    bytes: int = uploads.MAX_BYTES
    seconds: float = 20  # for an upload, and for taking an answer
    connections: int = 512  # idle ones as well: uvicorn itself refuses more


class Meters:
    """Who is inside, and what has happened so far."""

    def __init__(self, batcher: Batcher):
        self.now, self.closing = 0, False
        self.threads = ThreadPoolExecutor(2, "pictures")  # two are decoded at once
        self.registry = CollectorRegistry()
        of = {"registry": self.registry}
        self.answers = Counter("explain_answers", "Answers", ["path", "status"], **of)
        self.times = Histogram("explain_seconds", "Of /explain, answered 200", **of)
        self.inside_now = Gauge("explain_inside", "Requests inside", **of)
        self.inside_now.set_function(lambda: self.now)
        self.batch = Gauge("explain_batch", "Mean size of the last batches", **of)
        self.batch.set_function(lambda: _mean(batcher.sizes))

    @contextmanager
    def inside(self, room: int):
        """One of `room` places, or `Busy`."""
        if self.now >= room or self.closing:
            raise Busy(CLOSING if self.closing else FULL)
        self.now += 1
        try:
            yield
        finally:
            self.now -= 1

    async def aside(self, work, *arguments):
        """The result of `work`, off the loop that serves everyone."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, work, *arguments)


def tidy() -> None:
    """Gives the system back what a large picture took; glibc alone would keep it."""
    with suppress(OSError, AttributeError):  # another C library tidies up by itself
        ctypes.CDLL(None).malloc_trim(0)


async def received(request: Request, limits: Limits) -> bytes:
    """The body of a request, within the limits."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in uploads.TYPES:
        raise uploads.Refused(
            f"send the file itself, with Content-Type {', '.join(uploads.TYPES)}", 415
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 12 or int(announced) > limits.bytes):
        raise uploads.too_large(limits.bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.bytes:
                    raise uploads.too_large(limits.bytes)
    except TimeoutError:
        raise uploads.Refused(
            f"the upload took over {limits.seconds:g} seconds; send a smaller picture",
            408,
        ) from None
    return bytes(body)


def refusals(service: FastAPI) -> None:
    """Turns all that may go wrong into a `Problem`."""

    @service.exception_handler(HTTPException)
    async def http(_, error: HTTPException):
        return _problem(error.status_code, str(error.detail), error.headers)

    @service.exception_handler(RequestValidationError)
    async def invalid(_, error: RequestValidationError):
        first = error.errors()[0]
        return _problem(422, f"{first['loc'][-1]}: {first['msg']}")

    @service.exception_handler(CourseError)
    async def refused(_, error: CourseError):
        status = getattr(error, "status", 422)
        close = {"Connection": "close"} if status in (408, 413) else None
        return _problem(status, str(error), close)

    @service.exception_handler(Busy)
    async def busy(_, error: Busy):
        return _problem(503, str(error), RETRY)

    @service.exception_handler(ClientDisconnect)
    async def gone(_, error: ClientDisconnect):
        return _problem(408, "the upload broke off; send the picture again")


def _problem(status: int, line: str, headers=None) -> JSONResponse:
    body = messages.Problem(error=line).model_dump()
    return JSONResponse(body, status, headers=headers)


class _Untaken(Exception):
    """Whoever asked does not take the answer."""


class Guard:
    """Around every answer: its headers, its count; and the last net under our mistakes."""

    def __init__(self, app, meters: Meters, limits: Limits):
        self.app, self.meters, self.limits = app, meters, limits

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = perf_counter(), 0

        async def sending(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    for part in _parts(message):
                        await send(part)
            except TimeoutError:
                raise _Untaken from None

        try:
            await self.app(scope, receive, sending)
        except asyncio.CancelledError:  # told to stop, and the time for it is over
            if status or not self.meters.closing:
                raise
            await _problem(503, CLOSING, RETRY)(scope, receive, sending)
        except _Untaken:
            status = 0  # the server breaks it off
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("%s at %s:%d", type(error).__name__, place.filename, place.lineno)
            if status:  # the answer has begun: break it off
                raise RuntimeError("an answer broke off") from None
            await _problem(500, "a fault of ours; try another picture")(
                scope, receive, sending
            )
        path = getattr(scope.get("route"), "path", "other")
        self.meters.answers.labels(path, str(status)).inc()
        if path == "/explain" and status == 200:
            self.meters.times.observe(perf_counter() - start)


def _parts(message: dict) -> Iterator[dict]:
    """A message to the server, a long body in several."""
    body, more = message.get("body", b""), message.get("more_body", False)
    for start in range(0, max(len(body), 1), PART):
        rest = {"body": body[start : start + PART]} if "body" in message else {}
        if start + PART < len(body) or more:
            rest["more_body"] = True
        yield message | rest


def _mean(sizes: list[int]) -> float:
    return sum(sizes) / len(sizes) if sizes else 0.0
