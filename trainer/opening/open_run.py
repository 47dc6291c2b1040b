"""From a recipe and records to a run on disk: a new run, or the one that lies in --run_dir."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from artifacts import provenance, restore, weights_file
from artifacts import recipe as recipes
from artifacts.checkpoints import newest_note
from artifacts.provenance import TrainedOn
from artifacts.recipe import Recipe
from artifacts.run_config import DataConfig, InitialWeights, RunConfig, Schedule
from artifacts.run_folder import RunFolder
from cli import atomic_file
from cli.errors import UsageError, UserError
from model.captioner import Captioner
from model.encoder import PREPROCESSING_VERSION
from records.manifest import DatasetInfo
from records.split_files import SplitFiles
from records.vocabulary import Vocabulary
from trainer.distribution import Cluster
from trainer.memory.estimate import require_memory
from trainer.opening import initial_weights, resume
from trainer.opening.inputs import choose_inputs, repeat_random_weights
from trainer.opening.plan import Plan, plan_resumed, trained, wanted_steps
from trainer.position import Position


class OpenedRun(NamedTuple):
    """A run that is ready to be trained.

    Attributes:
        folder: The run's folder.
        captioner: What is trained.
        train: The training split, with the inputs that suit the captioner.
        plan: How long it is trained.
        finished: Why nothing is left to do; None where something is.
        config: Its config.json; None on workers other than the chief.
        trained_on: The images that its initial weights were trained on.
    """

    folder: RunFolder
    captioner: Captioner
    train: SplitFiles
    plan: Plan
    finished: str | None = None
    config: RunConfig | None = None
    trained_on: Sequence[TrainedOn] = ()

    @property
    def id(self) -> str:
        """What the run's files of weights say that they belong to; "" on other workers."""
        return self.config.id if self.config else ""

    def note_step(self, step: int, steps_per_epoch: int) -> None:
        """Write into config.json how far the run is.

        Args:
            step: Steps done.
            steps_per_epoch: Batches in an epoch.

        Raises:
            UserError: The file cannot be written.
        """
        if self.config:
            with _reported(self.folder):
                config = dataclasses.replace(self.config, trained=trained(step, steps_per_epoch))
                config.write(self.folder)


def open_run(
    recipe: Recipe,
    given: Mapping[str, Any],
    info: DatasetInfo,
    vocabulary: Vocabulary,
    train: SplitFiles,
    cluster: Cluster,
) -> OpenedRun:
    """Open the run in --run_dir, or start a new one there.

    Args:
        recipe: The recipe.
        given: The flags that the user gave, name -> value.
        info: The manifest of the records.
        vocabulary: Their vocabulary.
        train: Their training split.
        cluster: The workers; only the chief reads and writes the run's folder.

    Returns:
        The run.

    Raises:
        UsageError: A flag contradicts the run that lies there, or training its encoder takes more
            memory than there is.
        UserError: The records are not those of the run, their features are those of another
            encoder, a file of the run is not its own, or the folder cannot be written.
    """
    keras.utils.set_random_seed(recipe.seed)
    folder = RunFolder(recipe.run_dir)
    if cluster.chief:
        recipe = _with_initial_run(folder, recipe)
        if folder.exists and not _begins_anew(folder, recipe, given):
            return _resume(folder, recipe, given, info, vocabulary, train, cluster)
        _refuse_remains(folder)
    with cluster.strategy.scope():
        weights = initial_weights.encoder_weights(recipe)
        captioner = restore.build(recipe.model(len(vocabulary)), weights)
    require_memory(recipe, captioner, cluster.replicas)
    repeat_random_weights(captioner, recipe, info)
    initial, trained_on = _take_initial_weights(captioner, recipe, vocabulary, cluster)
    train = choose_inputs(train, info, captioner, recipe.augment)
    steps = wanted_steps(recipe, recipe.steps_per_epoch(train.records))
    config = None
    if cluster.chief:
        config = _start(folder, recipe, info, vocabulary, captioner, steps, initial, trained_on)
    return OpenedRun(folder, captioner, train, Plan(steps, steps), None, config, trained_on)


def _take_initial_weights(
    captioner: Captioner, recipe: Recipe, vocabulary: Vocabulary, cluster: Cluster
) -> tuple[InitialWeights | None, Sequence[TrainedOn]]:
    """Set a captioner to the weights of --init_run, if one is given, and say what is new."""
    if not recipe.init_run:
        return None, ()
    initial, trained_on, remarks = initial_weights.load(captioner, recipe, vocabulary)
    if cluster.chief:
        print(*remarks, sep="\n", end="\n" if remarks else "")
    return initial, trained_on


def _with_initial_run(folder: RunFolder, recipe: Recipe) -> Recipe:
    """Return the recipe with the --init_run that a run without weights of its own began with.

    The flag may spell its path otherwise, or be missing.
    """
    if folder.exists and folder.has_weights:
        return recipe
    initial = RunConfig.read(folder).initial if folder.exists else None
    if initial and (
        not recipe.init_run or os.path.realpath(recipe.init_run) == os.path.realpath(initial.run)
    ):
        recipe = dataclasses.replace(recipe, init_run=initial.run)
    if recipe.self_critical and not recipe.init_run:
        raise UsageError(
            f"--stage={recipe.stage} goes on from a run that was trained on people's captions, and"
            " --init_run is missing; give --init_run=RUN"
        )
    return recipe


def _begins_anew(folder: RunFolder, recipe: Recipe, given: Mapping[str, Any]) -> bool:
    """Tell whether a run is begun anew: nothing is trained yet, and its flags are others now.

    A run that begins with the weights of another one takes them anew, whatever its flags: it has no
    file of them yet.
    """
    if folder.has_weights:
        return False
    config = RunConfig.read(folder)
    others = resume.other_flags(config, recipe, given)
    if others:
        print(f"{folder.path}: no checkpoint yet: the run begins anew with {', '.join(others)}")
    elif config.initial:
        print(f"{folder.path}: no checkpoint yet: training begins at step 0")
    return bool(others) or config.initial is not None


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
    given: Mapping[str, Any],
    info: DatasetInfo,
    vocabulary: Vocabulary,
    train: SplitFiles,
    cluster: Cluster,
) -> OpenedRun:
    """Check that recipe and records are those of the run, and load what training leaves as it is.

    The loop restores the trained weights from the newest checkpoint.
    """
    config = written = RunConfig.read(folder)
    resume.check(folder, config, recipe, info, vocabulary)
    note = newest_note(folder, config.id)
    position = Position.from_note(note) if note else Position()
    steps_per_epoch = recipe.steps_per_epoch(train.records)
    plan, config = plan_resumed(config, recipe, given, steps_per_epoch, position.step)
    config = dataclasses.replace(config, trained=trained(position.step, steps_per_epoch))
    with cluster.strategy.scope():
        captioner = restore.build(recipe.model(len(vocabulary)))
    restore.restore_frozen(captioner, folder, config)
    pixels = config.data.preprocessing
    train = choose_inputs(train, info, captioner, recipe.augment, pixels)
    if config != written:
        with _reported(folder):
            config.write(folder)
    trained_on = provenance.read_all(folder) or ()
    finished = resume.why_finished(folder, config, position, plan, recipe)
    if not finished:
        require_memory(recipe, captioner, cluster.replicas)
        resume.tell(recipe, plan, position, folder)
    return OpenedRun(folder, captioner, train, plan, finished, config, trained_on[1:])


def _start(
    folder: RunFolder,
    recipe: Recipe,
    info: DatasetInfo,
    vocabulary: Vocabulary,
    captioner: Captioner,
    steps: int,
    initial: InitialWeights | None,
    trained_on: Sequence[TrainedOn],
) -> RunConfig:
    """Write the run's folder; config.json last, because with it the folder is a run."""
    with _reported(folder):
        os.makedirs(folder.path, exist_ok=True)
        for path in (folder.config, folder.initial_provenance, folder.frozen):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)  # Of a run that begins anew.
        atomic_file.write(folder.vocabulary, vocabulary.to_tsv().encode())
        data = DataConfig(
            dataset=info.dataset,
            vocabulary_fingerprint=vocabulary.fingerprint,
            encoder_fingerprint=captioner.encoder.fingerprint(),
            preprocessing=PREPROCESSING_VERSION,
            records_fingerprint=provenance.write(folder, info),
        )
        if initial:
            initial = provenance.write_initial(folder, initial, trained_on)
        config = RunConfig(
            recipe.model(len(vocabulary)),
            dataclasses.asdict(recipe),
            data,
            Schedule(steps),
            trained(0, 1),
            initial,
        ).with_id(recipes.CHANGEABLE)
        if captioner.non_trainable_variables:
            frozen = weights_file.gather(captioner.non_trainable_variables)
            weights_file.save(folder.frozen, frozen, weights_file.owned({}, config.id))
        config.write(folder)
    return config


@contextlib.contextmanager
def _reported(folder: RunFolder) -> Iterator[None]:
    """Turn a failure to write into one line for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder.path}: the run cannot be written ({error})") from None
