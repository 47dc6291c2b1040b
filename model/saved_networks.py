"""The networks in a file that Keras wrote: which arrays belong to which layer, in which order.

Only arrays and names are read. The model that a file describes beside them is never built.
"""

import contextlib
import dataclasses
import io
import itertools
import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import keras
from keras.src.utils.naming import to_snake_case  # Private API: keras 3.15.1.

# What a file may hold, in sizes of the network: its top and an optimizer's two moments are usual.
_LARGEST = 8
# Where a model's layers lie in the format of Keras 3, and in that of Keras 2.13.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_ZIP = b"PK\x03\x04"


@dataclasses.dataclass(frozen=True)
class SavedLayer:
    """A layer that has arrays.

    Attributes:
        name: Its name in the file.
        arrays: Its arrays, in the order of Keras' `layer.weights`.
    """

    name: str
    arrays: tuple[h5py.Dataset, ...]


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """A model in a file: the model that was saved, or one that is a layer of it.

    Attributes:
        place: Where it lies in the file.
        layers: Its layers with arrays. A legacy file has them in the order of `model.layers`.
        numbered: Whether layers are named by their class and their number within it.
        interleaved: Whether the order may be another one: in a nested model of a legacy file,
            layers that were trained come before frozen ones.
    """

    place: str
    layers: Sequence[SavedLayer]
    numbered: bool = False
    interleaved: bool = False

    def orders(self, network: keras.Model) -> Iterator[list[SavedLayer | None]]:
        """Yield the saved layers in the orders that they may have, the likeliest first.

        Args:
            network: The network whose arrays are looked for.

        Yields:
            For each layer of the network that has weights the saved layer, or None if there is
            none; then the saved layers that remain.
        """
        if self.numbered:
            names = [layer.name for layer in self.layers]
            aligned = _aligned(_numbered_names(network), names, self.layers)
            wanted = [layer for layer in network.layers if layer.weights]
            yield [*map(_in_inner_order, wanted, aligned), *aligned[len(wanted) :]]
            return
        yield list(self.layers)
        if self.interleaved:
            wanted = [layer.name for layer in network.layers if layer.weights]
            names = [layer.name for layer in self.layers]
            yield _aligned(_ranked(wanted), _ranked(names), self.layers)


@contextlib.contextmanager
def opened(path: str, network_bytes: int) -> Iterator[list[SavedNetwork]]:
    """Open a file and yield the networks in it; their arrays can be read while the block runs.

    Args:
        path: A `.weights.h5`, `.h5` or `.hdf5` file of any Keras, or a `.keras` file. Its
            content says which, not its name.
        network_bytes: Size of the network whose arrays are looked for.

    Yields:
        The networks, the outermost first.

    Raises:
        ValueError: The file leads elsewhere, or would fill memory. h5py, zipfile and zlib raise
            many other kinds for a file that is damaged.
    """
    # A file without compression never takes more memory than disk.
    most = max(_LARGEST * network_bytes, os.path.getsize(path))
    with open(path, "rb") as start:
        is_zip = start.read(len(_ZIP)) == _ZIP
    with h5py.File(_member(path, most) if is_zip else path, "r") as file:
        groups = _checked_groups(file, most)
        root = file.get("model_weights", file)
        legacy = _names(root, "layer_names")
        yield list(_numbered(groups) if legacy is None else _ordered(root, legacy))


def _member(path: str, most: int) -> io.BytesIO:
    """Return the weights in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        try:
            member = archive.getinfo("model.weights.h5")
        except KeyError:
            raise ValueError("it is a zip file without model.weights.h5") from None
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("its model.weights.h5 is compressed in an unusual way")
        if member.file_size > most:
            raise ValueError(f"its model.weights.h5 is larger than {most:,} bytes")
        return io.BytesIO(archive.read(member))


def _checked_groups(file: h5py.File, most: int) -> list[h5py.Group]:
    """Return each group of a file once; refuse what leads elsewhere or would fill memory.

    Args:
        file: An HDF5 file.
        most: Bytes that its arrays may have together.
    """
    total, seen = 0, {h5py.h5o.get_info(file.id).addr}
    groups: list[h5py.Group] = [file]
    for group in groups:  # The list grows meanwhile.
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
                chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
                if max(total, chunk) > most:
                    raise ValueError(f"its arrays are larger than {most:,} bytes")
    return groups


# The format of Keras 3.


def _numbered(groups: Sequence[h5py.Group]) -> Iterator[SavedNetwork]:
    for group in groups:
        for container in _CONTAINERS:
            if isinstance(layers := group.get(container), h5py.Group):
                yield SavedNetwork(group.name, list(_numbered_layers(layers)), numbered=True)


def _numbered_layers(container: h5py.Group) -> Iterator[SavedLayer]:
    for name, layer in container.items():
        arrays: dict[str, h5py.Dataset] = {}

        def collect(place: str, item: Any, arrays: dict[str, h5py.Dataset] = arrays) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[place] = item

        if isinstance(layer, h5py.Group):
            layer.visititems(collect)
        if arrays:
            places = sorted(arrays, key=lambda place: (len(place), place))  # vars/2, vars/10
            yield SavedLayer(name, tuple(arrays[place] for place in places))


def _numbered_names(network: keras.Model) -> list[str]:
    """Return the names under which Keras 3 saves the layers of a network that have weights."""
    names, counts = [], dict[str, int]()
    for layer in network.layers:
        kind = to_snake_case(type(layer).__name__)
        number = counts[kind] = counts.get(kind, -1) + 1
        if layer.weights:
            names.append(f"{kind}_{number}" if number else kind)
    return names


def _in_inner_order(layer: keras.Layer, saved: SavedLayer | None) -> SavedLayer | None:
    """Return a saved layer with its arrays as the layers in the layer follow each other.

    A file has them by their names: of a Sequential that normalises and then convolves, `conv2d`
    comes before `layer_normalization`.
    """
    if saved is None or not isinstance(layer, keras.Model):
        return saved
    inner = [each for each in layer.layers if each.weights]
    places = [
        f"/{name}/vars/{number}"
        for name, each in zip(_numbered_names(layer), inner, strict=True)
        for number in range(len(each.weights))
    ]
    by_place = {"/" + "/".join(array.name.split("/")[-3:]): array for array in saved.arrays}
    if sorted(by_place) != sorted(places):
        return saved
    return SavedLayer(saved.name, tuple(by_place[place] for place in places))


# The legacy format, of Keras 2 and of `model.save("NAME.h5")`.


def _ordered(root: h5py.Group, layer_names: Sequence[str]) -> Iterator[SavedNetwork]:
    if root.attrs.get("backend") in (b"theano", "theano"):
        raise ValueError("its convolutions are Theano's, which turned the kernels around")
    saved = []
    for name in layer_names:
        weights = _names(root[name], "weight_names") or []
        if weights:
            saved.append((name, [(weight, root[name][weight]) for weight in weights]))
    yield SavedNetwork(
        root.name, [SavedLayer(name, tuple(a for _, a in arrays)) for name, arrays in saved]
    )
    for name, arrays in saved:  # A model in the model is one layer with the arrays of many.
        inner: dict[str, list[h5py.Dataset]] = {}
        for weight, array in arrays:
            inner.setdefault(weight.rpartition("/")[0], []).append(array)
        if len(inner) > 1:
            layers = [SavedLayer(layer, tuple(own)) for layer, own in inner.items()]
            yield SavedNetwork(f"{root.name.rstrip('/')}/{name}", layers, interleaved=True)


def _names(group: h5py.Group, attribute: str) -> list[str] | None:
    """Return a list of names, which large models divide into numbered attributes."""
    numbered = (f"{attribute}{number}" for number in itertools.count())
    parts = [attribute] if attribute in group.attrs else numbered
    keys = list(itertools.takewhile(group.attrs.__contains__, parts))
    names = [name for key in keys for name in group.attrs[key]]
    texts = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return texts if keys else None


def _ranked(names: Sequence[str]) -> list[str]:
    """Replace the numbers at the ends of names, which depend on what was built before, by ranks."""
    parts = [m.groups("") for name in names if (m := re.fullmatch(r"(.*?)(?:_(\d+))?", name))]
    numbers: dict[str, list[str]] = {}
    for stem, number in sorted(parts, key=lambda part: int(part[1] or -1)):
        numbers.setdefault(stem, []).append(number)
    return [f"{stem} {numbers[stem].index(number)}" for stem, number in parts]


def _aligned(
    wanted: Sequence[str], names: Sequence[str], layers: Sequence[SavedLayer]
) -> list[SavedLayer | None]:
    by_name = dict(zip(names, layers, strict=True))
    return [by_name.pop(name, None) for name in wanted] + list(by_name.values())
