"""Caption a bundle's golden images in a process of its own: `... -m serving.exporting.fresh HOW B`.

HOW is `session`, as TensorFlow Serving runs the SavedModel; or `tensorflow` or `litert`, as the
server runs the bundle. The captions go to stdout, in the format of golden.json.
"""

import sys
from collections.abc import Iterator
from typing import Any

import cli.tensorflow_log  # noqa: F401  before TensorFlow and LiteRT

# isort: split
import numpy as np
from absl.flags import FlagValues

from cli.command import run
from cli.errors import UserError
from pixels import orientation, standard
from pixels.square import square
from serving.bundle import golden
from serving.bundle.golden import Golden, GoldenCaption
from serving.bundle.layout import DEFAULT_SIGNATURE, SAVED_MODEL, Bundle
from serving.bundle.runtime import open_runtime

SESSION = "session"
_BATCH = 8
_XLA = "_XlaMustCompile"


def define_flags(values: FlagValues) -> None:
    """Declare no flags."""


def main(_values: FlagValues, arguments: list[str]) -> None:
    """Caption the golden images.

    Args:
        arguments: How, and the bundle's folder.
    """
    how, folder = arguments
    bundle = Bundle.read(folder)
    images = _by_session(bundle) if how == SESSION else _by_runtime(bundle, how)
    sys.stdout.write(golden.to_json(list(images)))


def is_readable(content: bytes) -> bool:
    """Return whether TensorFlow Serving sees an image as the server does: an upright JPEG or PNG.

    Args:
        content: The bytes of the file.
    """
    image = standard.read(content)
    return not image.reencoded and image.orientation == orientation.UPRIGHT


def _by_runtime(bundle: Bundle, how: str) -> Iterator[Golden]:
    runtime = open_runtime(bundle, how)
    for image in bundle.golden():
        pixels = square(bundle.golden_bytes(image), bundle.input_size)
        captions = runtime.caption(pixels[None])[0]
        yield Golden(image.file, tuple(map(GoldenCaption.of, captions)))


def _by_session(bundle: Bundle) -> Iterator[Golden]:
    """Yield the captions of the images that TensorFlow Serving can read: upright JPEGs and PNGs."""
    import cli.start_tensorflow  # noqa: F401  before TensorFlow

    # isort: split
    import tensorflow as tf

    readable = [image for image in bundle.golden() if is_readable(bundle.golden_bytes(image))]
    config = tf.compat.v1.ConfigProto()
    config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.OFF
    with tf.compat.v1.Session(graph=tf.Graph(), config=config) as session:
        model = tf.compat.v1.saved_model.load(session, ["serve"], bundle.inside(SAVED_MODEL))
        refuse_xla(session.graph.as_graph_def())
        signature = model.signature_def[DEFAULT_SIGNATURE]
        outputs = {name: signature.outputs[name].name for name in ("captions", "words", "scores")}
        for start in range(0, len(readable), _BATCH):
            batch = readable[start : start + _BATCH]
            contents = [bundle.golden_bytes(image) for image in batch]
            arrays = session.run(outputs, {signature.inputs["image_bytes"].name: contents})
            for place, image in enumerate(batch):
                captions = zip(*(arrays[name][place] for name in outputs), strict=True)
                yield Golden(
                    image.file,
                    tuple(
                        GoldenCaption(
                            text.decode(), tuple(w.decode() for w in words if w), float(score)
                        )
                        for text, words, score in captions
                        if np.isfinite(score)
                    ),
                )


def refuse_xla(graph: Any) -> None:
    """Refuse a graph that needs XLA, which the stock TensorFlow Serving does without.

    Args:
        graph: A GraphDef.

    Raises:
        UserError: A function must be compiled by XLA.
    """
    functions = graph.library.function
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    if any(part.attr[_XLA].b for part in [*nodes, *functions] if _XLA in part.attr):
        raise UserError("the SavedModel holds functions that only XLA can run")


if __name__ == "__main__":
    run(main, define_flags, others="positional")
