"""An encoder frozen for inference, several times as fast on a CPU.

Its weights become constants, batch norms are folded into the convolutions before them, and the
batch has one fixed shape. Wide convolutions and dense layers can multiply in bfloat16.
"""

import ctypes
import gc
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2

# Private API: tensorflow 2.21.0.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training.saver import export_meta_graph

from model.definition.precision import PRECISIONS
from model.encoder import Encoder

# Operations that multiply by a kernel, and the channels in and out from which they are worth
# bfloat16. Narrow and depthwise convolutions would gain little speed and cost most of the accuracy.
_PRODUCTS = ("Conv2D", "MatMul")
_WIDE = 64
_FLOAT, _BFLOAT = tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum


class FrozenEncoder:
    """A frozen copy of an encoder.

    Attributes:
        spec: the encoder's `EncoderSpec`.
        batch_size: images that go through the network together; None: any number.
    """

    def __init__(self, encoder: Encoder, precision: str, batch_size: int | None):
        """Copy and freeze an encoder.

        Args:
            encoder: its weights are copied.
            precision: "float32", or "bfloat16" for the inputs of wide convolutions and dense
                layers; everything between those stays float32.
            batch_size: images that go through the network together. A smaller batch is filled up,
                so that there is one shape and one trace. None: batches of any size, as they come.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"{precision}: not one of {PRECISIONS}")
        self.spec = encoder.spec
        self.batch_size = batch_size
        self._function = _frozen(encoder, precision, batch_size)
        if batch_size:
            # The first call copies the weights into the layout of the CPU's convolutions. Make it
            # now, so that the memory of the old layout can be returned.
            self(np.zeros([1, self.spec.size, self.spec.size, 3], np.float32))
            _return_free_memory()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images as a grid.

        Args:
            images: float32 RGB [n, size, size, 3] in 0..255, n at most `batch_size`.

        Returns:
            float16 [n, H, W, D].
        """
        missing = self.batch_size - len(images) if self.batch_size else 0
        filled = np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])
        return self.in_graph(tf.constant(filled)).numpy()[: len(images)]

    def in_graph(self, images: tf.Tensor) -> tf.Tensor:
        """Return the features of images as a grid, also in a graph that is being traced.

        Args:
            images: float32 RGB [n, size, size, 3] in 0..255, n as `batch_size` says.

        Returns:
            float16 [n, H, W, D].
        """
        return self._function(images)[0]


def _frozen(
    encoder: Encoder, precision: str, batch_size: int | None
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    side = encoder.spec.size
    images = tf.TensorSpec([batch_size, side, side, 3], tf.float32)

    def features(images: tf.Tensor) -> tf.Tensor:
        grid = tf.reshape(encoder(images), [-1, *encoder.spec.grid])
        return tf.cast(tf.clip_by_value(grid, tf.float16.min, tf.float16.max), tf.float16)

    meta, input_name, output_name = _with_constants(features, images)
    _return_free_memory()
    graph = _folded(meta)
    del meta
    _return_free_memory()
    if precision == "bfloat16":
        _multiply_in_bfloat16(graph)
    return tf.compat.v1.wrap_function(
        lambda images: tf.graph_util.import_graph_def(
            graph, input_map={input_name: images}, return_elements=[output_name]
        ),
        [images],
    )


def _with_constants(
    features: Callable[[tf.Tensor], tf.Tensor], images: tf.TensorSpec
) -> tuple[meta_graph_pb2.MetaGraphDef, str, str]:
    """Trace a function and turn its variables into constants.

    Returns:
        The graph, the name of its input and the name of its output.
    """
    traced = tf.function(features, autograph=False).get_concrete_function(images)
    constant = convert_variables_to_constants_v2(traced)
    meta = export_meta_graph(graph_def=constant.graph.as_graph_def(), graph=constant.graph)
    ends = (*constant.inputs, *constant.outputs)
    # Grappler keeps the nodes that it finds in this collection.
    meta.collection_def["train_op"].node_list.value.extend(end.op.name for end in ends)
    input_name, output_name = (end.name for end in ends)
    return meta, input_name, output_name


def _folded(meta: meta_graph_pb2.MetaGraphDef) -> graph_pb2.GraphDef:
    """Compute everything in the graph that does not depend on its input."""
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.TWO
    rewrite.min_graph_nodes = -1  # small graphs too
    if any(node.op == "Erfc" for node in meta.graph_def.node):
        # LiteRT's converter knows GELU by the order of its products, which this would change.
        rewrite.arithmetic_optimization = rewriter_config_pb2.RewriterConfig.OFF
    return tf_optimizer.OptimizeGraph(config, meta)


def _return_free_memory() -> None:
    """Return free memory to the system, where the C library (glibc) would keep it.

    Freezing copies all weights several times, so a worker would hold about twice what it needs.
    """
    gc.collect()  # a traced function and its graph refer to each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _multiply_in_bfloat16(graph: graph_pb2.GraphDef) -> None:
    """Round image and kernel of each wide product to bfloat16; its sums stay float32."""
    nodes = {node.name: node for node in graph.node}
    for node in list(nodes.values()):
        kernel = nodes.get(node.input[1]) if node.op in _PRODUCTS else None
        if kernel is None or kernel.op != "Const":
            continue
        if min(dim.size for dim in kernel.attr["value"].tensor.tensor_shape.dim[-2:]) < _WIDE:
            continue
        if kernel.attr["dtype"].type == _FLOAT:
            rounded = tf.cast(tf.make_ndarray(kernel.attr["value"].tensor), tf.bfloat16)
            kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(rounded.numpy()))
            kernel.attr["dtype"].type = _BFLOAT
        image = node.input[0].replace(":", "_") + "/bfloat16"
        if image not in nodes:
            nodes[image] = graph.node.add()
            _make_cast(nodes[image], image, node.input[0], _FLOAT, _BFLOAT)
        product = graph.node.add()
        product.CopyFrom(node)
        product.name, product.input[0] = node.name + "/product", image
        product.attr["T"].type = _BFLOAT
        _make_cast(node, node.name, product.name, _BFLOAT, _FLOAT)


def _make_cast(
    node: node_def_pb2.NodeDef, name: str, source: str, from_type: int, to_type: int
) -> None:
    """Turn a node into a cast of the output of the node `source`."""
    node.Clear()
    node.name, node.op = name, "Cast"
    node.input.append(source)
    node.attr["SrcT"].type, node.attr["DstT"].type = from_type, to_type
