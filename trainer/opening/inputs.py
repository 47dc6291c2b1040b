"""What a training reads of records: their features where these fit the encoder, else images."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from artifacts import restore, stored_features
from artifacts.recipe import Recipe
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UsageError
from model.captioner import Captioner
from model.encoder import PREPROCESSING_VERSION
from records.manifest import DatasetInfo
from records.split_files import SplitFiles


def adopt_stored_encoder(recipe: Recipe, given: Mapping[str, Any], info: DatasetInfo) -> Recipe:
    """Take the encoder of the records' features, where no flag names another.

    Args:
        recipe: The recipe.
        given: The flags that the user gave, name -> value.
        info: The manifest of the records.

    Returns:
        The recipe with `encoder` and `encoder_weights` settled.

    Raises:
        UsageError: A flag asks for what records without images cannot give.
    """
    if not info.encoder:
        return recipe
    stored: dict[str, Any] = {
        "encoder": info.encoder.name,
        "encoder_weights": info.flags.encoder_weights,
    }
    folder = RunFolder(recipe.run_dir)
    if folder.exists and folder.has_weights:
        trained = RunConfig.read(folder).training
        stored = {name: trained.get(name, value) for name, value in stored.items()}
    if given.get("encoder", stored["encoder"]) != stored["encoder"]:
        del stored["encoder_weights"]  # those are of another network
    adopted = {name: value for name, value in stored.items() if name not in given}
    recipe = dataclasses.replace(recipe, **adopted)
    if info.flags.store == "both":
        return recipe
    if recipe.encoder_trainable or recipe.augment:
        flag = "encoder_trainable" if recipe.encoder_trainable else "augment"
        raise UsageError(
            f"--{flag} needs images and {recipe.records_dir} holds features only; build"
            " records with --store=both, or without --features"
        )
    if recipe.encoder != info.encoder.name:
        raise UsageError(
            f"--encoder={recipe.encoder} contradicts {recipe.records_dir}, which holds features of"
            f" {info.encoder.name}; leave --encoder out, or build records with"
            f" --features={recipe.encoder}"
        )
    return recipe


def repeat_random_weights(captioner: Captioner, recipe: Recipe, info: DatasetInfo) -> None:
    """Draw the random encoder weights that stored features come from: those of the build's seed.

    Args:
        captioner: Its encoder gets the weights.
        recipe: The recipe; nothing is done unless it wants a frozen encoder of random weights.
        info: The manifest of the records; nothing is done unless they hold features.
    """
    if info.encoder and recipe.encoder_weights == "random" and not recipe.encoder_trainable:
        keras.utils.set_random_seed(info.seed)
        drawn = restore.build_encoder(recipe.encoder, "random")
        captioner.encoder.network.set_weights(drawn.network.get_weights())


def choose_inputs(
    files: SplitFiles,
    info: DatasetInfo,
    captioner: Captioner,
    augmented: bool = False,
    preprocessing: int = PREPROCESSING_VERSION,
) -> SplitFiles:
    """Take a split's stored features where they fit the encoder, else its images.

    Args:
        files: The split.
        info: The manifest of its records.
        captioner: What is trained.
        augmented: Whether the images are augmented, so that no stored features serve.
        preprocessing: The version of the preprocessing that the captioner is trained with.

    Returns:
        The split, its `grid` set where features are read.

    Raises:
        UserError: The features do not fit, and there are no images.
    """
    if augmented or not stored_features.usable(
        info, files.folder, captioner.encoder, preprocessing
    ):
        return files
    assert info.encoder is not None  # or `usable` would be False
    return dataclasses.replace(files, grid=info.encoder.grid)
