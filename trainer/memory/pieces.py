"""A batch that is computed in pieces, one after another: the memory of a piece, the sums of all."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Parts of a piece (None where the batch has None), its number, and how many there are -> sums.
OfPiece = Callable[[Sequence[tf.Tensor | None], tf.Tensor, int | tf.Tensor], Any]


def sum_over_pieces(
    function: OfPiece, batch: Sequence[tf.Tensor | None], pieces: int, zeros: Any
) -> Any:
    """Sum what a function returns for each piece of a batch.

    The pieces are of one size, so that a whole graph can be compiled. Images of zeros fill up the
    last one; without captions they count for nothing.

    Args:
        function: Computes a piece.
        batch: Tensors [B, ...], or None; the first one is a tensor. B is 1 or more.
        pieces: Into how many pieces the batch goes; fewer where B is too small.
        zeros: Nested zeros as the function returns tensors.

    Returns:
        The sums, nested as `zeros`.
    """
    assert batch[0] is not None
    images = batch[0].shape[0] or tf.shape(batch[0])[0]  # a number where the graph knows it
    size = -(-images // pieces)
    count = -(-images // size)
    stacked = [part if part is None else _stack(part, count, size) for part in batch]

    def add(number: tf.Tensor, sums: Any) -> tuple[tf.Tensor, Any]:
        piece = [part if part is None else tf.gather(part, number) for part in stacked]
        return number + 1, tf.nest.map_structure(tf.add, sums, function(piece, number, count))

    # In parallel, the pieces would take the memory of the whole batch.
    _, sums = tf.while_loop(
        lambda number, _: number < count,
        add,
        (tf.constant(0), zeros),
        parallel_iterations=1,
        maximum_iterations=count,
    )
    return sums


def _stack(tensor: tf.Tensor, count: int | tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Cut a tensor into pieces, filled up with zeros: [B, ...] -> [count, size, ...]."""
    shape = tf.shape(tensor)
    padding = tf.pad([[0, count * size - shape[0]]], [[0, len(tensor.shape) - 1], [0, 0]])
    stacked = tf.reshape(tf.pad(tensor, padding), tf.concat([[count, size], shape[1:]], 0))
    known = [number if isinstance(number, int) else None for number in (count, size)]
    stacked.set_shape([*known, *tensor.shape[1:]])
    return stacked
