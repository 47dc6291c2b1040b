"""A loop in graph that keeps what each turn gives in arrays."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf


def for_each(
    steps: tf.Tensor,
    body: Callable[..., tuple[Any, ...]],
    state: Sequence[tf.Tensor],
    elements: Sequence[tf.TensorSpec],
) -> tuple[Any, ...]:
    """Call `body(i, *state, arrays)` for i = 0 .. steps - 1, in graph.

    Args:
        steps: number of calls, scalar int32.
        body: returns i + 1, the new state and the arrays.
        state: tensors whose first axis may change its size.
        elements: what each array holds.

    Returns:
        The last i, the state, and a list of TensorArrays with one element for each i.
    """
    arrays = [
        tf.TensorArray(
            x.dtype, steps, element_shape=x.shape, infer_shape=False, clear_after_read=False
        )
        for x in elements
    ]
    shapes = [tf.TensorShape([None, *x.shape[1:]]) for x in state]
    return tf.while_loop(
        lambda i, *_: i < steps,
        body,
        (0, *state, arrays),
        shape_invariants=(tf.TensorShape([]), *shapes, [tf.TensorShape(None)] * len(elements)),
        maximum_iterations=steps,
    )


def write_all(
    arrays: Iterable[tf.TensorArray], t: tf.Tensor, values: Iterable[tf.Tensor]
) -> list[tf.TensorArray]:
    """Write `values[i]` to place `t` of `arrays[i]`."""
    return [array.write(t, x) for array, x in zip(arrays, values, strict=True)]
