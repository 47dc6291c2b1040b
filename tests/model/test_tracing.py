"""Functions of batches that are traced once."""

import tensorflow as tf

from model.fast.tracing import any_batch


def test_one_graph_serves_all_sizes():
    traced = []

    @any_batch
    def sums(inputs, ids):
        traced.append((inputs.shape, ids.shape))
        return tf.reduce_sum(inputs), tf.reduce_sum(ids)

    for images, captions, words in ((4, 5, 9), (4, 5, 11), (1, 2, 3)):
        inputs = tf.ones([images, 6, 10], tf.float16)
        total, spoken = sums(inputs, tf.ones([images, captions, words], tf.int32))
        assert (int(total), int(spoken)) == (60 * images, images * captions * words)
    assert [tuple(shape.as_list()) for shape in traced[0]] == [(None, 6, 10), (None, None, None)]
    assert len(traced) == 1
    sums(tf.ones([2, 8, 8, 3]), tf.ones([2, 1, 4], tf.int32))  # images are another kind of input
    assert len(traced) == 2
