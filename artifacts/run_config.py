"""config.json of a run: what was built, how it was trained, and on which data."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from artifacts.run_folder import RunFolder
from artifacts.weights_file import DamagedError
from cli import atomic_file, paths
from cli.errors import UserError
from model.definition.decoder import DecoderConfig
from records.canonical_json import to_json


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
    """

    dataset: str
    vocabulary_fingerprint: str
    encoder_fingerprint: str
    preprocessing: int


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The content of config.json.

    Attributes:
        model: What `artifacts.restore.build` builds.
        training: The recipe, flag name -> value.
        data: What the weights belong to.
    """

    model: ModelConfig
    training: Mapping[str, Any]
    data: DataConfig

    def write(self, folder: RunFolder) -> None:
        """Write config.json.

        Args:
            folder: The run's folder.

        Raises:
            OSError: The file cannot be written.
        """
        atomic_file.write(folder.config, to_json(dataclasses.asdict(self)))

    @classmethod
    def read(cls, folder: RunFolder) -> "RunConfig":
        """Read config.json.

        Args:
            folder: The run's folder.

        Returns:
            What `write` wrote.

        Raises:
            UserError: There is no run, or its config.json is damaged.
        """
        try:
            with open(folder.config, encoding="utf-8") as file:
                content = json.load(file)
            model = content["model"]
            return cls(
                ModelConfig(**model | {"decoder": DecoderConfig(**model["decoder"])}),
                dict(content["training"]),
                DataConfig(**content["data"]),
            )
        except OSError:
            raise UserError(
                f"{folder.path}: no run here ({folder.config} is missing); train one with"
                f" `python -m trainer.main --flagfile=...`{paths.suggest(folder.path)}"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{folder.config}: not a run's config ({error})") from None


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
