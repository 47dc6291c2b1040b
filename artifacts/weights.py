"""Weights on disk: one .npz file of named arrays and a JSON note. Read without pickle."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from cli import atomic_file
from cli.errors import UserError
from model.captioner import Captioner
from model.definition.decoder import DecoderConfig
from model.encoder import Encoder, WeightsError

_NOTE = "note.json"
# In a run's folder.
BEST = os.path.join("checkpoints", "best.npz")
FROZEN = "encoder.npz"  # what training does not change


class RunError(UserError):
    """A run's folder that cannot be used; the message says what to do."""


class DamagedError(RunError):
    """A file of a run that cannot be used; the message says why."""


def save(path: str, arrays: Mapping[str, np.ndarray], note: Mapping) -> None:
    """Write arrays and a JSON note, whole or not at all.

    Raises:
        OSError: as the file system gives it (disk full); `path` is untouched then.
    """
    text = np.frombuffer(json.dumps(note).encode(), np.uint8)
    with atomic_file.create(path) as file:
        np.savez(file, **{_NOTE: text, **arrays})


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
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
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

    Raises:
        UserError: as `build_encoder`.
    """
    encoder = build_encoder(config["encoder"], encoder_weights, config["encoder_trainable"])
    return Captioner(encoder, DecoderConfig(**config["decoder"]))


def build_encoder(name: str, encoder_weights: str, trainable: bool = False) -> Encoder:
    """Build an encoder whose failures a command can print.

    Args:
        name: A key of `model.encoder.ENCODERS`.
        encoder_weights: As for `Encoder`.
        trainable: Whether it is trained along with the decoder.

    Returns:
        The encoder.

    Raises:
        UserError: Its weights cannot be had.
    """
    try:
        return Encoder(name, encoder_weights, trainable)
    except WeightsError as error:
        raise UserError(str(error)) from None


def read_config(run_dir: str) -> dict:
    """config.json of a run: {"model", "training", "data"}.

    Raises:
        RunError: there is no run, or its config.json is damaged.
    """
    path = os.path.join(run_dir, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        return {part: config[part] for part in ("model", "training", "data")}
    except OSError:
        raise RunError(
            f"{run_dir}: no run here ({path} is missing); train one with"
            " `python -m trainer.main --flagfile=...`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: not a run's config ({error})") from None


def restore(run_dir: str, precision: str | None = None) -> tuple[Captioner, dict]:
    """The captioner of a run with its best weights, and their note: {"epoch", "step", ...}.

    Call arguments:
        precision: of the matrix products, in place of the run's own.

    Raises:
        RunError: there is no run, it has no weights yet, or a file of it is damaged.
    """
    config = read_config(run_dir)["model"]
    if precision:
        config["decoder"]["precision"] = precision
    captioner = build(config)
    try:
        arrays, note = load(os.path.join(run_dir, BEST))
        # What training does not change: a frozen encoder, a trained one's batch statistics.
        if captioner.non_trainable_variables:
            arrays |= load(os.path.join(run_dir, FROZEN))[0]
    except FileNotFoundError as error:
        raise _untrained(run_dir, error.filename) from None
    scatter(arrays, captioner.variables)
    return captioner, note


def _untrained(run_dir: str, missing: str) -> RunError:
    return RunError(
        f"{run_dir}: no trained weights yet ({missing} is missing); let"
        " `python -m trainer.main` finish its first epoch"
    )


def digest(run_dir: str) -> str:
    """sha256 of the files that `restore` takes weights and words from; no TensorFlow at work.

    Raises:
        RunError: there are no weights yet.
    """
    found = hashlib.sha256()
    for name in ("config.json", "vocabulary.tsv", BEST, FROZEN):
        path = os.path.join(run_dir, name)
        try:
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError:
            if name == BEST:
                raise _untrained(run_dir, path) from None
            found.update(b"none")
    return found.hexdigest()


def restore_together(
    run_dirs: Sequence[str], precision: str | None = None
) -> list[tuple[Captioner, dict]]:
    """`restore` of runs that are to speak together.

    Raises:
        RunError: also when one has another vocabulary than the first.
    """
    first, *others = (read_config(run_dir)["data"] for run_dir in run_dirs)
    for run_dir, data in zip(run_dirs[1:], others, strict=True):
        if data.get("vocabulary_fingerprint") != first.get("vocabulary_fingerprint"):
            raise RunError(
                f"{run_dir}: its vocabulary is not the one of {run_dirs[0]}; runs that speak"
                " together must be trained on records with the same vocabulary"
            )
    return [restore(run_dir, precision) for run_dir in run_dirs]
