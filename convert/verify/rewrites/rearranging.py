"""Layers that move, join or pool values, as OpenCV reads them right."""

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.rewrites.piece import Piece, Shapes, identity


def concat(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores the old name of `axis`."""
    concat = message.concat_param
    if concat.HasField("concat_dim"):
        concat.axis = concat.concat_dim
        concat.ClearField("concat_dim")
    return [Piece(message)]


def slice_layer(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores the old name of `axis`, and refuses to make one part."""
    parameter = message.slice_param
    if parameter.HasField("slice_dim"):
        parameter.axis = parameter.slice_dim
        parameter.ClearField("slice_dim")
    if len(layer.tops) == 1:
        return [identity(layer.name, layer.bottoms[0], layer.tops[0])]
    return [Piece(message)]


def split(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Split has as many tops as readers: each top becomes an identity of its own."""
    return [identity(f"{layer.name}/{top}", layer.bottoms[0], top) for top in layer.tops]


def tile(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV's Tile takes other parameters: a Concat repeats the bottom."""
    axis, tiles = message.tile_param.axis, message.tile_param.tiles
    message.ClearField("tile_param")
    message.type, message.concat_param.axis = "Concat", axis
    message.bottom[:] = list(layer.bottoms) * tiles
    return [Piece(message)]


def permute(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV wants every axis in `order`; Caffe lets those left out follow."""
    order = message.permute_param.order
    order.extend(axis for axis in range(len(shapes[layer.bottoms[0]])) if axis not in set(order))
    return [Piece(message)]


def pooling(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV knows `ceil_mode` of the forks' three fields for one thing."""
    pooling = message.pooling_param
    if pooling.round_mode == caffe_pb2.PoolingParameter.FLOOR or pooling.torch_pooling:
        pooling.ceil_mode = False
    for field in ("round_mode", "torch_pooling"):
        pooling.ClearField(field)
    return [Piece(message)]


def interp(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks `shrink_factor`: it gets the size."""
    interp = message.interp_param
    for field in ("shrink_factor", "zoom_factor"):
        interp.ClearField(field)
    interp.height, interp.width = (int(size) for size in shapes[layer.tops[0]][2:])
    return [Piece(message)]
