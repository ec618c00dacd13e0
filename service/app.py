"""The ASGI application around a Runtime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from service import compat, openapi, problems, tracing
from service.compat.api import Api
from service.middleware import head_requests
from service.middleware.api_keys import ApiKeys
from service.middleware.closing import Closing
from service.middleware.cors import Cors
from service.middleware.failures import Failures
from service.middleware.head_requests import HeadRequests
from service.middleware.observations import Observations
from service.middleware.request_ids import RequestIds
from service.middleware.security_headers import SecurityHeaders
from service.middleware.slashes import Slashes
from service.middleware.targets import Targets
from service.middleware.traces import Traces
from service.routes import detect, health, inference, models, pages
from service.runtime import Runtime
from sfd.distribution import VERSION

DESCRIPTION = (
    "Finds faces in images. Every error is an `application/problem+json` (RFC 9457) with the id "
    "of the request, which is also in the `X-Request-ID` header of every answer."
)


ROUTERS = tuple(module.router for module in (detect, inference, health, models, pages))


def create_app(runtime: Runtime) -> FastAPI:
    """An app that answers from `runtime`; at shutdown it finishes the accepted requests.

    The caller must also await `runtime.warm_up()`: until then the app is alive but not ready.
    """
    traces = tracing.start()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await runtime.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    app = FastAPI(
        title="SFD face detection",
        version=VERSION,
        description=DESCRIPTION,
        middleware=middleware(runtime, traces),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.runtime = runtime
    app.state.traces = traces
    models = [model for api in apis(runtime) for model in api.models]
    app.openapi = lambda: openapi.document(app, models)  # type: ignore[method-assign]
    app.add_exception_handler(HTTPException, _raise_http)
    app.add_exception_handler(RequestValidationError, _raise_validation)
    for router in routers(runtime):
        app.include_router(router)
    app.router.routes.extend(pages.MOUNTS)
    return app


def apis(runtime: Runtime) -> list[Api]:
    """The other products' APIs that the settings name."""
    return [compat.api(name) for name in dict.fromkeys(runtime.settings.compat)]


def routers(runtime: Runtime) -> list[APIRouter]:
    """All routes."""
    return [*ROUTERS, *(api.router for api in apis(runtime))]


def middleware(runtime: Runtime, traces: tracing.Tracing | None) -> list[Middleware]:
    """The middleware of every request, outermost first."""
    settings = runtime.settings
    others = apis(runtime)
    shapes = (*(api.shape for api in others), *problems.SHAPES)
    stack = [
        Middleware(Targets),
        Middleware(RequestIds),
        Middleware(Closing, runtime=runtime),
        *([] if traces is None else [Middleware(Traces, tracing=traces)]),
        Middleware(Observations, metrics=runtime.metrics),
        Middleware(SecurityHeaders),
    ]
    if settings.cors_origins:
        stack.append(
            Middleware(
                Cors,
                metrics=runtime.metrics,
                shapes=shapes,
                origins=settings.cors_origins,
            )
        )
    key_in_body = {api.key_in_body for api in others if api.key_in_body}
    routes = [route for router in routers(runtime) for route in router.routes]
    # Inside CORS, so that a page of another origin can read why its request failed.
    return [
        *stack,
        Middleware(
            Failures,
            metrics=runtime.metrics,
            shapes=shapes,
            is_draining=lambda: runtime.draining,
        ),
        Middleware(HeadRequests),
        Middleware(Slashes),
        Middleware(ApiKeys, keys=runtime.keys, routes=routes, key_in_body=key_in_body),
    ]


# FastAPI handles its own exceptions here; raised again, `Failures` renders them like all others.
async def _raise_http(request: Request, error: Exception) -> NoReturn:
    assert isinstance(error, HTTPException)
    asked = request.scope.get(head_requests.ASKED, request.method)
    raise problems.of_http(error, request.scope["path"], asked) from None


async def _raise_validation(request: Request, error: Exception) -> NoReturn:
    assert isinstance(error, RequestValidationError)
    raise problems.of_validation(error) from None
