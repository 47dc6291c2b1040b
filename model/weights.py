"""Weights on disk: one .npz file of named arrays and a JSON note. Read without pickle."""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from model.captioner import Captioner
from model.decoder import DecoderConfig
from model.encoder import Encoder

_NOTE = "note.json"


class DamagedError(ValueError):
    """A file of weights that cannot be used; the message says why."""


def save(path: str, arrays: Mapping[str, np.ndarray], note: Mapping) -> None:
    """Write arrays and a JSON note whole or not at all: a temporary beside `path`, then a rename.

    Raises:
        OSError: as the file system gives it (disk full); `path` is untouched then.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    text = np.frombuffer(json.dumps(note).encode(), np.uint8)
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{_NOTE: text, **arrays})
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def load(path: str) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the note of a file that `save` wrote.

    Raises:
        DamagedError: the file is cut, corrupt or something else (the zip's CRCs are checked).
        FileNotFoundError: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop(_NOTE).tobytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedError(f"{path}: not a readable file of weights ({error})") from None


def gather(variables: Iterable[keras.Variable]) -> dict[str, np.ndarray]:
    """Path -> value of Keras variables."""
    variables = list(variables)
    arrays = {variable.path: variable.numpy() for variable in variables}
    if len(arrays) != len(variables):
        raise ValueError("two variables share a path")
    return arrays


def scatter(arrays: Mapping[str, np.ndarray], variables: Iterable[keras.Variable]) -> None:
    """Set Keras variables from arrays by path.

    Raises:
        DamagedError: an array is missing or has another shape.
    """
    for variable in variables:
        array = arrays.get(variable.path)
        if array is None or array.shape != tuple(variable.shape):
            found = "no such array" if array is None else f"shape {array.shape}"
            raise DamagedError(f"{variable.path}: expected {tuple(variable.shape)}, found {found}")
        variable.assign(array)


def build(config: Mapping, encoder_weights: str = "random") -> Captioner:
    """A captioner from the `model` part of a run's config.json.

    Call arguments:
        config: {"encoder": name, "encoder_trainable": bool, "decoder": `DecoderConfig` fields}.
        encoder_weights: as for `Encoder`.
    """
    encoder = Encoder(config["encoder"], encoder_weights, config["encoder_trainable"])
    return Captioner(encoder, DecoderConfig(**config["decoder"]))


def restore(run_dir: str, config: Mapping, checkpoint: str = "best.npz") -> tuple[Captioner, dict]:
    """The captioner of a run and its checkpoint's note.

    Call arguments:
        run_dir: a folder that `trainer.main` wrote.
        checkpoint: a file of its `checkpoints/`.

    Raises:
        FileNotFoundError: the run has no such checkpoint yet.
        DamagedError: a file of weights is damaged or another model's.
    """
    captioner = build(config)
    arrays, note = load(os.path.join(run_dir, "checkpoints", checkpoint))
    if not config["encoder_trainable"]:
        frozen, _ = load(os.path.join(run_dir, "encoder.npz"))
        arrays |= frozen
    scatter(arrays, captioner.variables)
    return captioner, note
