"""The solver file: iterations, learning rate and type of update."""

from convert.caffe.caffe_pb2 import SolverParameter


def solver(name: str, *, folder: str, test_images: int = 3228) -> SolverParameter:
    """RMSProp with a rate that is halved three times, as published, for model `name` in `folder`.

    `folder` holds train.prototxt and test.prototxt. A test runs through `test_images` images,
    two at a time. Their default number is that of WIDER FACE's validation set.
    """
    return SolverParameter(
        train_net=f"{folder}/train.prototxt",
        test_net=[f"{folder}/test.prototxt"],
        test_iter=[test_images // 2],
        test_interval=1000,
        base_lr=0.00005,
        display=10,
        max_iter=80000,
        lr_policy="multistep",
        gamma=0.5,
        weight_decay=0.00001,
        snapshot=5000,
        snapshot_prefix=f"snapshots/{name}",
        solver_mode=SolverParameter.GPU,
        device_id=0,
        debug_info=False,
        snapshot_after_train=True,
        test_initialization=True,
        average_loss=10,
        stepvalue=[35000, 60000, 80000],
        iter_size=6,
        type="RMSProp",
        eval_type="detection",
        ap_version="11point",
    )
