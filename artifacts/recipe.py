"""The recipe: every flag of a training run, declared once, frozen into one checked dataclass."""

import dataclasses
import functools
from typing import Any

from absl import flags

from cli.errors import UsageError
from model.definition.precision import PRECISIONS
from model.encoder import ENCODERS


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The values of the recipe's flags, by the same names."""

    records_dir: str
    run_dir: str
    encoder: str
    encoder_weights: str
    encoder_trainable: bool
    precision: str
    epochs: int
    max_steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    rnn_units: int
    embedding_dim: int
    attention_units: int
    feature_projection: int
    gate: bool
    deep_output: bool
    dropout: float
    l2: float
    doubly_stochastic: float
    attention_entropy: float
    clip_norm: float
    label_smoothing: float
    patience: int
    seed: int
    cache_memory_mb: int
    shuffle_mb: int
    deterministic: bool
    keep_checkpoints: int
    profile_steps: str

    def model(self, vocabulary_size: int) -> dict:
        """The `model` part of config.json, what `artifacts.weights.build` takes."""
        return {
            "encoder": self.encoder,
            "encoder_trainable": self.encoder_trainable,
            "decoder": {
                "vocabulary_size": vocabulary_size,
                "feature_depth": ENCODERS[self.encoder].grid[2],
                "rnn_units": self.rnn_units,
                "embedding_dim": self.embedding_dim,
                "attention_units": self.attention_units,
                "feature_projection": self.feature_projection,
                "gate": self.gate,
                "deep_output": self.deep_output,
                "precision": self.precision,
            },
        }


# What may change when a run goes on or is evaluated; the rest makes another model or another order.
CHANGEABLE = frozenset(
    [
        *("records_dir", "run_dir", "epochs", "max_steps", "patience"),
        *("cache_memory_mb", "keep_checkpoints", "profile_steps"),
    ]
)


def define_flags(values: flags.FlagValues) -> None:
    """Declare the flags of the recipe."""
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_integer, flag_values=values)
    real = functools.partial(flags.DEFINE_float, flag_values=values)
    switch = functools.partial(flags.DEFINE_bool, flag_values=values)
    choice = functools.partial(flags.DEFINE_enum, flag_values=values)
    text("records_dir", None, "Folder that pipeline.build_records wrote.")
    text("run_dir", None, "Folder of the run: config, checkpoints, metrics, scores.")
    choice("encoder", "nasnet_large", sorted(ENCODERS), "Network that gives the features.")
    text("encoder_weights", "imagenet", "`imagenet`, `random` or a .weights.h5 file.")
    switch("encoder_trainable", False, "Train the encoder along with the decoder.")
    choice("precision", "float32", PRECISIONS, "Of the matrix products.")
    number("epochs", 20, "Times through the training split.", lower_bound=1)
    number("max_steps", 0, "Stop after so many steps; 0: after --epochs.", lower_bound=0)
    number("batch_size", 16, "Images in a batch, all captions of each.", lower_bound=1)
    real("learning_rate", 5e-4, "Adam's, at the end of the warm-up.", lower_bound=0.0)
    number("warmup_steps", 200, "Steps of linear warm-up.", lower_bound=0)
    number("rnn_units", 512, "U, the LSTM's size.", lower_bound=1)
    number("embedding_dim", 512, "Size of a word's vector.", lower_bound=1)
    number("attention_units", 512, "A, the attention's hidden size.", lower_bound=1)
    number("feature_projection", 512, "D', of the features; 0: none.", lower_bound=0)
    switch("gate", True, "The state gates the context: beta.")
    switch("deep_output", True, "Words from h, context and word; else from h alone.")
    real("dropout", 0.5, "Rate.", lower_bound=0.0, upper_bound=0.99)
    real("l2", 1e-6, "Weight of the sum of squares of the dense kernels.", lower_bound=0)
    real("doubly_stochastic", 0.01, "Weight of the attention penalty.", lower_bound=0.0)
    real(
        "attention_entropy",
        0.0,
        "Weight of the attention's entropy: the higher, the fewer places a word looks at.",
        lower_bound=0.0,
    )
    real("clip_norm", 5.0, "Global norm that gradients are clipped to.", lower_bound=1e-9)
    real("label_smoothing", 0.0, "Share.", lower_bound=0.0, upper_bound=0.99)
    number("patience", 0, "Epochs without a better score; 0: never stop.", lower_bound=0)
    number("seed", 1, "Of the weights, the order and the dropout.", lower_bound=0)
    number("cache_memory_mb", 4096, "Room for frozen features; 0: none.", lower_bound=0)
    switch("deterministic", False, "The same weights again, bit for bit; a little slower.")
    text("profile_steps", "", "a:b: write a TensorBoard profile of these steps.")
    number("keep_checkpoints", 3, "To go on from, beside the best.", lower_bound=1)
    number("shuffle_mb", 512, "Window of encoded records to shuffle.", lower_bound=1)


def from_flags(values: flags.FlagValues) -> TrainConfig:
    """Return the configuration that the command line and its flagfiles give.

    Raises:
        UsageError: --records_dir or --run_dir is missing.
    """
    for name in ("records_dir", "run_dir"):
        require(values, name)
    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    return TrainConfig(**{name: values[name].value for name in fields})


def require(values: flags.FlagValues, name: str) -> str:
    """The value of a flag that must be given.

    Raises:
        UsageError: it is not.
    """
    if not values[name].value:
        raise UsageError(f"--{name} is missing; give it or a --flagfile that has it")
    return values[name].value


def refuse_contradictions(trained: dict, given: dict) -> None:
    """Compare flags with those that a run was trained with.

    Call arguments:
        trained: the `training` part of the run's config.json.
        given: name -> value.

    Raises:
        UsageError: one that may not change has another value.
    """
    for name in sorted(given.keys() - CHANGEABLE):
        if name in trained and given[name] != trained[name]:
            raise UsageError(
                f"--{name}={given[name]} contradicts the run, trained with"
                f" --{name}={trained[name]}; give that, or another --run_dir"
            )


def given_flags(values: flags.FlagValues) -> dict[str, Any]:
    """The recipe flags that this command line or its flagfiles name: name -> value."""
    names = (field.name for field in dataclasses.fields(TrainConfig))
    return {name: values[name].value for name in names if values[name].present}
