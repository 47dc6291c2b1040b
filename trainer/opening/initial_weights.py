"""--init_run: a new run that begins with the best weights of another one.

The new run may have another vocabulary, and another encoder where features are projected.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from artifacts import provenance, restore
from artifacts.provenance import TrainedOn
from artifacts.recipe import Recipe
from artifacts.recipe_flags.model import ModelFlags
from artifacts.recipe_flags.self_critical import CROSS_ENTROPY
from artifacts.run_config import InitialWeights, RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UsageError, UserError
from model.captioner import Captioner
from records.vocabulary import SPECIAL, UNK, Vocabulary
from trainer.self_critical.policy import become_policy

# Flags of the model that are not about its shapes: the weights fit with any value.
_FREE = {"encoder", "encoder_weights", "precision"}


class Loaded(NamedTuple):
    """What a captioner began with.

    Attributes:
        initial: What config.json says of the weights.
        trained_on: The images that they were trained on.
        remarks: Lines that say what was not taken over.
    """

    initial: InitialWeights
    trained_on: Sequence[TrainedOn]
    remarks: Sequence[str]


def adopt_model(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Take the flags of the model that are not given from the run of --init_run.

    A run that began so goes on with its own, whether it is named again or not.

    Args:
        recipe: The recipe.
        given: The flags that the user gave, name -> value.

    Raises:
        UserError: There is no such run.
    """
    folder = RunFolder(recipe.run_dir)
    config = RunConfig.read(folder) if folder.exists else None
    if not config or (recipe.init_run and not folder.has_weights):
        config = RunConfig.read(RunFolder(recipe.init_run)) if recipe.init_run else None
    elif not config.initial:
        config = None
    if not config:
        return recipe
    names = {field.name for field in dataclasses.fields(ModelFlags)} - {"precision"} - given.keys()
    if given.get("encoder", config.model.encoder) != config.model.encoder:
        names -= {"encoder_weights"}  # Those are of another network.
    adopted = {name: config.training[name] for name in names & config.training.keys()}
    return dataclasses.replace(recipe, **adopted)


def encoder_weights(recipe: Recipe) -> str:
    """Return the weights with which a new run's encoder is built, before `load`.

    Args:
        recipe: The recipe of the new run.

    Raises:
        UserError: There is no such run.
    """
    if recipe.init_run and _encoder(recipe.init_run) == recipe.encoder:
        return "random"  # Those of the run replace them.
    return recipe.encoder_weights


def load(captioner: Captioner, recipe: Recipe, vocabulary: Vocabulary) -> Loaded:
    """Set a captioner to the best weights of the run that --init_run names.

    Args:
        captioner: The captioner of the new run.
        recipe: The recipe of the new run.
        vocabulary: The vocabulary of its records.

    Returns:
        What it began with.

    Raises:
        UsageError: A flag asks for another model than the run has.
        UserError: There is no such run, it has no weights, or one of its files is damaged or
            missing.
    """
    folder = RunFolder(recipe.init_run)
    _refuse_other_shapes(recipe, RunConfig.read(folder))
    words = restore.read_vocabulary(recipe.init_run)
    trained_on = provenance.read_all(folder)
    if trained_on is None:
        raise UserError(
            f"{folder.provenance} is missing: it says which images {recipe.init_run} was trained"
            " on, which no evaluation of the new run could tell; put it back"
        )
    restored = restore.restore(recipe.init_run)
    remarks = []
    if (encoder := _encoder(recipe.init_run)) != recipe.encoder:
        remarks.append(
            f"--init_run={recipe.init_run}: its encoder is {encoder} and not {recipe.encoder}: the"
            " projection of features begins anew, and all behind it is kept"
        )
    if words.fingerprint != vocabulary.fingerprint:
        remarks.append(_words_remark(recipe.init_run, words, vocabulary))
    if remarks and recipe.self_critical:
        raise UserError(
            f"--stage={recipe.stage} goes on from a run that knows these words and sees these"
            f" features: {remarks[0]}; first train on from there with --stage={CROSS_ENTROPY}"
        )
    _assign(captioner, restored.captioner, encoder == recipe.encoder, words, vocabulary)
    if recipe.self_critical:
        become_policy(captioner, recipe.scst_temperature)
    digest = restore.digest(recipe.init_run)
    initial = InitialWeights(recipe.init_run, restored.note["step"], digest, "")
    return Loaded(initial, trained_on, remarks)


def _encoder(run_dir: str) -> str:
    return RunConfig.read(RunFolder(run_dir)).model.encoder


def _refuse_other_shapes(recipe: Recipe, config: RunConfig) -> None:
    """Refuse a model whose weights have other shapes, or another meaning, than those of a run."""
    run = f"--init_run={recipe.init_run}"
    wanted = dataclasses.asdict(recipe.model(config.model.decoder.vocabulary_size).decoder)
    trained = dataclasses.asdict(config.model.decoder)
    flags = [field.name for field in dataclasses.fields(ModelFlags) if field.name not in _FREE]
    others = [name for name in flags if name in trained and wanted[name] != trained[name]]
    if others:
        now, before = (
            " ".join(f"--{name}={values[name]}" for name in others) for values in (wanted, trained)
        )
        raise UsageError(
            f"{now}: {run} was trained with {before}, and its weights fit no other model; leave"
            f" --{' and --'.join(others)} out"
        )
    if recipe.encoder != config.model.encoder and not recipe.feature_projection:
        raise UsageError(
            f"--encoder={recipe.encoder}: {run} was trained with --encoder={config.model.encoder}"
            " and --feature_projection=0, so its attention reads the features of that encoder"
            " alone; give that encoder, or a run with a projection"
        )


def _words_remark(run_dir: str, old: Vocabulary, new: Vocabulary) -> str:
    words = new.words[len(SPECIAL) :]
    known = len(set(words) & set(old.words))
    line = f"{known:,} of {len(words):,} words are known to {run_dir}"
    if known == len(words):
        return line
    return f"{line}; the others begin as {'its <unk>' if old.counts[UNK] else 'in a new run'}"


def _assign(
    captioner: Captioner,
    trained: Captioner,
    same_encoder: bool,
    old: Vocabulary,
    new: Vocabulary,
) -> None:
    """Set all weights of a captioner that a trained one has.

    Args:
        captioner: What is set.
        trained: Whose weights it gets.
        same_encoder: Whether the encoder and the projection of its features are taken over.
        old: The vocabulary of `trained`.
        new: The vocabulary of `captioner`.
    """
    decoder = captioner.decoder
    own = set()
    if not same_encoder:
        projection = (each for each in decoder.projection if each is not None)
        own = {each.path for each in (*captioner.encoder.variables, *projection)}
    kernel, bias = decoder.output_logits
    assert bias is not None  # Every decoder's words have one.
    word_axes = {decoder.embedding.path: 0, kernel.path: 1, bias.path: 0}
    values = {variable.path: variable for variable in trained.variables}
    for variable in captioner.variables:
        if variable.path in word_axes and old.words != new.words:
            _assign_words(variable, values[variable.path], word_axes[variable.path], old, new)
        elif variable.path not in own:
            variable.assign(values[variable.path])
    if old.words != new.words and old.counts[UNK]:
        bias.assign(bias + _shares_of_unknown(old, new))


def _assign_words(
    variable: keras.Variable, trained: keras.Variable, axis: int, old: Vocabulary, new: Vocabulary
) -> None:
    """Set what a variable holds of each word.

    Args:
        variable: What is set.
        trained: The variable of the trained captioner.
        axis: That of the words, in both.
        old: The vocabulary of `trained`.
        new: The vocabulary of `variable`. A word that is new begins as `<unk>`, if the run has
            seen unknown words, else as it is.
    """
    places = _places(old, new)
    rows = np.moveaxis(np.array(variable), axis, 0)
    learned = np.moveaxis(np.array(trained), axis, 0)
    takes = places >= 0 if not old.counts[UNK] else np.full(len(places), True)
    rows[takes] = learned[np.where(places < 0, UNK, places)][takes]
    variable.assign(np.moveaxis(rows, 0, axis))


def _places(old: Vocabulary, new: Vocabulary) -> np.ndarray:
    """Return the id that each word of a vocabulary has in an old one, -1 for none."""
    ids = {word: place for place, word in enumerate(old.words)}
    return np.array([ids.get(word, -1) for word in new.words])


def _shares_of_unknown(old: Vocabulary, new: Vocabulary) -> np.ndarray:
    """Return what to add to each word's bias, so that `<unk>` shares its probability.

    It is shared among `<unk>` and the new words by their counts: together they are as likely as
    `<unk>` was, and the words that are known stay as likely as they were.
    """
    shared = _places(old, new) < 0
    shared[UNK] = True
    counts = np.maximum(np.array(new.counts, np.float64), 1)
    return np.where(shared, np.log(counts / counts[shared].sum()), 0).astype(np.float32)
