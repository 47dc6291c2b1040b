"""Import this before TensorFlow: it starts TensorFlow and Keras as this program needs them.

The settings of other projects, in environment variables or in ~/.keras/keras.json, must not change
the captions, the weights or the features that a command computes.
"""

import os
import sys

import cli.tensorflow_log  # noqa: F401  (before TensorFlow)
from cli import foreign_variables

foreign_variables.forget_tensorflows()
foreign_variables.connect_directly()  # Training on several machines uses gRPC.
# A variable is stronger than keras.json.
os.environ["KERAS_BACKEND"], os.environ["KERAS_NNX_ENABLED"] = "tensorflow", "0"

try:
    import keras
except ModuleNotFoundError:  # TensorFlow is not installed: whoever needs it says so.
    raise
except ImportError as error:
    print(
        f"error: TensorFlow cannot be loaded: {' '.join(str(error).split())}; give it more memory"
        " (`ulimit -v`), or install it anew with `pip install --force-reinstall tensorflow`",
        file=sys.stderr,
    )
    sys.exit(1)
except Exception as error:  # Keras does not check keras.json for more than a few mistakes.
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    print(
        f"error: {os.path.join(home, 'keras.json')}: Keras cannot start with these settings"
        f" ({reason}); correct or remove the file",
        file=sys.stderr,
    )
    sys.exit(1)

keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
