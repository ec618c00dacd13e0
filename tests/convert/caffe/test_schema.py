"""The schema knows the parameters of the forks' layers by the names that their prototxts write."""

import pytest

from convert.caffe import caffe_pb2, legacy, prototxt


@pytest.mark.parametrize(
    "layer",
    [
        "type: 'BN' bn_param { bn_mode: INFERENCE scale_filler { value: 1 } shift_filler { } }",
        "type: 'BN' bn_param { slope_filler { } bias_filler { } frozen: true momentum: 0.95 }",
        "type: 'Upsample' upsample_param { scale: 2 pad_out_h: true upsample_w: 60 }",
        "type: 'Unpooling' unpooling_param { unpool: MAX kernel_size: 2 unpool_size: 14 }",
        "type: 'ImResize' imresize_param { factor: 8 scale_gap: 0.3 start_scale: 1 }",
        "type: 'Reorg' reorg_param { stride: 2 reverse: true }",
        "type: 'Region' region_param { num: 5 classes: 20 coords: 4 thresh: 0.1 softmax: true }",
        "type: 'YoloDetectionOutput' yolo_detection_output_param { biases: 1 biases: 2 side: 13 }",
        "type: 'Yolov3DetectionOutput' yolov3_detection_output_param { mask: 0 anchors_scale: 32 }",
        "type: 'ShuffleChannel' shuffle_channel_param { group: 3 }",
        "type: 'Transpose' transpose_param { dim: 0 dim: 2 dim: 1 }",
        "type: 'Reverse' reverse_param { axis: 0 }",
        "type: 'Flip' flip_param { flip_width: true flip_height: false }",
        "type: 'SPP' spp_param { pyramid_height: 3 }",
        "type: 'Swish' swish_param { beta: 1.5 }",
        "type: 'Clip' clip_param { min: 0 max: 6 }",
        "type: 'MVN' mvn_param { across_channels: true }",
        "type: 'Threshold' threshold_param { threshold: 0.5 }",
        "type: 'LSTM' recurrent_param { num_output: 5 expose_hidden: true }",
        "type: 'Lstm' lstm_param { num_output: 5 clipping_threshold: 0.1 batch_size: 2 }",
        "type: 'ContinuationIndicator' continuation_indicator_param { time_step: 5 batch_size: 1 }",
        "type: 'CTCGreedyDecoder' ctc_decoder_param { ctc_merge_repeated: true }",
        "type: 'Convolution3D' convolution3d_param { kernel_size: 3 kernel_depth: 2 }",
        "type: 'Convolution3D' convolution_param { kernel_size: 3 temporal_pad: 1 }",
        "type: 'Pooling3D' pooling_param { kernel_size: 2 kernel_depth: 1 temporal_stride: 1 }",
        "type: 'LocallyConnected' locally_connected_param { num_output: 2 kernel_size: 3 }",
        "type: 'NormalizeBBox' norm_param { across_spatial: false channel_shared: false }",
        "type: 'ROIPooling' roi_pooling_param { pooled_w: 7 pooled_h: 7 spatial_scale: 0.0625 }",
        "type: 'PSROIPooling' psroi_pooling_param { spatial_scale: 0.0625 output_dim: 21 }",
        "type: 'ROIAlign' roi_align_param { pooled_w: 7 pooled_h: 7 spatial_scale: 0.0625 }",
        "type: 'Proposal' proposal_param { feat_stride: 16 ratio: 0.5 pre_nms_topn: 6000 }",
        "type: 'Correlation' correlation_param { pad: 20 kernel_size: 1 max_displacement: 20 }",
        "type: 'FlowWarp' flow_warp_param { fill_value: ZERO }",
        "type: 'Resample' resample_param { width: 32 type: LINEAR antialias: false }",
        "type: 'Parameter' parameter_param { shape { dim: 2 } }",
        "type: 'DummyData' dummy_data_param { shape { dim: 2 } data_filler { value: 2 } }",
        "type: 'Python' python_param { module: 'rpn' layer: 'ProposalLayer' param_str: '{}' }",
    ],
)
def test_a_layer_of_a_fork_has_no_unknown_field(layer: str) -> None:
    parsed = prototxt.parse(f"layer {{ {layer} }}", caffe_pb2.NetParameter)
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "parameter"),
    [
        ("type: BN bn_param { bn_mode: INFERENCE }", "BN", "bn_param"),
        ("type: UPSAMPLE upsample_param { scale: 2 }", "Upsample", "upsample_param"),
        ("type: CONVOLUTION3D convolution_param { }", "Convolution3D", "convolution_param"),
        ("type: LSTM lstm_param { num_output: 2 }", "LSTM", "lstm_param"),
    ],
)
def test_the_old_form_of_a_fork_is_upgraded(old: str, new: str, parameter: str) -> None:
    parsed = prototxt.parse(f"layers {{ {old} }}", caffe_pb2.NetParameter)
    layers, problems = legacy.entries(parsed)
    assert problems == []
    assert layers[0].parameter.type == new
    assert layers[0].parameter.HasField(parameter)


def test_every_type_of_the_old_form_has_a_name() -> None:
    assert set(legacy.TYPES) == set(caffe_pb2.V1LayerParameter.LayerType.keys())
