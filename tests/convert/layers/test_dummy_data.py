"""DummyData's constants, alone and with layers that have a batch."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def dummy(parameter: str, tops: str = 'top: "c"') -> str:
    return f'layer {{ name: "c" type: "DummyData" {tops} dummy_data_param {{ {parameter} }} }}\n'


SHAPE = "shape { dim: 1 dim: 2 dim: 3 dim: 4 }"
TWO = f'{SHAPE} data_filler {{ type: "constant" value: 2 }}'


def join(kind: str, parameter: str = "") -> str:
    return f"""layer {{ name: "new" type: "{kind}" bottom: "data" bottom: "c" top: "new"
                       {parameter} }}"""


def test_a_constant_is_added_to_each_image(run: Run, images: Images) -> None:
    x = images(2, 3, 4)
    found = run(dummy(TWO) + join("Eltwise"), x, stated_batch=1)["new"]
    np.testing.assert_allclose(found, x + 2)


def test_the_order_of_the_bottoms_does_not_matter(run: Run, images: Images) -> None:
    x = images(2, 3, 4)
    text = """layer { name: "new" type: "Eltwise" bottom: "c" bottom: "data" top: "new"
                      eltwise_param { operation: SUM coeff: 3 coeff: 1 } }"""
    np.testing.assert_allclose(run(dummy(TWO) + text, x, stated_batch=1)["new"], x + 6, rtol=1e-6)


def test_a_constant_with_the_batch_that_the_prototxt_states(run: Run, images: Images) -> None:
    x = images(2, 3, 4)
    text = dummy(TWO.replace("dim: 1", "dim: 10", 1)) + join("Eltwise")
    np.testing.assert_allclose(run(text, x, stated_batch=10)["new"], x + 2)


def test_a_constant_is_concatenated_to_each_image(run: Run, images: Images) -> None:
    x = images(5, 3, 4)
    found = run(dummy(TWO) + join("Concat"), x, stated_batch=1)["new"]
    assert found.shape == (7, 7, 3, 4)
    np.testing.assert_array_equal(found[:, :5], x)
    assert (found[:, 5:] == 2).all()


def test_a_constant_scales_each_image(run: Run, images: Images) -> None:
    x = images(2, 3, 4)
    text = dummy(TWO.replace(SHAPE, "shape { dim: 1 dim: 2 }"))
    found = run(text + join("Scale", "scale_param { axis: 0 }"), x, stated_batch=1)["new"]
    np.testing.assert_allclose(found, x * 2)


def test_each_top_has_its_shape_and_value(run: Run, images: Images) -> None:
    parameter = """shape { dim: 2 } shape { dim: 3 dim: 1 }
        data_filler { value: 1 } data_filler { value: -4 }"""
    found = run(
        dummy(parameter, 'top: "c" top: "d"') + join("ReLU").replace('bottom: "c"', ""), images(2)
    )
    np.testing.assert_array_equal(found["c"], np.ones(2))
    np.testing.assert_array_equal(found["d"], np.full((3, 1), -4))


def test_old_files_give_four_numbers_and_no_filler_means_0(run: Run, images: Images) -> None:
    text = dummy("num: 1 channels: 2 height: 3 width: 4")
    found = run(text + join("ReLU").replace('bottom: "c"', ""), images(2))
    np.testing.assert_array_equal(found["c"], np.zeros((1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "expected one shape"),
        (f"{SHAPE} {SHAPE}", "expected one shape"),
        (
            f'{SHAPE} data_filler {{ type: "gaussian" }}',
            "gaussian gives different numbers in each run",
        ),
        (f"{SHAPE} data_filler {{ }} data_filler {{ }}", "expected one data_filler"),
        ("shape { dim: 0 }", "can't have the shape [0]"),
        ("shape { dim: 100000 dim: 100000 }", "can't have the shape"),
    ],
)
def test_a_filler_that_is_not_constant_is_explained(
    problems: Problems, images: Images, parameter: str, message: str
) -> None:
    (found,) = problems(dummy(parameter) + join("Eltwise"), images(2, 3, 4), stated_batch=1)
    assert message in found
