"""The update of the weights: L2, then the clipped global norm, then Adam, then their average."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import keras
import tensorflow as tf

from artifacts.recipe import Recipe

# The average's decay rises to --ema_decay as t / (t + 10) does, where t counts the steps. So the
# average always covers the last tenth of the steps or less, and the first step sets it.
_EMA_WARMUP = 10


class Adam(keras.optimizers.Adam):
    """Keras' Adam in one pass over a variable, and an exponential moving average of the variables.

    The averages are variables of the optimizer, so a checkpoint keeps them with the others.

    Args:
        learning_rate: The schedule.
        total_steps: Steps of the schedule.
        ema_decay: Share of the average that a step keeps, below 1; 0 averages nothing.
        name: What checkpoints call it; Keras' own would count up through the process.

    Attributes:
        rate_factors: Path of a variable -> what its learning rate is multiplied by; 1 for others.
    """

    rate_factors: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        learning_rate: keras.optimizers.schedules.LearningRateSchedule,
        total_steps: int,
        ema_decay: float = 0.0,
        name: str = "adam",
    ) -> None:
        super().__init__(learning_rate, name=name)
        self.total_steps, self.ema_decay = total_steps, ema_decay
        self._averages: list[keras.Variable] = []
        self._shows_averages = False

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the optimizer's variables for those that it updates.

        Args:
            variables: The variables that are trained.
        """
        super().build(variables)
        if self.ema_decay:
            self._averages = self.add_optimizer_variables(variables, "average")
            for average, variable in zip(self._averages, variables, strict=True):
                average.assign(variable)

    def show_averages(self, shown: bool) -> None:
        """Exchange the values of the trained variables and of their averages.

        Nothing happens where the right ones are there already, or nothing is averaged. No step may
        be taken and no checkpoint be written while the averages are in the variables.

        Args:
            shown: Whether the variables shall hold the averages; else their own values.
        """
        if shown == self._shows_averages or not self._averages:
            return
        # Private API: keras 3.15.1.
        for average, variable in zip(self._averages, self._trainable_variables, strict=True):
            own = tf.identity(variable)
            variable.assign(average)
            average.assign(own)
        self._shows_averages = shown

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable; Keras calls this for each of them."""
        # Private API: keras 3.15.1.
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        step = tf.cast(self.iterations + 1, tf.float32)
        learning_rate = tf.cast(learning_rate, tf.float32)
        if variable.path in self.rate_factors:
            learning_rate *= self.rate_factors[variable.path]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
        if self.ema_decay:
            done = step - 1.0
            decay = tf.minimum(self.ema_decay, done / (done + _EMA_WARMUP))
            average = self._averages[index].value
            # average -= (1 - decay) (average - variable), in one pass less than `assign_sub`.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle, alpha=1.0 - decay, delta=average - variable
            )

    # Private API: keras 3.15.1.
    def _backend_update_step(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable],
        learning_rate: tf.Tensor,
    ) -> None:
        """Update all variables, every replica its own copies and all of them alike.

        Keras' own would sum the gradients over replicas here. Ours are sums already, because the
        norm that is clipped is the norm of the sum.
        """
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)


class _Staircase(keras.optimizers.schedules.ExponentialDecay):
    """A linear warm-up, and a decay at every so many steps, counted from the first.

    Args:
        peak: The learning rate without warm-up and decay.
        decay_steps: Steps from one decay to the next.
        factor: What a decay multiplies.
        warmup: Steps of the warm-up; 0 for none.
    """

    def __init__(self, peak: float, decay_steps: int, factor: float, warmup: int) -> None:
        super().__init__(peak, decay_steps, factor, staircase=True)
        self._warmup = max(1, warmup)
        self._first = 0 if warmup else 1  # Without a warm-up the first step has the peak, too.

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the learning rate of a step, counted from 0."""
        risen = (tf.cast(step, tf.float32) + self._first) / self._warmup
        return super().__call__(step) * tf.minimum(risen, 1.0)


def build_optimizer(
    recipe: Recipe,
    total_steps: int,
    steps_per_epoch: int = 1,
    encoder: Iterable[keras.Variable] = (),
) -> Adam:
    """Build Adam with the recipe's schedule: linear warm-up, then a cosine to zero or steps.

    Args:
        recipe: The recipe: learning rate, warm-up, decay, average.
        total_steps: Steps of the whole run. Half of them at most are warm-up.
        steps_per_epoch: Steps of an epoch, for a decay that epochs count.
        encoder: The variables that --encoder_learning_rate is for.
    """
    adam = Adam(_schedule(recipe, total_steps, steps_per_epoch), total_steps, recipe.ema_decay)
    if recipe.encoder_learning_rate:
        factor = recipe.encoder_learning_rate / recipe.peak_learning_rate
        adam.rate_factors = {variable.path: factor for variable in encoder}
    return adam


def _schedule(
    recipe: Recipe, total_steps: int, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = min(recipe.warmup_steps, total_steps // 2)
    if recipe.schedule == "step":
        decay_steps = recipe.decay_epochs * steps_per_epoch
        return _Staircase(recipe.peak_learning_rate, decay_steps, recipe.decay_factor, warmup)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.peak_learning_rate,
        max(1, total_steps - warmup),
        warmup_target=recipe.peak_learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def warmup_remark(recipe: Recipe, total_steps: int) -> str | None:
    """Return a line when warm-up takes half of the schedule, all that it may take; else None.

    Args:
        recipe: The recipe.
        total_steps: Steps of the schedule.
    """
    half = total_steps // 2
    if not recipe.warmup_steps or recipe.warmup_steps < half:
        return None
    return (
        f"--warmup_steps={recipe.warmup_steps}: the schedule has {total_steps:,} steps, so warm-up"
        " takes half of them: the learning rate reaches its peak,"
        f" {recipe.peak_learning_rate:g}, at step {half:,}; lower --warmup_steps"
    )


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

    Args:
        optimizer: A built optimizer of `variables`.
        gradients: Of `variables`. No IndexedSlices: the norm would count a word as often as it is
            used.
        variables: The weights to update.
        kernels: Those of `variables` that L2 applies to: 2 l2 w is added to their gradient before
            the norm is taken.
        l2: Weight of the sum of squares of `kernels`.
        clip_norm: What the global norm is clipped to.

    Returns:
        The global norm before clipping.
    """
    decayed = {id(kernel) for kernel in kernels} if l2 else set()
    gradients = [
        g + 2.0 * l2 * tf.convert_to_tensor(v) if id(v) in decayed else g
        for g, v in zip(gradients, variables, strict=True)
    ]
    norm = tf.linalg.global_norm(gradients)
    gradients = tf.cond(  # gradients that are short enough are not copied
        norm > clip_norm,
        lambda: [g * (clip_norm / norm) for g in gradients],
        lambda: gradients,
    )
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return norm
