"""The tests of the HTTP API, run against the application of Ray Serve.

pytest collects what is imported here, with the fixture `client` of this module.
"""
# ruff: noqa: F401

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clusters import SMALL, Cluster
from tests.service.middleware.test_head_requests import (
    test_head_answers_as_get_without_the_body,
    test_head_of_a_post_route_is_a_405,
)
from tests.service.middleware.test_request_ids import (
    test_an_error_has_its_id_in_header_and_body,
    test_an_id_is_generated_if_the_client_sends_no_valid_one,
    test_the_id_of_the_client_is_used,
)
from tests.service.middleware.test_slashes import (
    test_detect_works_with_a_slash_at_the_end,
    test_every_other_endpoint_works_with_a_slash_at_the_end,
    test_folders_and_unknown_paths_are_not_found,
)
from tests.service.routes.test_detect import (
    test_a_broken_multipart_body_is_explained,
    test_a_file_is_recognised_by_its_bytes_not_by_its_label,
    test_a_multipart_image_may_have_any_field_name,
    test_an_empty_body_is_explained,
    test_an_image_without_faces_gives_an_empty_list,
    test_boxes_are_in_pixels_of_the_image_as_sent,
    test_each_request_has_its_own_thresholds,
    test_faces_come_best_first,
    test_one_image_is_answered_as_documented,
    test_several_images_are_answered_in_order_and_only_a_bad_one_fails,
    test_small_faces_are_dropped_if_the_request_asks_for_it,
    test_the_error_for_a_wrong_parameter_names_it,
    test_the_images_of_one_request_are_inferred_together,
)
from tests.service.routes.test_health import (
    test_a_scraper_may_ask_for_openmetrics,
    test_livez_says_that_the_process_is_alive,
)
from tests.service.routes.test_inference import (
    body,
    test_a_wrong_input_is_explained,
    test_a_wrong_request_is_explained,
    test_errors_have_the_form_of_the_protocol,
    test_json_is_answered_with_json,
    test_the_stage_times_are_in_the_header,
)
from tests.service.routes.test_models import test_a_model_is_described_with_its_hashes
from tests.service.test_contract import check_contract
from tests.service.test_crops import (
    test_crops_come_with_the_json,
    test_render_crops_answers_with_a_zip_file,
    test_render_crops_of_a_broken_image_is_an_error,
)
from tests.service.test_rendering import (
    test_a_failing_image_is_a_problem_with_render_too,
    test_the_boxes_are_drawn_where_the_faces_are,
    test_the_count_and_the_times_are_in_the_headers,
)


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
    """Two replicas."""
    cluster.deploy(replicas=2, num_cpus=1, settings=SMALL)
    return cluster


@pytest.fixture
def client(deployed: Cluster) -> Iterator[httpx.Client]:
    """Instead of the client of a service in this process."""
    with httpx.Client(base_url=deployed.url, timeout=60) as found:
        yield found


def test_schemathesis_finds_nothing_undocumented(deployed: Cluster, tmp_path: Path) -> None:
    # The phase "coverage" is a thousand requests, which test the app but not Ray.
    check_contract(deployed.url, tmp_path, "--phases=examples,fuzzing", "--max-examples=20")


def test_both_replicas_answer(client: httpx.Client) -> None:
    answers = [client.get("/livez") for _ in range(100)]
    assert len({answer.headers["X-Replica"] for answer in answers}) == 2
