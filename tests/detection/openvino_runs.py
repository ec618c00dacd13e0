"""Runs a model in one precision: a script for an environment with onnxruntime-openvino.

    python openvino_runs.py MODEL_FOLDER PRECISION PROVIDER OUTPUT.npz

OUTPUT gets `boxes` and `scores` of the built-in pictures, one after the other and all in one batch,
and `what`: the provider and the precision that ran.
"""

import sys
from pathlib import Path

import numpy as np

from detection.agreement import builtin_pictures
from detection.precision import Precision
from detection.providers import ProviderName
from detection.session import open_session
from store import model as models

if __name__ == "__main__":
    folder, precision, provider, output = sys.argv[1:]
    session = open_session(
        models.load(Path(folder)),
        ProviderName(provider),
        threads=1,
        max_batch=2,
        streams=2,
        precision=Precision(precision),
    )
    pictures = builtin_pictures(session.model)
    found = [*(session.run([each])[0] for each in pictures), *session.run(pictures)]
    np.savez(
        output,
        boxes=np.stack([each.boxes for each in found]),
        scores=np.stack([each.scores for each in found]),
        what=np.asarray([session.provider, session.precision]),
    )
