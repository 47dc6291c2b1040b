"""Features that records hold: whose they are, and whether a run can use them."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras

from artifacts import weights
from artifacts.recipe import TrainConfig
from cli.errors import UsageError, UserError
from model.captioner import Captioner
from model.encoder import PREPROCESSING_VERSION, Encoder
from records.manifest import DatasetInfo
from records.split_files import SplitFiles

# Of the `data` part of a run's config.json.
PREPROCESSED = {"preprocessing": PREPROCESSING_VERSION}


def settled(config: TrainConfig, info: DatasetInfo, given: Mapping[str, Any]) -> TrainConfig:
    """`config` with the encoder and the weights of the stored features, where no flag names them.

    Args:
        config: The recipe as the flags give it.
        info: The manifest of the records.
        given: The recipe's flags that the command line names, and their values.

    Returns:
        The recipe to train with.

    Raises:
        UsageError: a flag asks for what records without images cannot give.
    """
    if not info.encoder:
        return config
    taken = {"encoder": info.encoder["name"], "encoder_weights": info.flags.encoder_weights}
    if os.path.exists(os.path.join(config.run_dir, "config.json")):
        earlier = weights.read_config(config.run_dir)["training"]
        taken = {name: earlier.get(name, value) for name, value in taken.items()}
    if given.get("encoder", taken["encoder"]) != taken["encoder"]:
        del taken["encoder_weights"]  # of another network
    taken = {name: value for name, value in taken.items() if name not in given}
    config = dataclasses.replace(config, **taken)
    if info.flags.store == "both":
        return config
    if config.encoder_trainable:
        raise UsageError(
            f"--encoder_trainable needs images and {config.records_dir} holds features only; build"
            " records with --store=both, or without --features"
        )
    if config.encoder != info.encoder["name"]:
        raise UsageError(
            f"--encoder={config.encoder} contradicts {config.records_dir}, which holds features of"
            f" {info.encoder['name']}; leave --encoder out, or build records with"
            f" --features={config.encoder}"
        )
    return config


def repeat_random_weights(captioner: Captioner, config: TrainConfig, info: DatasetInfo) -> None:
    """Give the encoder the random weights that stored features come from: of the build's seed."""
    if info.encoder and config.encoder_weights == "random" and not config.encoder_trainable:
        keras.utils.set_random_seed(info.seed)
        drawn = weights.build_encoder(config.encoder, "random")
        captioner.encoder.network.set_weights(drawn.network.get_weights())


def chosen(
    split_files: SplitFiles,
    info: DatasetInfo,
    encoder: Encoder,
    run: Mapping | None = None,
) -> SplitFiles:
    """Set `split_files` to give the stored features where they are those of `encoder`, else images.

    Call arguments:
        run: the `data` part of the run's config.json; None for a new run.

    Raises:
        UserError: the features are another encoder's, and there are no images.
    """
    if not info.encoder:
        return split_files
    difference = _difference(info.encoder, encoder, (run or PREPROCESSED)["preprocessing"])
    if not difference:
        return dataclasses.replace(split_files, grid=tuple(info.encoder["grid"]))
    folder = split_files.folder
    if info.flags.store == "both":
        print(f"{folder}: its features {difference}: the images are used")
        return split_files
    raise UserError(
        f"{folder}: its features {difference}; give records with images, or features that"
        " `pipeline.build_records --features` computed with this encoder and these weights"
    )


def _difference(stored: dict, encoder: Encoder, preprocessing: int) -> str | None:
    if stored["name"] != encoder.name:
        return f"are of {stored['name']}, the model's encoder is {encoder.name}"
    if stored["preprocessing"] != preprocessing:
        return (
            f"were made with version {stored['preprocessing']} of the preprocessing, the model's is"
            f" {preprocessing}"
        )
    if encoder.trainable:
        return f"are of {encoder.name} as it was, the model's encoder is trained with the decoder"
    if stored["weights"] != (found := encoder.fingerprint()):
        return (
            f"are of {encoder.name} with the weights {stored['weights'][:12]}, the model's encoder"
            f" has the weights {found[:12]}"
        )
    return None
