"""Runs a model in one precision: a script for an environment with onnxruntime-openvino.

    python openvino_runs.py MODEL_FOLDER PRECISION PROVIDER OUTPUT.npz

OUTPUT gets `boxes` and `scores` of the built-in pictures: one after the other in a session for
batches of one image, then in one for larger batches, then all in one batch. `what` has the provider
and the precision that ran.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from detection.agreement import builtin_pictures
from detection.precision import Precision
from detection.providers import ProviderName
from detection.session import open_session
from store import model as models

if __name__ == "__main__":
    folder, precision, provider, output = sys.argv[1:]
    open_for = partial(
        open_session,
        models.load(Path(folder)),
        ProviderName(provider),
        threads=1,
        streams=2,
        precision=Precision(precision),
    )
    sessions = [open_for(max_batch=size) for size in (1, 2)]
    pictures = builtin_pictures(sessions[0].model)
    found = [session.run([each])[0] for session in sessions for each in pictures]
    found += sessions[-1].run(pictures)
    np.savez(
        output,
        boxes=np.stack([each.boxes for each in found]),
        scores=np.stack([each.scores for each in found]),
        what=np.asarray([sessions[0].provider, sessions[0].precision]),
    )
