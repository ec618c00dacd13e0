"""The service as an application of Ray Serve.

    serve run service.ray_serve:application num_cpus=2 replicas=2
    serve deploy docker/ray/serve.yaml

One deployment holds the whole service with its own batcher: on CPUs a picture makes no further hop
between processes. Each replica is what `sfd serve` is elsewhere, without its HTTP server.
"""

from collections.abc import Awaitable
from typing import Annotated, Any, Self

import ray
from annotated_types import Ge, Gt
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, model_validator
from ray import serve

from service import logs, runtime
from service.app import create_app
from service.cluster import replicas, targets
from service.cluster.limits import RETRY_S, Limits, derive
from service.cluster.replicas import Cancellations, ReplicaIds
from service.routes.health import livez
from service.settings import Settings

NAME = "sfd"
ATTEMPTS = 3
"""How often a replica is started before the deployment has failed; a wrong setting stays wrong."""
TARGETS_S = 2.0
"""How long a replica may take to say where its metrics are."""


class Arguments(BaseModel):
    """The `args` of the application in a config file, or NAME=VALUE after `serve run`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    replicas: Annotated[int, Ge(1)] = 1
    """How many replicas there are, or at least are if `max_replicas` is higher."""

    max_replicas: Annotated[int, Ge(1)] | None = None
    """Most replicas that the autoscaler starts. Default: `replicas`, so none."""

    num_cpus: Annotated[float, Gt(0)] | None = None
    """CPUs of each replica, from which SFD_THREADS follows. Default: SFD_THREADS, or else the CPUs
    of the process that builds the application."""

    num_gpus: Annotated[float, Ge(0)] = 0
    """GPUs of each replica."""

    settings: dict[str, str | float] = {}
    """Settings by the names of their variables, such as SFD_MODELS. They win over the environment
    of the process that builds the application."""

    @model_validator(mode="after")
    def _most_is_not_less_than_least(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("max_replicas: must not be less than replicas")
        return self


class Replica:
    """One process that serves; Ray sends it requests only after `__init__`."""

    # Ray awaits it.
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        context = serve.get_replica_context()
        writer = logs.configure(settings.log_format, settings.log_level)
        self.id: str = context.replica_id.unique_id
        self.runtime = runtime.load(settings)
        writer.on_drop = self.runtime.metrics.log_lines_dropped.inc
        await self.runtime.warm_up()
        self.target = targets.listen(
            self.runtime.metrics.registry, ray.util.get_node_ip_address(), self.id
        )
        self.handle = serve.get_deployment_handle(context.deployment, context.app_name)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app, which Ray asks for when the replica is warm."""
        app = create_app(self.runtime)
        app.include_router(targets.router)
        app.state.collect_targets = self.collect_targets
        app.add_middleware(Cancellations)
        app.add_middleware(ReplicaIds, replica=self.id)
        return app

    async def check_health(self) -> None:
        """Fail if the event loop hangs, or if images wait and no decoder makes progress."""
        await livez()
        if self.runtime.stalled:
            raise RuntimeError("no decoder makes progress")

    async def metrics_target(self) -> targets.Group:
        """Where the metrics of this replica are."""
        return self.target

    def collect_targets(self) -> Awaitable[list[Any]]:
        """`metrics_target` of every replica, or its exception."""
        response = self.handle.broadcast("metrics_target")
        collected: Awaitable[list[Any]] = response.results_async(
            timeout_s=TARGETS_S, return_exceptions=True
        )
        return collected


def application(arguments: Arguments) -> serve.Application:
    """Builds the application. Raises StartError for wrong settings, before any replica starts.

    The settings are read here, once: a replica has the same ones on whichever node it runs.
    """
    settings, num_cpus = replicas.configure(arguments.settings, arguments.num_cpus)
    limits = derive(settings)
    deployment = serve.deployment(serve.ingress()(Replica)).options(
        name=NAME,
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": arguments.num_gpus},
        **options(limits, arguments.replicas, arguments.max_replicas or arguments.replicas),
    )
    return deployment.bind(settings)


def options(limits: Limits, least: int, most: int) -> dict[str, Any]:
    """The options of the deployment for these limits and numbers of replicas."""
    scaling: dict[str, Any] = {"num_replicas": least}
    if most > least:
        scaling = {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": limits.target_ongoing_requests,
                "look_back_period_s": limits.look_back_period_s,
                "upscale_delay_s": limits.upscale_delay_s,
                "downscale_delay_s": limits.downscale_delay_s,
            }
        }
    return scaling | {
        "max_ongoing_requests": limits.max_ongoing_requests,
        "max_queued_requests": limits.max_queued_requests,
        "graceful_shutdown_timeout_s": limits.graceful_shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": limits.health_check_period_s,
        "health_check_timeout_s": limits.health_check_timeout_s,
        "max_constructor_retry_count": ATTEMPTS,
        # The service has an access log of its own.
        "logging_config": {"enable_access_log": False},
        # For clusters whose proxies lack the middleware of service.cluster.refusals.
        "backpressure_config": {"status_code": 503, "retry_after_s": RETRY_S},
    }
