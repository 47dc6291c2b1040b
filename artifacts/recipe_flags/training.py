"""Flags of the training: how long, from where, in which steps."""

import dataclasses

from cli.flags import flag

SCHEDULES = ("cosine", "step")
VALIDATION_METRICS = ("cider", "loss", "bleu_cider")


@dataclasses.dataclass(frozen=True)
class TrainingFlags:
    """How weights are learnt. Every field is a flag."""

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
        "Folder of a run whose best weights a new run begins with. The flags of its model need not"
        " be given. With another vocabulary the words that both have keep their weights; with"
        " another encoder all behind the projection of features is kept.",
    )
    batch_size: int = flag(
        16,
        "Images in a training batch over all devices together, each image with all of its captions;"
        " 1 or more.",
        at_least=1,
    )
    learning_rate: float = flag(
        5e-4,
        "Adam's learning rate at the end of the warm-up, 0 or more; it then follows --schedule.",
        at_least=0.0,
    )
    schedule: str = flag(
        "cosine",
        "How the learning rate decays: `cosine` to 0 at the end of the training, `step` by"
        " --decay_factor every --decay_epochs.",
        choices=SCHEDULES,
    )
    decay_factor: float = flag(
        0.8,
        "With --schedule=step: factor of the learning rate, above 0 to 1; 1 keeps it constant.",
        at_least=1e-6,
        at_most=1.0,
    )
    decay_epochs: int = flag(
        1, "With --schedule=step: epochs from one decay to the next, 1 or more.", at_least=1
    )
    warmup_steps: int = flag(
        200,
        "Steps over which the learning rate rises linearly from 0, 0 or more.",
        at_least=0,
    )
    clip_norm: float = flag(
        5.0, "Global norm to which gradients are clipped, more than 0.", at_least=1e-9
    )
    ema_decay: float = flag(
        0.0,
        "Share that an exponential moving average of the weights keeps at each step, 0 to 0.9999;"
        " validation then scores the average, and the best weights are the average's. 0 averages"
        " nothing.",
        at_least=0.0,
        at_most=0.9999,
    )
    validation_metric: str = flag(
        "cider",
        "Validation score that chooses the best weights: `cider`, `loss` (the lowest cross-entropy"
        " of the references), or `bleu_cider`, the mean of BLEU-4 and CIDEr.",
        choices=VALIDATION_METRICS,
    )
    validation_beam: int = flag(
        1,
        "Hypotheses of the beam search that captions the validation split, 1 or more; 1 is greedy"
        " search. More take longer and use the other search flags, too.",
        at_least=1,
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
