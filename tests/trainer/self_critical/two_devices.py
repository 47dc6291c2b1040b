"""Two self-critical steps on one device and on two, for `test_step.py`.

A process of its own: TensorFlow takes its devices when it starts. Prints how far apart weights and
scalars end, as JSON.
"""

import json

import numpy as np
import tensorflow as tf

from tests.trainer.two_devices import devices  # turns XLA off, too

# isort: split
from artifacts import weights_file
from tests.support.captioner import small_captioner, some_features
from tests.support.training import config
from trainer.distribution import Cluster, one_device
from trainer.optimizer import build_optimizer
from trainer.self_critical.step import Judgement, SelfCriticalStep

# Images of the steps' batches: an uneven share, and none for the second device.
BATCHES = (3, 1)
RECIPE = {
    "stage": "scst",
    "dropout": 0.0,
    "scst_samples": 4,
    "scst_learning_rate": 0.01,
    "warmup_steps": 0,
    "l2": 0.01,
    "doubly_stochastic": 0.5,
    "clip_norm": 0.3,
}


def reward(image_ids, captions):
    """Reward long captions and word 5, more of it in later images."""
    return (captions != 0).sum(-1) + (captions == 5).sum(-1) * (1.0 + image_ids[:, None])


def trained(cluster: Cluster):
    """Return weights, optimizer state and scalars after a step with each of the batches."""
    recipe = config(**RECIPE)
    with cluster.strategy.scope():
        captioner = small_captioner()
        captioner.plain = False
        optimizer = build_optimizer(recipe, 10)
        optimizer.build(captioner.trainable_variables)
    step = SelfCriticalStep(
        recipe, captioner, optimizer, Judgement(reward, np.array([7]), 9), cluster
    )
    scalars = [
        {n: float(v) for n, v in step(some_features(images), np.arange(images)).items()}
        for images in BATCHES
    ]
    state = weights_file.gather(captioner.trainable_variables) | weights_file.gather(
        optimizer.variables
    )
    return state, scalars


if __name__ == "__main__":
    two = Cluster(tf.distribute.MirroredStrategy(devices()))
    (one_state, one_scalars), (state, scalars) = trained(one_device()), trained(two)
    names = one_scalars[0].keys()
    assert names == scalars[0].keys()
    apart = {
        "weights": max(float(np.abs(state[n] - one_state[n]).max()) for n in one_state),
        "scalars": max(
            abs(a[n] - b[n]) for a, b in zip(scalars, one_scalars, strict=True) for n in names
        ),
        "replicas": two.replicas,
        "rewards": [row["reward"] for row in one_scalars],
    }
    print(json.dumps(apart))
