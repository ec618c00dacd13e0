"""Parameter: a blob as a value."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def parameter(dims: str) -> str:
    return f"""layer {{ name: "p" type: "Parameter" top: "p"
                       parameter_param {{ shape {{ {dims} }} }} }}
               layer {{ name: "new" type: "Scale" bottom: "data" bottom: "p" top: "new"
                       scale_param {{ axis: 1 }} }}"""


def test_the_top_is_the_blob(run: Run, images: Images, rng: np.random.Generator) -> None:
    x, blob = images(3, 4), rng.normal(size=3).astype(np.float32)
    found = run(parameter("dim: 3"), x, {"p": [blob]})["new"]
    np.testing.assert_allclose(found, x * blob[:, None], rtol=1e-6)


@pytest.mark.parametrize(
    ("dims", "blobs", "message"),
    [
        ("dim: 3", {}, "no weights for it"),
        ("dim: 3", {"p": [np.ones(4)]}, "expected shape [3], found [4]"),
        ("", {"p": [np.ones(4)]}, "state one without zeros"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Problems, images: Images, dims: str, blobs: dict[str, list[F32]], message: str
) -> None:
    (found,) = problems(parameter(dims), images(3, 4), blobs)
    assert message in found
