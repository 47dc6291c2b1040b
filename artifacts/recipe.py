"""The recipe: every flag of a training run, frozen into one dataclass.

Each flag is declared once, here or in its group in `artifacts/recipe_flags/`. Training and
evaluation load the same flagfile, so both commands declare these flags.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from artifacts.recipe_flags.encoder import EncoderFlags
from artifacts.recipe_flags.machine import MachineFlags
from artifacts.recipe_flags.model import AUTO, ModelFlags
from artifacts.recipe_flags.objective import ObjectiveFlags
from artifacts.recipe_flags.self_critical import SelfCriticalFlags
from artifacts.recipe_flags.training import TrainingFlags
from artifacts.run_config import ModelConfig
from cli.errors import UsageError
from cli.flags import flag
from model.definition.decoder import DecoderConfig
from model.encoder import ENCODERS


@dataclasses.dataclass(frozen=True)
class Recipe(
    ModelFlags, EncoderFlags, ObjectiveFlags, TrainingFlags, SelfCriticalFlags, MachineFlags
):
    """How a captioner is trained. Every field is a flag."""

    records_dir: str = flag("", "Folder that pipeline.build_records wrote: the data set.")
    run_dir: str = flag(
        "",
        "Folder of the run: config, checkpoints, metrics and evaluations. evaluation.main takes"
        " several, separated by commas, as an ensemble.",
    )

    def model(self, vocabulary_size: int) -> ModelConfig:
        """Return the captioner that this recipe trains.

        Args:
            vocabulary_size: V, the number of words.

        Returns:
            What `artifacts.restore.build` builds.

        Raises:
            UsageError: The flags ask for an attention's parts without an attention, or for a floor
                that changes nothing.
            ValueError: --precision is not settled yet (`trainer/opening/precision.py`).
        """
        if self.precision == AUTO:
            raise ValueError("--precision=auto is not settled")
        if self.attention == "none":
            self._require_nothing_of_an_attention()
        if self.attention_entropy_floor:
            self._require_entropy_above_its_floor()
        decoder = DecoderConfig(
            vocabulary_size=vocabulary_size,
            feature_depth=ENCODERS[self.encoder].grid[2],
            rnn_units=self.rnn_units,
            embedding_dim=self.embedding_dim,
            attention_units=self.attention_units,
            feature_projection=self.feature_projection,
            attention=self.attention,
            image_as=self.image_as,
            gate=self.gate,
            deep_output=self.deep_output,
            precision=self.precision,
        )
        return ModelConfig(self.encoder, self.encoder_trainable, decoder)

    def _require_nothing_of_an_attention(self) -> None:
        if self.image_as == "context":
            raise UsageError(
                "--attention=none with --image_as=context hides the image from the decoder; give"
                " --image_as=init_state or --image_as=first_input"
            )
        remedies = {
            "--nogate": self.gate,
            "--doubly_stochastic=0": self.doubly_stochastic,
            "--attention_entropy=0": self.attention_entropy,
        }
        if needed := [remedy for remedy, value in remedies.items() if value]:
            raise UsageError(
                "--attention=none leaves no attention to gate or to penalise; add "
                + " ".join(needed)
            )

    def _require_entropy_above_its_floor(self) -> None:
        floor = self.attention_entropy_floor
        if not self.attention_entropy:
            raise UsageError(
                f"--attention_entropy_floor={floor} changes nothing without --attention_entropy;"
                " give that a weight, such as 0.02"
            )
        height, width, _ = ENCODERS[self.encoder].grid
        even = math.log(height * width)
        if floor >= even:
            raise UsageError(
                f"--attention_entropy_floor={floor} changes nothing: attention to the"
                f" {height * width} locations of {self.encoder} has {even:.2f} nats at most; give"
                " less"
            )

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate of the stage."""
        return self.scst_learning_rate if self.self_critical else self.learning_rate

    def steps_per_epoch(self, records: int) -> int:
        """Return the training steps in an epoch.

        Args:
            records: Records of the training split.
        """
        return -(-records // self.batch_size)

    def require(self, *names: str) -> None:
        """Refuse a recipe that lacks a value.

        Args:
            names: Flags that must have a value.

        Raises:
            UsageError: One is missing or empty.
        """
        for name in names:
            if not getattr(self, name):
                raise UsageError(f"--{name} is missing; give it or a --flagfile that has it")


# Flags that may change when a run is resumed or evaluated. Any other flag would make another model
# or another order of training.
CHANGEABLE = frozenset(
    (
        *("records_dir", "run_dir", "epochs", "max_steps", "patience"),
        *("extend_schedule", "init_run"),  # the trainer compares them with the run itself
        *("accumulate_steps", "cache_memory_mb", "keep_checkpoints", "profile_steps"),
    )
)


def refuse_contradictions(
    trained: Mapping[str, Any], given: Mapping[str, Any], remedies: Mapping[str, str] | None = None
) -> None:
    """Refuse flags that contradict those that a run is trained with.

    --precision=auto contradicts no run.

    Args:
        trained: The `training` section of the run's config.json.
        given: Flag name -> value, as given now.
        remedies: Flag name -> what else the user may want of this command.

    Raises:
        UsageError: A flag that may not change has another value.
    """
    trained = with_defaults(trained)
    for name in sorted(given.keys() - CHANGEABLE):
        if name == "precision" and given[name] == AUTO:
            continue
        if name in trained and given[name] != trained[name]:
            remedy = (remedies or {}).get(name, "")
            raise UsageError(
                f"--{name}={given[name]} contradicts the run, trained with"
                f" --{name}={trained[name]}; give that, or another --run_dir{remedy}"
            )


def with_defaults(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's flags with those that did not exist when it began.

    A new flag's default is what earlier versions did.

    Args:
        trained: The `training` section of the run's config.json.
    """
    return {**dataclasses.asdict(Recipe()), **trained}
