"""The weights of an image network: from a file of the user, or those that Keras downloads.

Only arrays are read. A model that a file holds beside them is never built: its code never runs.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.utils import file_utils  # Private API: keras 3.15.1.

from model import saved_networks
from model.saved_networks import SavedLayer, SavedNetwork

_ENDINGS = (".weights.h5", ".keras", ".h5", ".hdf5")


class WeightsError(ValueError):
    """Encoder weights that cannot be loaded; the message says what to do."""


class _MisfitError(ValueError):
    """A file that holds another network.

    Attributes:
        fitting: How many layers fit before the one that does not.
    """

    def __init__(self, message: str, fitting: int = 0):
        super().__init__(message)
        self.fitting = fitting


def load_file(network: keras.Model, path: str, name: str) -> None:
    """Set the weights of a network from a file that Keras wrote of it, with or without its top.

    Args:
        network: The network, without its top.
        path: A `.weights.h5`, a `.keras`, or a `.h5` or `.hdf5` of older versions.
        name: Name of the network, for messages.

    Raises:
        WeightsError: The file cannot be read, is another network's, or is no file of weights.
    """
    flag = f"--encoder_weights={path}"
    remedy = f"give what model.save_weights('NAME.weights.h5') or model.save writes of {name}"
    if not os.path.exists(path):
        raise WeightsError(f"{flag}: no such file (or give `imagenet` or `random`)")
    if not os.path.isfile(path) or not path.endswith(_ENDINGS):
        raise WeightsError(f"{flag}: expected a {', '.join(_ENDINGS)} file; {remedy}")
    size = sum(array.nbytes for array in network.get_weights())
    try:
        with saved_networks.opened(path, size) as candidates:
            values = _read(_fitting(network, candidates))
    except _MisfitError as misfit:
        raise WeightsError(f"{flag}: not the weights of {name}: {misfit}; {remedy}") from None
    except Exception as error:  # h5py and zipfile raise many kinds for a file that is damaged
        raise WeightsError(
            f"{flag}: not the weights of {name} ({first_line(error)}); {remedy}"
        ) from None
    for variable, value in values:
        if not np.isfinite(value).all():
            raise WeightsError(f"{flag}: {variable.path} holds values that are no finite numbers")
    for variable, value in values:
        variable.assign(value)


def download(build: Callable[[str], keras.Model], name: str) -> keras.Model:
    """Build a network with the ImageNet weights that Keras keeps, or downloads.

    Args:
        build: Builds the network from the name of weights.
        name: Name of the network, for messages.

    Raises:
        WeightsError: They cannot be downloaded, or the file that Keras keeps is damaged.
    """
    with _recorded_downloads() as requests:
        try:
            return build("imagenet")
        except Exception as error:  # Keras raises bare Exception when a download fails
            kept = [path for path, arrived in requests.items() if arrived]
            if kept:
                raise WeightsError(
                    f"{kept[-1]}: not the ImageNet weights of {name} ({first_line(error)}): a"
                    " download was cut, perhaps; remove the file, and Keras downloads it again"
                ) from None
            place = f" to {list(requests)[-1]}" if requests else ""
            raise WeightsError(
                f"the ImageNet weights of {name} could not be downloaded{place}"
                f" ({first_line(error)}); fetch the no-top .h5 file of keras.applications on a"
                " connected machine and give --encoder_weights=PATH"
            ) from None


def first_line(error: Exception) -> str:
    """Return the beginning of what an error says, or else its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _fitting(
    network: keras.Model, candidates: Sequence[SavedNetwork]
) -> list[tuple[keras.Variable, h5py.Dataset]]:
    """Return each variable of a network with its array in a file.

    Raises:
        _MisfitError: No candidate fits, or several do.
    """
    wanted = [layer for layer in network.layers if layer.weights]
    fitting: dict[str, list[SavedLayer]] = {}
    misfits: list[tuple[tuple[int, int], _MisfitError]] = []
    for candidate in candidates:
        for layers in candidate.orders(network):
            try:
                fitting.setdefault(candidate.place, _checked(wanted, layers))
            except _MisfitError as misfit:
                misfits.append(((misfit.fitting, len(candidate.layers)), misfit))
    if len(fitting) > 1:
        raise _MisfitError(f"{' and '.join(fitting)} in it fit; save the model that is meant alone")
    if not fitting:
        nothing = _MisfitError("no layers lie in it as Keras saves them")
        raise max(misfits, key=lambda scored: scored[0], default=(0, nothing))[1]
    (saved,) = fitting.values()
    return [
        pair
        for layer, arrays in zip(wanted, saved, strict=True)
        for pair in zip(layer.weights, arrays.arrays, strict=True)
    ]


def _checked(
    wanted: Sequence[keras.Layer], layers: Sequence[SavedLayer | None]
) -> list[SavedLayer]:
    """Return the saved layer of each layer.

    Args:
        wanted: The layers of a network that have weights.
        layers: The saved layer of each, None if there is none; then those that remain. They must
            be of a top: a classifier has no arrays with three or more dimensions, but for the
            kernels of convolutions that see one place (MobileNetV3's).

    Raises:
        _MisfitError: It names the first layer that does not fit.
    """
    fitting: list[SavedLayer] = []
    for layer, saved in itertools.zip_longest(wanted, layers[: len(wanted)]):
        if saved is None or len(saved.arrays) != len(layer.weights):
            shapes, names = _shapes(layer.weights), _shapes(saved.arrays) if saved else "nothing"
            raise _MisfitError(f"{layer.name}: expected {shapes}, found {names}", len(fitting))
        for variable, array in zip(layer.weights, saved.arrays, strict=True):
            place = f"{variable.path}: expected {_shapes([variable])}, found"
            if array.shape != tuple(variable.shape):
                raise _MisfitError(f"{place} {_shapes([array])} in {array.name}", len(fitting))
            if array.dtype.kind != "f" and not _is_bfloat16(array):
                raise _MisfitError(f"{place} {array.dtype} in {array.name}", len(fitting))
        fitting.append(saved)
    for rest in layers[len(wanted) :]:
        for array in rest.arrays if rest else ():
            if array.ndim not in (1, 2) and array.shape[:-2] != (1, 1):
                raise _MisfitError(
                    f"{array.name} {_shapes([array])} belongs neither to it nor to a classification"
                    " top; if the model holds it, save it alone",
                    len(fitting),
                )
    return fitting


def _shapes(arrays: Sequence[Any], most: int = 4) -> str:
    shapes = ", ".join("x".join(map(str, array.shape)) or "a scalar" for array in arrays[:most])
    return shapes + (f" and {len(arrays) - most} more" if len(arrays) > most else "")


def _is_bfloat16(array: h5py.Dataset) -> bool:
    return bool(array.attrs.get("dtype") == "bfloat16" and array.dtype.itemsize == 2)


def _read(
    pairs: Sequence[tuple[keras.Variable, h5py.Dataset]],
) -> list[tuple[keras.Variable, np.ndarray]]:
    values = []
    for variable, array in pairs:
        value = np.asarray(array, tf.bfloat16.as_numpy_dtype if _is_bfloat16(array) else None)
        with np.errstate(over="ignore"):  # Infinite values are refused later.
            values.append((variable, value.astype(variable.dtype)))
    return values


@contextlib.contextmanager
def _recorded_downloads() -> Iterator[dict[str, bool]]:
    """Yield a growing dict: where Keras looks for a file and puts it -> whether the file is there.

    Keras' own errors do not name the file.
    """
    requests: dict[str, bool] = {}
    get_file = file_utils.get_file

    def recorded(fname: str, *args: Any, **options: Any) -> str:
        place = os.path.join(keras.src.backend.config.keras_home(), "models", fname)
        requests[place] = False
        path = get_file(fname, *args, **options)
        del requests[place]
        requests[path] = True
        return path

    file_utils.get_file = recorded
    try:
        yield requests
    finally:
        file_utils.get_file = get_file
