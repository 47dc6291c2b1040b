"""--init_run: a new run that begins with the best weights of another one."""

import dataclasses
from collections.abc import Sequence

from artifacts import provenance, restore
from artifacts.provenance import TrainedOn
from artifacts.recipe import Recipe
from artifacts.run_config import InitialWeights, ModelConfig, RunConfig
from artifacts.run_folder import RunFolder
from cli.errors import UserError
from model.captioner import Captioner
from records.vocabulary import Vocabulary


def load(
    captioner: Captioner, recipe: Recipe, vocabulary: Vocabulary
) -> tuple[InitialWeights, Sequence[TrainedOn]]:
    """Set a captioner to the best weights of the run that --init_run names.

    Args:
        captioner: The captioner of the new run.
        recipe: The recipe of the new run.
        vocabulary: The vocabulary of its records.

    Returns:
        What config.json says of the weights; the images that they were trained on.

    Raises:
        UserError: There is no such run, it has no weights, its vocabulary or its model is another,
            or one of its files is damaged or missing.
    """
    folder = RunFolder(recipe.init_run)
    config = RunConfig.read(folder)
    where = f"--init_run={recipe.init_run}"
    if config.data.vocabulary_fingerprint != vocabulary.fingerprint:
        raise UserError(
            f"{where}: its vocabulary is not that of {recipe.records_dir}; build records with"
            f" `pipeline.build_records --vocabulary={folder.vocabulary}`"
        )
    restore.read_vocabulary(recipe.init_run)
    difference = _difference(recipe.model(len(vocabulary)), config.model)
    if difference:
        raise UserError(f"{where}: its model is another: {difference}; give the same flags")
    trained_on = provenance.read_all(folder)
    if trained_on is None:
        raise UserError(
            f"{folder.provenance} is missing: it says which images {recipe.init_run} was trained"
            " on, which no evaluation of the new run could tell; put it back"
        )
    restored = restore.restore(recipe.init_run)
    values = {variable.path: variable for variable in restored.captioner.variables}
    for variable in captioner.variables:
        variable.assign(values[variable.path])
    weights = restore.digest(recipe.init_run)
    return InitialWeights(recipe.init_run, restored.note["step"], weights, ""), trained_on


def _difference(wanted: ModelConfig, trained: ModelConfig) -> str | None:
    """Say what differs between two models, but for what the same weights fit."""
    new, old = (
        dataclasses.asdict(model.decoder) | {"encoder": model.encoder, "precision": ""}
        for model in (wanted, trained)
    )
    differences = (f"{name}={old[name]}, not {new[name]}" for name in new if new[name] != old[name])
    return next(differences, None)
