"""Weights on disk: one .npz file of named arrays and a JSON note. Read without pickle."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from cli import atomic_file
from cli.errors import UserError

_NOTE = "note.json"
_RUN = "run"  # in the note: the id of the run that the weights belong to

Arrays = Mapping[str, np.ndarray]
Note = dict[str, Any]


class DamagedError(UserError):
    """A file of a run is cut, corrupt or something else; the message says which and why."""


def save(path: str, arrays: Arrays, note: Mapping[str, Any]) -> None:
    """Write arrays and a JSON note, whole or not at all.

    Args:
        path: The file to write.
        arrays: Name -> array.
        note: What to keep beside the arrays; must be JSON.

    Raises:
        OSError: The disk is full, or the like; `path` is untouched then.
    """
    text = np.frombuffer(json.dumps(note).encode(), np.uint8)
    with atomic_file.create(path) as file:
        np.savez(file, allow_pickle=False, **{_NOTE: text, **arrays})


def load(path: str) -> tuple[dict[str, np.ndarray], Note]:
    """Read a file that `save` wrote.

    Args:
        path: The file to read.

    Returns:
        The arrays by name, and the note.

    Raises:
        DamagedError: The file is cut, corrupt or something else (the zip's CRCs are checked).
        FileNotFoundError: There is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop(_NOTE).tobytes())
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
        raise DamagedError(f"{path}: not a readable file of weights ({error})") from None


def load_note(path: str) -> Note:
    """Read the note alone of a file that `save` wrote.

    Args:
        path: The file to read.

    Returns:
        The note.

    Raises:
        DamagedError: The file is missing, cut, corrupt or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(file[_NOTE].tobytes())
    except Exception as error:  # as in `load`
        raise DamagedError(f"{path}: not a readable file of weights ({error})") from None


def owned(note: Mapping[str, Any], run_id: str) -> Note:
    """Return a note that also says which run the weights belong to.

    Args:
        note: The note.
        run_id: `RunConfig.id`; "" in runs of earlier versions.
    """
    return {**note, _RUN: run_id} if run_id else dict(note)


def require_run(path: str, note: Note, run_id: str) -> None:
    """Refuse weights of another run.

    Args:
        path: Their file, for the message.
        note: Their note.
        run_id: `RunConfig.id` of the run whose folder they lie in.

    Raises:
        UserError: The weights are not of this run.
    """
    if note.get(_RUN, "") != run_id:
        raise UserError(
            f"{path}: holds weights of another run than the config.json of its run; put the right"
            " file back or remove this one"
        )


def gather(variables: Iterable[keras.Variable]) -> dict[str, np.ndarray]:
    """Return the values of Keras variables by path.

    Args:
        variables: Their paths must differ.

    Returns:
        Path -> value.
    """
    variables = list(variables)
    arrays = {variable.path: variable.numpy() for variable in variables}
    if len(arrays) != len(variables):
        raise ValueError("two variables share a path")
    return arrays


def scatter(arrays: Arrays, variables: Iterable[keras.Variable], path: str) -> None:
    """Set Keras variables from arrays by path.

    Args:
        arrays: Path -> value.
        variables: The variables to set.
        path: The file that the arrays come from, for the message.

    Raises:
        DamagedError: An array is missing or has another shape.
    """
    for variable in variables:
        array = arrays.get(variable.path)
        if array is None or array.shape != tuple(variable.shape):
            actual = "no such array" if array is None else f"shape {array.shape}"
            raise DamagedError(
                f"{path}: not the weights of this model: {variable.path}: expected"
                f" {tuple(variable.shape)}, found {actual}"
            )
        variable.assign(array)
