"""The choices that are measured: a name, and the flags that make it of the recipe."""

# "recipe" is the flagfile as it is, which all others are compared with. A choice that changes
# nothing of a recipe is left out: so each is there both on and off, whatever the recipe has.
RECIPE = "recipe"
CHOICES: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    # Weights.
    "no average": ("--ema_decay=0",),
    "average 0.99": ("--ema_decay=0.99",),
    "average 0.999": ("--ema_decay=0.999",),
    # Words fed in.
    "no scheduled sampling": ("--scheduled_sampling=0",),
    "scheduled sampling 0.25": ("--scheduled_sampling=0.25",),
    "scheduled sampling 0.5": ("--scheduled_sampling=0.5",),
    "no word dropout": ("--word_dropout=0",),
    "word dropout 0.1": ("--word_dropout=0.1",),
    # The learning rate.
    "cosine": ("--schedule=cosine",),
    "steps of 0.7": ("--schedule=step", "--decay_factor=0.7", "--decay_epochs=1"),
    "constant rate": ("--schedule=step", "--decay_factor=1"),
    # Which weights are the best.
    "best by CIDEr": ("--validation_metric=cider",),
    "best by BLEU-4 and CIDEr": ("--validation_metric=bleu_cider",),
    "best by loss": ("--validation_metric=loss",),
    "greedy validation": ("--validation_beam=1",),
    "validation by beam 2": ("--validation_beam=2",),
    # The objective.
    "no label smoothing": ("--label_smoothing=0",),
    "label smoothing 0.1": ("--label_smoothing=0.1",),
    "no dropout": ("--dropout=0",),
    "dropout 0.3": ("--dropout=0.3",),
    "dropout 0.5": ("--dropout=0.5",),
    "no doubly stochastic penalty": ("--doubly_stochastic=0",),
    "doubly stochastic 0.01": ("--doubly_stochastic=0.01",),
    "no attention entropy": ("--attention_entropy=0",),
    "attention entropy 0.005": ("--attention_entropy=0.005",),
    "attention that looks": (
        *("--doubly_stochastic=0", "--attention_entropy=0.02", "--attention_entropy_floor=2.5"),
    ),
    # The model.
    "image in the first state": ("--image_as=init_state",),
    "image by attention alone": ("--image_as=context",),
    "deep output": ("--deep_output",),
    "no deep output": ("--nodeep_output",),
    "static attention": ("--attention=static",),
    "no gate": ("--nogate",),
}
