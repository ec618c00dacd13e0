"""The application, as far as it can be checked without a cluster."""

from types import ModuleType

import pytest
import yaml
from pydantic import ValidationError

from detection.errors import StartError
from service.cluster.limits import derive
from service.cluster.replicas import configure
from service.listening import KEEP_ALIVE_S
from tests.clusters import CONFIG

# Ray itself uses what its own libraries deprecate.
pytestmark = pytest.mark.filterwarnings("ignore")

SHIPPED = yaml.safe_load(CONFIG.read_text("utf-8"))


@pytest.fixture
def ray_serve(has_ray: None) -> ModuleType:
    """The module, if Ray is installed."""
    from service import ray_serve

    return ray_serve


def test_the_shipped_file_agrees_with_the_derived_limits() -> None:
    (application,) = SHIPPED["applications"]
    given = application["args"]
    settings, _ = configure(given["settings"], given["num_cpus"])
    http = SHIPPED["http_options"]
    assert http["request_timeout_s"] == derive(settings).proxy_timeout_s
    assert http["keep_alive_timeout_s"] == KEEP_ALIVE_S


def test_the_shipped_file_has_arguments_that_the_application_takes(ray_serve: ModuleType) -> None:
    (application,) = SHIPPED["applications"]
    module, _, name = application["import_path"].partition(":")
    assert module == ray_serve.__name__
    arguments = ray_serve.Arguments(**application["args"])
    assert callable(getattr(ray_serve, name))
    assert arguments.max_replicas > arguments.replicas


def test_each_limit_reaches_ray(ray_serve: ModuleType) -> None:
    settings, _ = configure({}, 2)
    limits = derive(settings)
    given = {"max_replicas": 5, "replicas": 2, "num_cpus": 2, "num_gpus": 0.5}
    built = ray_serve.application(ray_serve.Arguments(**given))
    deployment = built._bound_deployment
    assert deployment.max_ongoing_requests == limits.max_ongoing_requests
    assert deployment.max_queued_requests == limits.max_queued_requests
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    config = deployment._deployment_config
    assert config.graceful_shutdown_timeout_s == limits.graceful_shutdown_timeout_s
    assert config.health_check_timeout_s == limits.health_check_timeout_s
    scaling = config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)
    assert scaling.target_ongoing_requests == limits.target_ongoing_requests


def test_a_fixed_number_of_replicas_is_not_scaled(ray_serve: ModuleType) -> None:
    built = ray_serve.application(ray_serve.Arguments(replicas=3, num_cpus=1))
    config = built._bound_deployment._deployment_config
    assert (config.num_replicas, config.autoscaling_config) == (3, None)


def test_a_replica_serves_with_threads_for_its_cpus(ray_serve: ModuleType) -> None:
    built = ray_serve.application(ray_serve.Arguments(num_cpus=1.5))
    (settings,) = built._bound_deployment.init_args
    assert settings.threads == 2


def test_a_wrong_setting_is_refused_before_a_replica_starts(ray_serve: ModuleType) -> None:
    with pytest.raises(StartError, match="did you mean SFD_MODELS"):
        ray_serve.application(ray_serve.Arguments(settings={"SFD_MODEL": "x"}))


@pytest.mark.parametrize(
    "given", [{"replicas": 0}, {"num_cpus": 0}, {"threads": 1}, {"replicas": 3, "max_replicas": 2}]
)
def test_wrong_arguments_are_refused(ray_serve: ModuleType, given: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ray_serve.Arguments(**given)
