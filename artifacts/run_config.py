"""config.json of a run: what was built, how it was trained, and on which data."""

import dataclasses
import json
from collections.abc import Container, Mapping
from typing import Any

from artifacts.run_folder import RunFolder
from artifacts.weights_file import DamagedError
from cli import atomic_file, paths
from cli.errors import UserError
from model.definition.decoder import DecoderConfig
from records.canonical_json import fingerprint, to_json

_CHECKSUM = "checksum"  # of everything else in config.json


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The captioner that a run trains.

    Attributes:
        encoder: A key of `model.encoder.ENCODERS`.
        encoder_trainable: Whether the encoder is trained along with the decoder.
        decoder: The sizes of the decoder.
    """

    encoder: str
    encoder_trainable: bool
    decoder: DecoderConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What the trained weights belong to.

    Attributes:
        dataset: The name of the data set.
        vocabulary_fingerprint: That of the vocabulary.
        encoder_fingerprint: That of the encoder's weights at the start.
        preprocessing: `PREPROCESSING_VERSION` of the pixels that the encoder sees.
        records_fingerprint: sha256 of records.json; "" in runs of earlier versions.
    """

    dataset: str
    vocabulary_fingerprint: str
    encoder_fingerprint: str
    preprocessing: int
    records_fingerprint: str = ""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long the run's learning rate rises and decays, whenever training stops.

    Attributes:
        steps: Steps of the schedule.
        extensions: What --extend_schedule did: {"from": steps, "to": steps, "at": the step of the
            checkpoint that it went on from}.
    """

    steps: int
    extensions: tuple[Mapping[str, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """The run whose weights a run began with (--init_run).

    Attributes:
        run: Its folder, as given.
        step: The step of the weights.
        weights: sha256 of what they were restored from.
        records_fingerprint: sha256 of init_records.json, the manifests that they were trained on.
        max_train_images: The --max_train_images that belongs to each of these manifests; empty in
            runs of earlier versions, which trained on all images.
    """

    run: str
    step: int
    weights: str
    records_fingerprint: str
    max_train_images: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The content of config.json.

    Attributes:
        model: What `artifacts.restore.build` builds.
        training: The recipe, flag name -> value. `epochs` and `max_steps` are those of the last
            command.
        data: What the weights belong to.
        schedule: The schedule of the learning rate; None in runs of earlier versions.
        trained: `steps` and `epochs` that the newest checkpoint has been trained for.
        initial: The weights that the run began with, where they are those of another run.
        id: What every file of weights of this run says that it belongs to; "" in runs of earlier
            versions.
        search: The search flags that the run keeps, name -> value; none in earlier versions' runs.
    """

    model: ModelConfig
    training: Mapping[str, Any]
    data: DataConfig
    schedule: Schedule | None = None
    trained: Mapping[str, float] = dataclasses.field(default_factory=dict)
    initial: InitialWeights | None = None
    id: str = ""
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def with_id(self, changeable: Container[str]) -> "RunConfig":
        """Return the config of a new run with its id: equal for runs that begin alike.

        Args:
            changeable: Flags in `training` that decide nothing.
        """
        content = dataclasses.asdict(self)
        training = {name: v for name, v in self.training.items() if name not in changeable}
        return dataclasses.replace(self, id=fingerprint(content | {"training": training})[:16])

    def write(self, folder: RunFolder) -> None:
        """Write config.json.

        Args:
            folder: The run's folder.

        Raises:
            OSError: The file cannot be written.
        """
        content = dataclasses.asdict(self)
        content[_CHECKSUM] = fingerprint(content)
        atomic_file.write(folder.config, to_json(content))

    @classmethod
    def read(cls, folder: RunFolder) -> "RunConfig":
        """Read config.json.

        Args:
            folder: The run's folder.

        Returns:
            What `write` wrote.

        Raises:
            UserError: There is no run, or its config.json is damaged or was edited.
        """
        try:
            with open(folder.config, encoding="utf-8") as file:
                content = json.load(file)
            checksum = content.pop(_CHECKSUM, None)  # earlier versions wrote none
            if checksum not in (None, fingerprint(content)):
                raise DamagedError(
                    f"{folder.config}: was edited since a training wrote it; put back what that"
                    " wrote (flags, and not this file, are how to change a run)"
                )
            return cls(**content | _parts_from_json(content))
        except OSError:
            raise UserError(
                f"{folder.path}: no run here ({folder.config} is missing); train one with"
                f" `python -m trainer.main --flagfile=...`{paths.suggest(folder.path)}"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{folder.config}: not a run's config ({error})") from None


def _parts_from_json(content: Mapping[str, Any]) -> dict[str, Any]:
    model, schedule = content["model"], content.get("schedule")
    initial = content.get("initial")
    return {
        "model": ModelConfig(**model | {"decoder": DecoderConfig(**model["decoder"])}),
        "training": dict(content["training"]),
        "data": DataConfig(**content["data"]),
        "schedule": schedule and Schedule(schedule["steps"], tuple(schedule["extensions"])),
        "initial": initial
        and InitialWeights(
            **initial | {"max_train_images": tuple(initial.get("max_train_images", ()))}
        ),
    }


def read_all(run_dirs: str) -> tuple[list[str], list[RunConfig]]:
    """Read the config.json of runs that caption together.

    Args:
        run_dirs: Folders of runs as --run_dir names them, separated by commas.

    Returns:
        The folders and their configs, in the order of the flag.

    Raises:
        UserError: As `RunConfig.read`.
    """
    folders = paths.split(run_dirs)
    try:
        return folders, [RunConfig.read(RunFolder(folder)) for folder in folders]
    except UserError as error:
        if "," not in run_dirs:
            raise
        raise UserError(
            f"{error}; --run_dir={run_dirs} as a whole is no path, so it was split at commas"
        ) from None
