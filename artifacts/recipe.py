"""The recipe: every flag of a training run, declared once and frozen into one dataclass.

Training and evaluation load the same flagfile, so both commands declare these flags.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from artifacts.run_config import ModelConfig
from cli.errors import UsageError
from cli.flags import flag
from model.definition.attention import ATTENTIONS
from model.definition.decoder import DecoderConfig
from model.definition.image_input import IMAGE_INPUTS
from model.definition.precision import PRECISIONS
from model.encoder import ENCODERS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a captioner is trained. Every field is a flag."""

    records_dir: str = flag("", "Folder that pipeline.build_records wrote: the data set.")
    run_dir: str = flag(
        "",
        "Folder of the run: config, checkpoints, metrics and evaluations. evaluation.main takes"
        " several, separated by commas, as an ensemble.",
    )

    # The captioner.
    encoder: str = flag(
        "nasnet_large", "Network that computes the features.", choices=sorted(ENCODERS)
    )
    encoder_weights: str = flag(
        "imagenet",
        "Weights of the encoder at the start: `imagenet` (downloaded by Keras), `random`, or a"
        " .weights.h5, .h5 or .keras file of the network, with or without its top.",
    )
    encoder_trainable: bool = flag(
        False, "Train the encoder along with the decoder instead of keeping it frozen."
    )
    precision: str = flag(
        "float32",
        "Number format of the inputs of matrix products; everything else stays float32.",
        choices=PRECISIONS,
    )
    rnn_units: int = flag(512, "Units of the LSTM (U), 1 or more.", at_least=1)
    embedding_dim: int = flag(
        512, "Size of a word's embedding and of the deep output, 1 or more.", at_least=1
    )
    attention_units: int = flag(512, "Hidden units of the attention (A), 1 or more.", at_least=1)
    feature_projection: int = flag(
        512,
        "Depth (D') to which features are projected before attention, 0 or more; 0 attends to the"
        " features themselves.",
        at_least=0,
    )
    attention: str = flag(
        "soft",
        "Where a word looks: `soft` lets the LSTM's state decide at every word, `static` weighs the"
        " locations once per image, `none` shows the words nothing of the image.",
        choices=tuple(ATTENTIONS),
    )
    image_as: str = flag(
        "init_state",
        "How the image enters before the first word: `init_state` computes the LSTM's state from"
        " the image's vector (the mean of its features), `first_input` lets the LSTM read that"
        " vector before <start>, `context` starts from 0, so the image enters by attention alone.",
        choices=tuple(IMAGE_INPUTS),
    )
    gate: bool = flag(
        True, "Gate the context by the LSTM's state (beta in the paper); needs an attention."
    )
    deep_output: bool = flag(
        True,
        "Compute the logits from state, context and last word; without it from the state alone.",
    )

    # The objective.
    dropout: float = flag(
        0.5,
        "Dropout rate on features, embeddings and the deep output, 0 to 0.99.",
        at_least=0.0,
        at_most=0.99,
    )
    l2: float = flag(
        1e-6,
        "Weight of the sum of squares of the dense kernels in the objective, 0 or more.",
        at_least=0.0,
    )
    doubly_stochastic: float = flag(
        0.01,
        "Weight of the doubly stochastic attention penalty in the objective, 0 or more.",
        at_least=0.0,
    )
    attention_entropy: float = flag(
        0.0,
        "Weight of the attention's entropy in the objective, 0 or more; a higher weight makes each"
        " word look at fewer locations.",
        at_least=0.0,
    )
    label_smoothing: float = flag(
        0.0,
        "Share of the target probability that is spread over all words, 0 to 0.99.",
        at_least=0.0,
        at_most=0.99,
    )

    # The training.
    max_train_images: int = flag(
        0,
        "Images of the training split to train on, 0 or more: the first ones in the order of the"
        " shards and of the records in them; 0 trains on all. A build deals images to shards by a"
        " seeded permutation, so the first ones are a random sample.",
        at_least=0,
    )
    epochs: int = flag(20, "Passes over the training split, 1 or more.", at_least=1)
    max_steps: int = flag(
        0,
        "Training steps after which to stop, 0 or more; 0 stops after --epochs.",
        at_least=0,
    )
    extend_schedule: bool = flag(
        False,
        "Let a run that is resumed with more --epochs or --max_steps go on: its learning rate then"
        " follows the schedule of the new length.",
    )
    init_run: str = flag(
        "",
        "Folder of a run whose best weights a new run begins with; its vocabulary and its model"
        " must be the same, but for --encoder_trainable and --precision.",
    )
    batch_size: int = flag(
        16,
        "Images in a training batch over all devices together, each image with all of its captions;"
        " 1 or more.",
        at_least=1,
    )
    learning_rate: float = flag(
        5e-4,
        "Adam's learning rate at the end of the warm-up, 0 or more; it then decays to 0 along a"
        " cosine.",
        at_least=0.0,
    )
    warmup_steps: int = flag(
        200,
        "Steps over which the learning rate rises linearly from 0, 0 or more.",
        at_least=0,
    )
    clip_norm: float = flag(
        5.0, "Global norm to which gradients are clipped, more than 0.", at_least=1e-9
    )
    patience: int = flag(
        0,
        "Epochs without a better validation score after which training stops, 0 or more; 0 never"
        " stops early.",
        at_least=0,
    )
    seed: int = flag(
        1,
        "Seed of the initial weights, the order of the images and the dropout masks, 0 or more.",
        at_least=0,
    )
    deterministic: bool = flag(
        False,
        "Compute the same weights bit for bit when the run is repeated or resumed; slower.",
    )

    # The machine.
    cache_memory_mb: int = flag(
        4096,
        "Memory in MB that the features of a frozen encoder may take, 0 or more; features that do"
        " not fit are computed or read again in every epoch.",
        at_least=0,
    )
    shuffle_mb: int = flag(
        512,
        "Size in MB of the window of encoded records that are shuffled together, 1 or more.",
        at_least=1,
    )
    keep_checkpoints: int = flag(
        3, "Checkpoints to keep for resuming, beside the best weights; 1 or more.", at_least=1
    )
    profile_steps: str = flag(
        "",
        "First and last step to profile for TensorBoard, as in 100:110; empty profiles none.",
    )

    def model(self, vocabulary_size: int) -> ModelConfig:
        """Return the captioner that this recipe trains.

        Args:
            vocabulary_size: V, the number of words.

        Returns:
            What `artifacts.restore.build` builds.

        Raises:
            UsageError: The flags ask for an attention's parts without an attention.
        """
        if self.attention == "none":
            self._require_nothing_of_an_attention()
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
        *("cache_memory_mb", "keep_checkpoints", "profile_steps"),
    )
)


def refuse_contradictions(
    trained: Mapping[str, Any], given: Mapping[str, Any], remedies: Mapping[str, str] | None = None
) -> None:
    """Refuse flags that contradict those that a run is trained with.

    Args:
        trained: The `training` section of the run's config.json.
        given: Flag name -> value, as given now.
        remedies: Flag name -> what else the user may want of this command.

    Raises:
        UsageError: A flag that may not change has another value.
    """
    trained = with_defaults(trained)
    for name in sorted(given.keys() - CHANGEABLE):
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
