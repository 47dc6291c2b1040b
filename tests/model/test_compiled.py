"""`compiled` functions: XLA in training and evaluation, plain operations in a graph for export."""

import numpy as np
import tensorflow as tf

from model.compiled import compiled, without_xla
from model.definition.decoder import Memory
from model.fast import step as fast_step
from model.search.beam import beam_search
from model.search.rules import Rules
from tests.support.captioner import LOCATIONS, small_captioner, some_features


@compiled
def _wave(x: tf.Tensor) -> tf.Tensor:
    return tf.sin(x) + 1.0


def traced() -> tf.types.experimental.ConcreteFunction:
    @tf.function(autograph=False)
    def function(x: tf.Tensor) -> tf.Tensor:
        return _wave(x)

    return function.get_concrete_function(tf.TensorSpec([3]))


def demands_xla(function: tf.types.experimental.ConcreteFunction) -> bool:
    """Tell whether anything in the graph of a function demands XLA."""
    graph = function.graph.as_graph_def()
    called = (*graph.library.function, *(node for node in graph.node))
    nodes = [node for each in graph.library.function for node in each.node_def]
    return any("_XlaMustCompile" in each.attr for each in (*called, *nodes))


def test_xla_only_outside_of_an_export():
    assert demands_xla(traced())
    with without_xla():
        plain = traced()
    assert not demands_xla(plain)
    assert demands_xla(traced())  # the context ends
    x = tf.constant([0.0, 1.0, 2.0])
    np.testing.assert_allclose(plain(x), _wave(x), rtol=1e-6)


def test_a_search_for_export_demands_no_xla_anywhere():
    captioner = small_captioner()
    weights = fast_step.lay_out(captioner.decoder)
    rules = Rules(1, 2, max_length=5, no_repeat_ngram=2)

    def search(features: tf.Tensor) -> tf.Tensor:
        memory: Memory = captioner.decoder.memory(features)
        state = captioner.decoder.initial_state(memory, 1)
        by_definition, fast = (
            beam_search(step, state, rules, locations=LOCATIONS).ids
            for step in (
                lambda tokens, state: captioner.decoder.step(tokens, state, memory),
                lambda tokens, state: fast_step.step(weights, memory, tokens, state),
            )
        )
        return by_definition, fast

    with without_xla():
        function = tf.function(search, autograph=False).get_concrete_function(some_features())
    assert not demands_xla(function)
    by_definition, fast = function(some_features())
    np.testing.assert_array_equal(by_definition, fast)
