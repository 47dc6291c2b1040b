"""From a run's folder to its captioner: one, or an ensemble that captions together."""

import dataclasses
import hashlib
from collections.abc import Sequence

from artifacts import pixel_versions
from artifacts.run_config import ModelConfig, RunConfig
from artifacts.run_folder import RunFolder
from artifacts.weights_file import DamagedError, Note, load, require_run, scatter
from cli.errors import UserError
from model.captioner import Captioner
from model.encoder import Encoder
from model.encoder_weights import WeightsError
from records import manifest
from records.canonical_json import fingerprint
from records.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Restored:
    """A captioner with its trained weights.

    Attributes:
        captioner: The captioner.
        note: What the best validation noted: {"epoch", "step", ...}.
        config: The run's config.json.
    """

    captioner: Captioner
    note: Note
    config: RunConfig


def build_encoder(name: str, weights: str, trainable: bool = False) -> Encoder:
    """Build an encoder.

    Args:
        name: A key of `model.encoder.ENCODERS`.
        weights: `imagenet`, `random`, or the path of a Keras .weights.h5 file.
        trainable: Whether training changes it.

    Returns:
        The encoder.

    Raises:
        UserError: The weights cannot be downloaded or read, or are those of another network.
    """
    try:
        return Encoder(name, weights, trainable)
    except WeightsError as error:
        raise UserError(str(error)) from None


def build(model: ModelConfig, encoder_weights: str = "random") -> Captioner:
    """Build an untrained captioner.

    Args:
        model: What to build.
        encoder_weights: As for `build_encoder`.

    Returns:
        The captioner.

    Raises:
        UserError: As `build_encoder`.
    """
    encoder = build_encoder(model.encoder, encoder_weights, model.encoder_trainable)
    return Captioner(encoder, model.decoder)


def restore(run_dir: str, precision: str | None = None) -> Restored:
    """Restore the captioner of a run with its best weights.

    Args:
        run_dir: The run's folder.
        precision: Of the matrix products: `float32` or `bfloat16`. None keeps the run's own.

    Returns:
        The captioner, the note of its weights, and the run's config.

    Raises:
        UserError: There is no run, it has no weights yet, or one of its files is damaged.
    """
    folder = RunFolder(run_dir)
    config = RunConfig.read(folder)
    pixel_versions.check(run_dir, config.data.preprocessing)
    model = config.model
    if precision:
        decoder = dataclasses.replace(model.decoder, precision=precision)
        model = dataclasses.replace(model, decoder=decoder)
    captioner = build(model)
    try:
        arrays, note = load(folder.best)
    except FileNotFoundError as error:
        raise _untrained(run_dir, error.filename) from None
    require_run(folder.best, note, config.id)
    trained = captioner.trainable_variables
    scatter(arrays, trained, folder.best)
    restore_frozen(captioner, folder, config)
    return Restored(captioner, note, config)


def restore_frozen(captioner: Captioner, folder: RunFolder, config: RunConfig) -> None:
    """Set the weights that training does not change.

    Args:
        captioner: The captioner.
        folder: The run's folder.
        config: Its config.json.

    Raises:
        UserError: The file is missing, damaged, or not the one of this run.
    """
    if not captioner.non_trainable_variables:
        return
    try:
        arrays, note = load(folder.frozen)
    except FileNotFoundError:
        raise UserError(
            f"{folder.frozen} is missing, and the run cannot be used without it; put it back"
        ) from None
    scatter(arrays, captioner.non_trainable_variables, folder.frozen)
    if captioner.encoder.trainable:
        require_run(folder.frozen, note, config.id)
    elif config.data.encoder_fingerprint not in ("", captioner.encoder.fingerprint()):
        raise DamagedError(
            f"{folder.frozen}: not the encoder's weights that the run was started with; put the"
            " right file back"
        )


def read_vocabulary(run_dir: str) -> Vocabulary:
    """Read the vocabulary of a run.

    Args:
        run_dir: The run's folder.

    Raises:
        UserError: It is missing, or not the vocabulary that the run is trained with.
    """
    folder = RunFolder(run_dir)
    vocabulary = manifest.read_vocabulary(folder.vocabulary)
    if vocabulary.fingerprint != RunConfig.read(folder).data.vocabulary_fingerprint:
        raise DamagedError(
            f"{folder.vocabulary}: not the vocabulary that the run was started with: it was edited,"
            " sorted or exchanged; put back that of its records"
        )
    return vocabulary


def restore_ensemble(run_dirs: Sequence[str], precision: str | None = None) -> list[Restored]:
    """Restore the captioners of runs that caption together.

    Args:
        run_dirs: The runs' folders, at least one.
        precision: As for `restore`.

    Returns:
        What `restore` returns for each run.

    Raises:
        UserError: As `restore`, or a run has another vocabulary than the first one.
    """
    first, *others = (RunConfig.read(RunFolder(run_dir)).data for run_dir in run_dirs)
    for run_dir, data in zip(run_dirs[1:], others, strict=True):
        if data.vocabulary_fingerprint != first.vocabulary_fingerprint:
            raise UserError(
                f"{run_dir}: its vocabulary is not the one of {run_dirs[0]}; runs that caption"
                " together must be trained on records with the same vocabulary"
            )
    return [restore(run_dir, precision) for run_dir in run_dirs]


def digest(run_dir: str) -> str:
    """Return the fingerprint of everything that `restore` reads, without building anything.

    Args:
        run_dir: The run's folder.

    Returns:
        A sha256 in hex.

    Raises:
        UserError: There are no weights yet.
    """
    folder = RunFolder(run_dir)
    config = RunConfig.read(folder)
    # The rest of config.json changes while a run is trained, and no caption with it.
    parts = [dataclasses.asdict(part) for part in (config.model, config.data)]
    files = hashlib.sha256(fingerprint(parts).encode())
    for path in (folder.vocabulary, folder.best, folder.frozen):
        try:
            with open(path, "rb") as file:
                files.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError:
            if path == folder.best:
                raise _untrained(run_dir, path) from None
            files.update(b"none")
    return files.hexdigest()


def _untrained(run_dir: str, missing: str) -> UserError:
    return UserError(
        f"{run_dir}: no trained weights yet ({missing} is missing); let"
        " `python -m trainer.main` finish its first epoch"
    )
