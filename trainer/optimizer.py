"""The update of the weights: L2, then the clipped global norm, then Adam."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from artifacts.recipe import Recipe


class Adam(keras.optimizers.Adam):
    """Keras' Adam, a variable's update in one pass over it instead of a dozen."""

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Called for each variable."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _backend_update_step(self, grads, trainable_variables, learning_rate) -> None:
        """Keras' own would sum over replicas here; ours are given sums, clipped as a whole.

        Every replica updates its own copies, all of them alike.
        """
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)


def build_optimizer(config: Recipe, total_steps: int) -> Adam:
    """Adam with linear warm-up and cosine decay to zero over `total_steps`."""
    warmup = min(config.warmup_steps, total_steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        max(1, total_steps - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return Adam(schedule, name="adam")  # not numbered through the process


def update(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    *,
    kernels: Sequence[keras.Variable],
    l2: float,
    clip_norm: float,
) -> tf.Tensor:
    """Apply the gradients of the losses.

    Call arguments:
        gradients: of `variables`; no IndexedSlices, or a word's clipped norm would count it as
            often as it is used.
        kernels: those of `variables` that L2 applies to: 2 l2 w is added to their gradient, before
            the norm is taken.
        clip_norm: that the global norm is clipped to.

    Returns: the norm before clipping.
    """
    decayed = {id(kernel) for kernel in kernels} if l2 else ()
    gradients = [
        g + 2.0 * l2 * tf.convert_to_tensor(v) if id(v) in decayed else g
        for g, v in zip(gradients, variables, strict=True)
    ]
    norm = tf.linalg.global_norm(gradients)
    gradients = tf.cond(  # one that is not too long is not written anew
        norm > clip_norm,
        lambda: [g * (clip_norm / norm) for g in gradients],
        lambda: gradients,
    )
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return norm
