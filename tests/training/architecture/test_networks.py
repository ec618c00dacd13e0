from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import NetParameter
from training.architecture import networks
from training.architecture.family import (
    MOD2,
    PUBLISHED,
    Architecture,
    Block,
    Extra,
    Head,
)

REFERENCE = "models/reference/sfd-640-mod2"

UPSTREAM = {
    "sfd-320-mod5-bn": "mod5",
    "sfd-320-mod5-nobn": "mod5-nobn",
    "sfd-320-mod11l": "mod11l",
    "sfd-320-mod11e": "mod11e",
    "sfd-320-mod11g": "mod11g",
}


def read(path: Path) -> NetParameter:
    parsed = prototxt.read(path, NetParameter)
    assert not parsed.warnings
    return parsed.message


def without_paths(net: NetParameter) -> NetParameter:
    bare = NetParameter()
    bare.CopyFrom(net)
    for layer in bare.layer:
        layer.data_param.ClearField("source")
        layer.annotated_data_param.ClearField("label_map_file")
    return bare


@pytest.mark.parametrize("kind", [networks.deploy, networks.train, networks.test])
def test_the_default_equals_the_published_mod2_field_by_field(
    shared: Path, kind: Callable[[Architecture], NetParameter]
) -> None:
    published = read(shared / REFERENCE / f"{kind.__name__}.prototxt")
    assert without_paths(kind(MOD2)) == without_paths(published)


@pytest.mark.parametrize(("folder", "name"), UPSTREAM.items())
def test_the_other_published_detectors_are_equal_field_by_field(
    shared: Path, folder: str, name: str
) -> None:
    published = read(shared / "models/upstream" / folder / "deploy.prototxt")
    assert networks.deploy(PUBLISHED[name]) == published


def test_a_block_is_residual_exactly_where_it_keeps_its_shape() -> None:
    blocks = (Block(16), Block(16, stride=2), Block(24), Block(24, expansion=6))
    architecture = replace(MOD2, blocks=blocks, heads=(Head("Conv_1", (64,)),))
    layers = {layer.name: layer for layer in networks.deploy(architecture).layer}
    assert [name for name in layers if name.endswith("/sum")] == ["conv_1/sum", "conv_4/sum"]
    assert list(layers["conv_4/sum"].bottom) == ["conv_3/project_", "conv_4/project_"]
    assert layers["conv_4/expand_"].convolution_param.num_output == 24 * 6
    assert layers["Conv_1"].bottom == ["conv_4"]


def test_every_bottom_is_made_by_an_earlier_layer() -> None:
    architecture = Architecture(
        extras=(Extra(8, 16),), heads=(Head("layer_19_2_2", (10, 20, 30)),), second_stem=True
    )
    known = {"data", "label"}
    for layer in networks.train(architecture).layer:
        assert set(layer.bottom) <= known, layer.name
        known.update(layer.top)


def test_a_head_without_a_feature_is_refused() -> None:
    with pytest.raises(
        networks.ArchitectureError, match="'nowhere', which is not the top of a layer"
    ):
        networks.deploy(replace(MOD2, heads=(Head("nowhere", (16,)),)))
