"""A web service that explains a picture on request, and its page (taught in 08).

    python -m helpers.service [--model DIR] [--port 8000]

One model in memory; requests are batched while it is busy. A picture lives in memory
until its answer is sent: it is never written, never logged.
"""

import argparse
import hmac
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import numpy as np
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from prometheus_client import generate_latest
from starlette.requests import ClientDisconnect

from . import engine as engines
from . import (
    familiar,
    guards,
    images,
    messages,
    settings,
    uploads,
)
from .batching import Batcher
from .engine import Asked, Engine
from .guards import Limits
from .settings import CourseError

PAGE = Path(__file__).with_name("page")
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
KINDS |= {".css": "text/css; charset=utf-8", ".png": "image/png"}
KINDS |= {".webmanifest": "application/manifest+json"}
KEY = APIKeyHeader(name="X-API-Key", auto_error=False)
ASKED_FOR = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in uploads.TYPES
    },
}
RETRY = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
GRACE = 60  # seconds for what is inside when told to stop
CUT = 5  # more seconds, then what is not answered yet is refused
UNTAKEN = 30  # seconds, then a connection whose other end takes nothing is closed


def app(
    engine: Engine, limits: Limits | None = None, key: str | None = None, origins=()
) -> FastAPI:
    """The service around a model; without `origins`, no other site's page may call it."""
    limits = limits or Limits()
    batcher = Batcher(lambda items: _answers(engine, items), limits.batch, limits.room)
    meters = guards.Meters(batcher)

    @asynccontextmanager
    async def lifespan(_):
        yield
        await batcher.close()  # all that was taken is answered first

    service = FastAPI(
        title="Explainable AI for dermatology",
        description=f"Where a model's evidence is. {messages.NOTICE}",
        version="1",
        openapi_url=None,  # ours asks for the key, for it names the classes
        docs_url=None,  # its page would come from a foreign host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    service.state.meters = meters
    guards.refusals(service)
    if origins:
        service.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "Content-Type"],
        )
    service.add_middleware(guards.Guard, meters=meters, limits=limits)  # outermost
    Target = Literal[("predicted", *engine.classes)]
    Method, Layer = Literal[engines.METHODS], Literal[engines.LAYERS]

    def known(given: Annotated[str | None, Depends(KEY)]) -> None:
        if key and not hmac.compare_digest((given or "").encode(), key.encode()):
            raise HTTPException(401, "send the right key in the header X-API-Key")

    async def inside() -> AsyncIterator[None]:
        with meters.inside(limits.room):
            yield  # until the answer is sent

    locked = {"dependencies": [Depends(known)]}
    lock = messages.problems(401, 422)
    busy = messages.problems(401, 408, 413, 415, 422, 503)
    busy[503]["headers"] = RETRY

    @service.post(
        "/explain",
        responses=busy,
        openapi_extra={"requestBody": ASKED_FOR},
        dependencies=[Depends(known), Depends(inside)],
    )
    async def explain(
        request: Request,
        target: Target = "predicted",
        method: Method = "grad-cam",
        layer: Layer = "deep",
    ) -> messages.Answer:
        """What the model says of a picture, and where its evidence for a class is.

        The body of the request is the file itself: JPEG, PNG or WebP.
        """
        clock = [perf_counter()]
        data = await guards.received(request, limits)
        clock.append(perf_counter())
        pixels, shown = await meters.aside(_prepared, data, engine.model.size)
        del data
        if await request.is_disconnected():  # nobody would read the answer
            raise ClientDisconnect
        clock.append(perf_counter())
        aim = None if target == "predicted" else engine.classes.index(target)
        found, waited = await batcher.submit((pixels, Asked(aim, method, layer)))
        clock.append(perf_counter())
        told = await meters.aside(messages.told, engine, found, shown)
        clock.append(perf_counter())
        upload, decode, model, draw = np.diff(clock).tolist()
        told |= {"method": method, "layer": layer}
        told["seconds"] = {
            "upload": upload,
            "decode": decode,
            "wait": waited,
            "model": max(model - waited, 0.0),
            "draw": draw,
        }
        return messages.Answer(**told)

    @service.get("/classes", responses=lock, **locked)
    async def classes() -> messages.Classes:
        """What may be asked for."""
        return messages.Classes(
            classes=[{"label": c, "name": messages.name(c)} for c in engine.classes],
            methods=list(engines.METHODS),
            layers=list(engines.LAYERS),
            model={n: engine.page[n] for n in ("backbone", "size", "sha256")},
        )

    @service.get("/health", responses={503: messages.STOPPING})
    async def health(response: Response) -> messages.Health:
        """Is it there? While it answers what is inside before it stops: 503."""
        if meters.closing:
            response.status_code = 503
        status = "closing" if meters.closing else "ok"
        return messages.Health(status=status, waiting=meters.now)

    @service.get("/metrics", responses=lock, response_class=Response, **locked)
    async def metrics() -> Response:
        """Counts and times, as Prometheus reads them."""
        text = generate_latest(meters.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @service.get("/openapi.json", include_in_schema=False, **locked)
    async def openapi() -> JSONResponse:
        return JSONResponse(service.openapi())

    for path in sorted(PAGE.iterdir()):
        if path.suffix in KINDS:
            _static(service, path)
    return service


def _static(service: FastAPI, path: Path) -> None:
    """One file of the page, read once: no name from outside is ever looked up."""
    data, kind = path.read_bytes(), KINDS[path.suffix]
    where = "/" if path.name == "index.html" else f"/{path.name}"

    @service.get(where, include_in_schema=False)
    async def send() -> Response:
        return Response(data, media_type=kind)


def _prepared(data: bytes, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture as the model sees it, and as it is shown."""
    try:
        image = uploads.decode(data)
        return images.squashed(image, size), images.boxed(image, uploads.SIDE)
    finally:
        image = None
        guards.tidy()


def _answers(engine: Engine, items: list) -> list:
    pixels, asked = zip(*items, strict=True)
    return engines.answers(engine, np.stack(pixels), list(asked))


class Server(uvicorn.Server):
    """Told to stop, it says so and takes nothing more; it goes when all is answered."""

    def __init__(self, service: FastAPI, limits: Limits):
        config = uvicorn.Config(
            service,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=CUT,
        )
        super().__init__(config)
        self.meters, self.late = service.state.meters, 0.0

    def handle_exit(self, sig, frame) -> None:
        if not self.meters.closing:
            self.meters.closing, self.late = True, perf_counter() + GRACE
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter)
        late = self.force_exit or perf_counter() > self.late
        return stop and (late or not self.meters.now)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m helpers.service", description=__doc__)
    parser.add_argument(
        "--model", metavar="DIR", help="default: recipe E, of this course"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: this machine alone"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument(
        "--key-file", metavar="FILE", help="holds the key to be asked for"
    )
    parser.add_argument(
        "--origin", action="append", default=[], help="may call as well"
    )
    parser.add_argument("--batch", type=int, default=Limits.batch)
    parser.add_argument("--room", type=int, default=Limits.room)
    chosen = parser.parse_args(arguments)
    try:
        engine = engines.load(chosen.model or _of_the_course(), settings.load().device)
        key = _key(chosen.key_file)
        bound = _bind(chosen.host, chosen.port)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    if engine.familiar is None:
        print(messages.UNCHECKED, file=sys.stderr)
    blank = np.zeros((1, engine.model.size, engine.model.size, 3), np.uint8)
    engines.answers(
        engine, blank, [Asked()]
    )  # the first is slow: nobody shall wait for it
    limits = Limits(room=chosen.room, batch=chosen.batch)
    server = Server(app(engine, limits, key, chosen.origin), limits)
    host, port = bound.getsockname()[:2]
    if key is None and not ip_address(host).is_loopback:
        print(
            f"{host} is open to the network: whoever reaches this port may ask, and read "
            "/metrics; give --key-file",
            file=sys.stderr,
        )
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}", flush=True)
    print(messages.NOTICE, flush=True)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again, when all is answered
        server.run(sockets=[bound])
    return 0


def _of_the_course() -> Path:
    """Recipe E on the data set of the settings: trained now, if it is not yet."""
    from . import course, recipes, trained

    cfg = settings.load(among=settings.SKIN)
    run = trained.ensure(recipes.recipe("E", cfg), course.cases(cfg), cfg)
    familiar.ensure(run)
    return run.folder


def _key(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        key = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise CourseError(
            f"{path}: no key can be read there; give a text file"
        ) from None
    if len(key) < 16:
        raise CourseError(
            f"{path}: the key has {len(key)} characters; 16 are the least"
        )
    return key


def _bind(host: str, port: int) -> socket.socket:
    try:
        bound = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; who connects inherits it
            bound.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNTAKEN
            )
        return bound
    except (OSError, OverflowError) as error:
        raise CourseError(
            f"{host}:{port} cannot be served ({error}); choose another --port"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
