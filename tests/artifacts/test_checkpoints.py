"""Checkpoints: weights, optimizer and step there and back."""

import numpy as np
import tensorflow as tf

from artifacts.checkpoints import Checkpoints
from artifacts.run_folder import RunFolder


def test_a_checkpoint_brings_optimizer_and_weights_back(tmp_path):
    def some(seed):
        rng = np.random.default_rng(seed)
        variables = [
            tf.keras.Variable(rng.normal(size=s).astype("f"), name=f"v{s[0]}")
            for s in ((3, 2), (4,))
        ]
        optimizer = tf.keras.optimizers.Adam(name="adam")
        optimizer.build(variables)
        optimizer.apply_gradients([(tf.convert_to_tensor(v) * 2, v) for v in variables])
        return Checkpoints(RunFolder(str(tmp_path)), variables, optimizer, keep=2)

    first, second = some(1), some(2)
    assert second.restore() is None
    for step in (1, 2, 3):
        first.save(step, {"step": step})
    assert len(first.newest()) == 2
    assert second.restore() == {"step": 3}
    for one, other in (
        (first.variables, second.variables),
        (first.optimizer.variables, second.optimizer.variables),
    ):
        assert len(one) > 1
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_a_kill_left_of_a_checkpoint_is_swept(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = tmp_path / "checkpoints" / ".tmp-0123456789abcdef0123456789abcdef"
    left.write_bytes(b"half")
    optimizer = tf.keras.optimizers.Adam()
    assert Checkpoints(RunFolder(str(tmp_path)), [], optimizer, keep=2).restore() is None
    assert not left.exists()
