"""Run a SavedModel as TensorFlow Serving does: the V1 loader, a Session, and no XLA.

`python -m tests.support.v1_session SAVED_MODEL INPUTS.npz OUTPUTS.npz`: INPUTS.npz holds batches as
`SIGNATURE/NAME`, and OUTPUTS.npz gets `SIGNATURE/NAME/OUTPUT`. It imports nothing of the project.
"""

import os
import sys

os.environ["TF_XLA_FLAGS"] = "--tf_xla_auto_jit=-1 --tf_xla_cpu_global_jit=false"

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def main(folder: str, inputs: str, outputs: str) -> None:
    config = v1.ConfigProto()
    config.graph_options.optimizer_options.global_jit_level = v1.OptimizerOptions.OFF
    results = {}
    with v1.Session(graph=tf.Graph(), config=config) as session, np.load(inputs) as batches:
        signatures = v1.saved_model.load(session, ["serve"], folder).signature_def
        for name, batch in batches.items():
            signature = signatures[name.partition("/")[0]]
            (argument,) = signature.inputs.values()
            fetches = {key: output.name for key, output in signature.outputs.items()}
            for key, value in session.run(fetches, {argument.name: batch}).items():
                value = value.astype("S") if value.dtype == object else value
                results[f"{name}/{key}"] = value
    np.savez(outputs, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
