"""Small functions that XLA compiles, except in a graph that is traced for export."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import tensorflow as tf

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_XLA = contextvars.ContextVar("xla", default=True)


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let XLA compile a function of tensors into one pass over its numbers.

    Args:
        function: what to compile, once for each combination of shapes.
    """
    with_xla = tf.function(function, autograph=False, jit_compile=True)

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return (with_xla if _XLA.get() else function)(*args, **kwargs)

    return call


@contextlib.contextmanager
def without_xla() -> Iterator[None]:
    """Trace `compiled` functions as plain operations inside this context.

    TensorFlow Serving and LiteRT run no graph that demands XLA.
    """
    token = _XLA.set(False)
    try:
        yield
    finally:
        _XLA.reset(token)
