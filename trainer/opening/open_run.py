"""From a recipe and records to a run on disk: a new run, or the one that lies in --run_dir."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

import keras

from artifacts import pixel_versions, provenance, restore, stored_features, weights_file
from artifacts import recipe as recipes
from artifacts.recipe import Recipe
from artifacts.run_config import DataConfig, RunConfig
from artifacts.run_folder import RunFolder
from cli import atomic_file
from cli.errors import UsageError, UserError
from model.captioner import Captioner
from model.encoder import PREPROCESSING_VERSION
from records.manifest import DatasetInfo
from records.split_files import SplitFiles
from records.vocabulary import Vocabulary
from trainer.distribution import Cluster


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
    if folder.exists:
        trained = RunConfig.read(folder).training
        stored = {name: trained.get(name, value) for name, value in stored.items()}
    if given.get("encoder", stored["encoder"]) != stored["encoder"]:
        del stored["encoder_weights"]  # those are of another network
    adopted = {name: value for name, value in stored.items() if name not in given}
    recipe = dataclasses.replace(recipe, **adopted)
    if info.flags.store == "both":
        return recipe
    if recipe.encoder_trainable:
        raise UsageError(
            f"--encoder_trainable needs images and {recipe.records_dir} holds features only; build"
            " records with --store=both, or without --features"
        )
    if recipe.encoder != info.encoder.name:
        raise UsageError(
            f"--encoder={recipe.encoder} contradicts {recipe.records_dir}, which holds features of"
            f" {info.encoder.name}; leave --encoder out, or build records with"
            f" --features={recipe.encoder}"
        )
    return recipe


def open_run(
    recipe: Recipe, info: DatasetInfo, vocabulary: Vocabulary, train: SplitFiles, cluster: Cluster
) -> tuple[Captioner, SplitFiles]:
    """Open the run in --run_dir, or start a new one there.

    Args:
        recipe: The recipe.
        info: The manifest of the records.
        vocabulary: Their vocabulary.
        train: Their training split.
        cluster: The workers; only the chief reads and writes the run's folder.

    Returns:
        The captioner, and the training split with the inputs that suit it.

    Raises:
        UsageError: A flag contradicts the run that lies there.
        UserError: The records are not those of the run, their features are those of another
            encoder, or the folder cannot be written.
    """
    keras.utils.set_random_seed(recipe.seed)
    folder = RunFolder(recipe.run_dir)
    if cluster.chief and folder.exists:
        captioner, preprocessing = _resume(folder, recipe, info, vocabulary, cluster)
        return captioner, choose_inputs(train, info, captioner, preprocessing)
    if cluster.chief:
        _refuse_remains(folder)
    with cluster.strategy.scope():
        captioner = restore.build(recipe.model(len(vocabulary)), recipe.encoder_weights)
    repeat_random_weights(captioner, recipe, info)
    train = choose_inputs(train, info, captioner)
    if cluster.chief:
        _start(folder, recipe, info, vocabulary, captioner)
    return captioner, train


def _refuse_remains(folder: RunFolder) -> None:
    """Refuse to start a run where weights lie that no config.json explains."""
    weights = [name for name in folder.checkpoint_names() if name.endswith(".npz")]
    if weights:
        raise UserError(
            f"{folder.checkpoints}: holds {weights[0]} and {folder.config} is missing: a new run"
            " would overwrite the weights of another; put config.json back or give another"
            " --run_dir"
        )


def _resume(
    folder: RunFolder,
    recipe: Recipe,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    cluster: Cluster,
) -> tuple[Captioner, int]:
    """Check that recipe and records are those of the run, and load what training leaves as it is.

    The loop restores the trained weights from the newest checkpoint.
    """
    config = RunConfig.read(folder)
    pixel_versions.check(recipe.run_dir, config.data.preprocessing)
    recipes.refuse_contradictions(config.training, dataclasses.asdict(recipe))
    if not any(name.endswith(".npz") for name in folder.checkpoint_names()):
        print(f"{folder.path}: no checkpoint yet: training begins at step 0", file=sys.stderr)
    if config.data.vocabulary_fingerprint != vocabulary.fingerprint:
        raise UserError(
            f"{recipe.records_dir}: its vocabulary is not the one that {recipe.run_dir} was"
            " trained with; give those records or another --run_dir"
        )
    trained_on = provenance.read(folder)
    if trained_on and trained_on.content_hashes("train") != info.content_hashes("train"):
        raise UserError(
            f"{recipe.records_dir}: its training images are not those that {recipe.run_dir} is"
            " trained on; give those records or another --run_dir"
        )
    with cluster.strategy.scope():
        captioner = restore.build(recipe.model(len(vocabulary)))
    if captioner.non_trainable_variables:
        try:
            frozen, _ = weights_file.load(folder.frozen)
            weights_file.scatter(frozen, captioner.non_trainable_variables)
        except (weights_file.DamagedError, FileNotFoundError) as error:
            raise UserError(f"{error}; remove {folder.path} to train from the start") from None
    return captioner, config.data.preprocessing


def _start(
    folder: RunFolder,
    recipe: Recipe,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    captioner: Captioner,
) -> None:
    """Write the run's folder; config.json last, because with it the folder is a run."""
    data = DataConfig(
        dataset=info.dataset,
        vocabulary_fingerprint=vocabulary.fingerprint,
        encoder_fingerprint=captioner.encoder.fingerprint(),
        preprocessing=PREPROCESSING_VERSION,
    )
    config = RunConfig(recipe.model(len(vocabulary)), dataclasses.asdict(recipe), data)
    try:
        os.makedirs(folder.path, exist_ok=True)
        atomic_file.write(folder.vocabulary, vocabulary.to_tsv().encode())
        if captioner.non_trainable_variables:
            frozen = weights_file.gather(captioner.non_trainable_variables)
            weights_file.save(folder.frozen, frozen, {})
        provenance.write(folder, info)
        config.write(folder)
    except OSError as error:
        raise UserError(f"{folder.path}: the run cannot be written ({error})") from None


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
    preprocessing: int = PREPROCESSING_VERSION,
) -> SplitFiles:
    """Take a split's stored features where they fit the encoder, else its images.

    Args:
        files: The split.
        info: The manifest of its records.
        captioner: What is trained.
        preprocessing: The version of the preprocessing that the captioner is trained with.

    Returns:
        The split, its `grid` set where features are read.

    Raises:
        UserError: The features do not fit, and there are no images.
    """
    if not stored_features.usable(info, files.folder, captioner.encoder, preprocessing):
        return files
    assert info.encoder is not None  # or `usable` would be False
    return dataclasses.replace(files, grid=info.encoder.grid)
