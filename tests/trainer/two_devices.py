"""A few steps on one device and on two, for `test_distribution.py`: two GPUs where there
are, else two halves of the CPU.

A process of its own: TensorFlow takes its devices when it starts. Its arguments: the formulation,
`fast` or `plain`; then `xla`, else nothing is compiled, which takes most of the time. Prints how
far apart weights and scalars end, as JSON.
"""

import json
import sys

import numpy as np
import tensorflow as tf

if "xla" not in sys.argv:
    function = tf.function
    tf.function = lambda *args, jit_compile=None, **options: function(*args, **options)

# isort: split
from artifacts import weights_file
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.training import config
from trainer.distribution import Cluster, one_device
from trainer.optimizer import build_optimizer
from trainer.step import build_step

# Everything in the objective weighs, and every step is clipped.
RECIPE = {
    "dropout": 0.0,
    "l2": 0.01,
    "doubly_stochastic": 0.5,
    "attention_entropy": 0.2,
    "attention_entropy_floor": 1.7,
    "clip_norm": 0.3,
    "label_smoothing": 0.1,
    "warmup_steps": 0,
    "learning_rate": 0.01,
    "ema_decay": 0.5,
}
# Images of the steps' batches: an uneven share, and none for the second device.
BATCHES = (3, 1)


def trained(cluster: Cluster, plain: bool, **changes):
    """Weights, optimizer state and scalars after a step with each of the batches."""
    recipe = config(**(RECIPE | changes))
    with cluster.strategy.scope():
        captioner = small_captioner()
        captioner.plain = plain
        optimizer = build_optimizer(recipe, 10)
        optimizer.build(captioner.trainable_variables)
    step = build_step(recipe, captioner, optimizer, cluster)
    scalars = []
    for images in BATCHES:
        ids = padded(CAPTIONS[:images], 3, 7)
        result = step(some_features(images), ids)
        scalars.append({name: float(value) for name, value in result.items()})
    state = weights_file.gather(captioner.trainable_variables) | weights_file.gather(
        optimizer.variables
    )
    return state, scalars, captioner


def devices() -> list[str]:
    """Of a kind."""
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        tf.config.experimental.enable_tensor_float_32_execution(False)
        return ["GPU:0", "GPU:1"]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return ["CPU:0", "CPU:1"]


def apart(two: Cluster, plain: bool) -> dict[str, float]:
    """Between one device and two."""
    (one_state, one_scalars, _), (state, scalars, captioner) = (
        trained(cluster, plain) for cluster in (one_device(), two)
    )
    copies = [two.strategy.experimental_local_results(v.value) for v in captioner.weights]
    names = one_scalars[0].keys()
    assert names == scalars[0].keys()
    return {
        "weights": max(float(np.abs(state[n] - one_state[n]).max()) for n in one_state),
        "scalars": max(
            abs(a[n] - b[n]) for a, b in zip(scalars, one_scalars, strict=True) for n in names
        ),
        "copies": max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in copies),
        "norms": [row["gradient_norm"] for row in one_scalars],
        "replicas": two.replicas,
    }


if __name__ == "__main__":
    two = Cluster(tf.distribute.MirroredStrategy(devices()))
    print(json.dumps(apart(two, plain=sys.argv[1] == "plain")))
