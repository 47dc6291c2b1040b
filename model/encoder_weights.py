"""The weights of an image network: from a file of the user, or those that Keras downloads.

Only arrays are read. A model that a file holds beside them is never built: its code never runs.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.utils import file_utils  # Private API: keras 3.15.1.

# What a file may hold, in sizes of the network: its top and an optimizer's two moments are usual.
_LARGEST = 8
_ENDINGS = (".h5", ".hdf5")


class WeightsError(ValueError):
    """Encoder weights that cannot be loaded; the message says what to do."""


def load_file(network: keras.Model, path: str, name: str) -> None:
    """Set the weights of a network from a Keras `.weights.h5`, or a `.h5` of older versions.

    Args:
        network: The network.
        path: The file.
        name: Name of the network, for messages.

    Raises:
        WeightsError: The file cannot be read, is another network's, or is no file of weights.
    """
    flag = f"--encoder_weights={path}"
    if not os.path.isfile(path):
        raise WeightsError(f"{flag}: no such file (or give `imagenet` or `random`)")
    if not path.endswith(_ENDINGS):
        raise WeightsError(
            f"{flag}: expected a file NAME.weights.h5, as `model.save_weights` writes it"
        )
    try:
        _refuse_unusual(path, _LARGEST * sum(weight.nbytes for weight in network.get_weights()))
        with warnings.catch_warnings():  # Keras warns of each layer before it raises.
            warnings.simplefilter("ignore")
            network.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds for a file that does not fit
        raise WeightsError(f"{flag}: not the weights of {name} ({first_line(error)})") from None
    for variable in network.variables:
        if not np.isfinite(variable.numpy()).all():
            raise WeightsError(f"{flag}: {variable.path} holds values that are no finite numbers")


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


def _refuse_unusual(path: str, most: int) -> None:
    """Refuse a file that leads elsewhere, or that would fill memory when it is unpacked.

    Args:
        path: An HDF5 file.
        most: Bytes that its arrays may have together.
    """
    total, seen = 0, set()
    with h5py.File(path, "r") as file:
        groups: list[h5py.Group] = [file]
        while groups:
            group = groups.pop()
            for name in group:
                where = f"{group.name.rstrip('/')}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{where} is a link to somewhere else")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    if item.is_virtual or item.external:
                        raise ValueError(f"{where} lies in another file")
                    total += item.size * item.dtype.itemsize
                if total > most:
                    raise ValueError(f"its arrays are larger than {most:,} bytes")


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
