"""Data layers name their images and resize them to the input."""

from dataclasses import replace
from pathlib import Path

from training.architecture import networks
from training.architecture.family import MOD2


def test_no_path_leads_out_of_the_working_directory() -> None:
    for net in (networks.train(MOD2), networks.test(MOD2)):
        data = net.layer[0]
        for path in (data.data_param.source, data.annotated_data_param.label_map_file):
            assert path
            assert not Path(path).is_absolute()


def test_the_input_size_reaches_the_input_and_both_data_layers() -> None:
    small = replace(MOD2, height=320, width=480)
    assert list(networks.deploy(small).input_shape[0].dim) == [1, 3, 320, 480]
    for net in (networks.train(small), networks.test(small)):
        resize = net.layer[0].transform_param.resize_param
        assert (resize.height, resize.width) == (320, 480)
