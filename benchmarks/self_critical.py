"""A self-critical training step against a cross-entropy one with as many captions, on one core.

Run it with `make bench-self-critical`. The steps and the three parts of the self-critical one take
turns (benchmarks/contest.py); their medians are compared.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import numpy as np

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks import contest, train_cases
from benchmarks import train_work as work
from benchmarks.contest import Contender, Spec, Step
from benchmarks.measure import describe_machine
from records.vocabulary import END, SPECIAL, Vocabulary

if TYPE_CHECKING:
    from trainer.self_critical.reward import References

SIZE = "S"
PRECISIONS = ("float32", "bfloat16")
PARTS = ("sampling", "reward", "gradient")
CROSS_ENTROPY, SELF_CRITICAL = "cross-entropy", "self-critical"
_IMAGES = 6_000  # of the training split, whose references the reward knows


def build(spec: Spec) -> Step:
    """Return the function that takes a contender's step.

    Every sampled caption is as long as the longest caption of the batch, so the self-critical step
    has more words than the other one.
    """
    import tensorflow as tf

    from artifacts.recipe import Recipe
    from model.definition.decoder import Decoder
    from trainer.optimizer import build_optimizer
    from trainer.self_critical.reward import Reward
    from trainer.self_critical.step import Judgement, SelfCriticalStep

    kind, precision = spec
    batch = work.batch(SIZE)
    if kind == CROSS_ENTROPY:
        return train_cases.ours(SIZE, batch, True, precision)
    train_cases.use_one_thread()
    recipe = Recipe(stage="scst", scst_samples=work.CAPTIONS, doubly_stochastic=0.0)
    captioner = train_cases.FeaturesOnly(Decoder(work.decoder_config(SIZE, True, precision)))
    captioner.encoder = types.SimpleNamespace(trainable=False)
    bias = captioner.decoder.output_logits.bias
    bias.assign(tf.tensor_scatter_nd_update(bias, [[END]], [-1e3]))  # never said
    optimizer = build_optimizer(recipe, 10_000)
    optimizer.build(captioner.trainable_variables)
    judgement = Judgement(Reward(_references()), np.arange(4, 30), batch.ids.shape[-1] - 1)
    step = SelfCriticalStep(recipe, captioner, optimizer, judgement)
    features, image_ids = tf.constant(batch.features), np.arange(work.IMAGES)
    drawn = step.sample(features, image_ids)
    sampled = step.judge(drawn, image_ids)
    return {
        SELF_CRITICAL: lambda: float(step(features, image_ids)["total"]),
        "sampling": lambda: step.sample(features, image_ids)[0].ids.numpy(),
        "reward": lambda: step.judge(drawn, image_ids),
        "gradient": lambda: float(step.learn(sampled)["total"]),
    }[kind]


def _references() -> References:
    """Return references of random words, the first ones the likeliest."""
    from trainer.self_critical.reward import References

    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(work.VOCABULARY)]
    drawn = np.minimum(rng.zipf(1.3, (_IMAGES, work.CAPTIONS, 11)), work.VOCABULARY) - 1
    texts = (
        (image, [" ".join(words[number] for number in caption).encode() for caption in captions])
        for image, captions in enumerate(drawn)
    )
    vocabulary = Vocabulary([*SPECIAL, *words], [1] * (len(words) + len(SPECIAL)))
    return References.read(texts, vocabulary, "the benchmark")


def table(contenders: dict[str, Contender]) -> str:
    """Return a line for each contender: its time, and what it is of a cross-entropy step's."""
    lines = [f"{'':28}{'ms a step':>12}{'of cross-entropy':>18}"]
    for name, contender in contenders.items():
        precision = contender.spec[1]
        ratio = contender.median / contenders[f"{CROSS_ENTROPY} {precision}"].median
        lines.append(f"{name:28}{1000 * contender.median:>12,.1f}{ratio:>17.2f}x")
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    options = contest.parser(__doc__.splitlines()[0], rounds=9).parse_args()
    if options.worker:
        contest.serve(build, options.worker)
        return
    print(describe_machine())
    print("One core, processor time; medians of interleaved steps.")
    kinds = (CROSS_ENTROPY, SELF_CRITICAL, *PARTS)
    specs: dict[str, Spec] = {f"{kind} {p}": [kind, p] for p in PRECISIONS for kind in kinds}
    chosen = {n: spec for n, spec in specs.items() if options.only in n or spec[0] == CROSS_ENTROPY}
    print(table(contest.compete("benchmarks.self_critical", chosen, options.rounds)))


if __name__ == "__main__":
    main()
