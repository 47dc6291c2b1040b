"""Our search against simpler ones, on one core.

Run it with `make bench-search`, which installs PyTorch, or `python -m benchmarks.search`. Untrained
weights never end a caption, so every caption has `WORDS` words in every search. The contenders
take turns (benchmarks/contest.py), one batch each per round; their medians are compared.
"""

import numpy as np

import cli.start_tensorflow  # noqa: F401, before TensorFlow
from benchmarks import contest
from benchmarks import train_work as work
from benchmarks.contest import Contender, Spec, Step
from benchmarks.measure import describe_machine

IMAGES, WORDS, START, END = 64, 12, 1, 2
FEW = 4  # images that a search of one image at a time gets
SIZE = "S"
ONE_BY_ONE = "one image at a time, PyTorch textbook"
TEXTBOOK_STEP = "greedy by word, all images, PyTorch textbook"
EAGER_STEP = "by Decoder.step, eager"
COMPILED_STEP = "by Decoder.step, compiled"
MODELS = ((False, "textbook's model"), (True, "our recipe"))


def specs() -> dict[str, Spec]:
    """Return the contenders by name."""
    by_name: dict[str, Spec] = {}
    for precision in ("float32", "bfloat16"):
        for recipe, model in MODELS:
            by_name |= {
                f"greedy {precision}, {model}": ["greedy", recipe, precision],
                f"beam 3 {precision}, {model}": ["beam", recipe, precision, 3],
                f"beam 5 {precision}, {model}": ["beam", recipe, precision, 5],
            }
    for kind, how in (("eager", EAGER_STEP), ("compiled", COMPILED_STEP)):
        for recipe, model in MODELS:
            by_name[f"greedy {how}, {model}"] = [kind, recipe, "float32"]
    by_name[TEXTBOOK_STEP] = ["textbook greedy"]
    return by_name | {f"beam {k}: {ONE_BY_ONE}": ["textbook beam", k] for k in (1, 3, 5)}


def build(spec: Spec) -> Step:
    """Return the function that captions a contender's batch."""
    kind, *args = spec
    features = np.random.default_rng(0).uniform(size=(IMAGES, *_grid())).astype(np.float16)
    if kind.startswith("textbook"):
        return _textbook(features, *args)
    return _ours(features, kind, *args)


def _grid() -> tuple[int, int]:
    height, width, depth = work.SIZES[SIZE]
    return height * width, depth


def _textbook(features: np.ndarray, beam_size: int = 0) -> Step:
    """Return the tutorial's search: a beam for a few images, one at a time; 0: greedy for all."""
    import torch

    from benchmarks.textbook import Decoder, beam_search, greedy_search

    torch.set_num_threads(1)
    torch.manual_seed(1)
    decoder = Decoder(work.VOCABULARY, _grid()[1], work.UNITS).eval()
    if not beam_size:
        batch = torch.from_numpy(features.astype(np.float32))
        return lambda: greedy_search(decoder, batch, START, WORDS)
    images = torch.from_numpy(features[:FEW].astype(np.float32)).split(1)
    return lambda: [beam_search(decoder, image, beam_size, START, END, WORDS) for image in images]


def _ours(
    features: np.ndarray, kind: str, recipe: bool, precision: str, beam_size: int = 1
) -> Step:
    import keras
    import tensorflow as tf

    from model.caption_generator import CaptionGenerator
    from model.definition.decoder import Decoder
    from model.search.greedy import greedy_search
    from model.search.rules import NO_REPEAT_NGRAM, Rules

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(1)

    class FeaturesOnly:
        decoder = Decoder(work.decoder_config(SIZE, recipe, precision))

    decoder, images = FeaturesOnly.decoder, tf.constant(features)
    rules = Rules(START, END, banned=(END,), max_length=WORDS, no_repeat_ngram=NO_REPEAT_NGRAM)
    generator = CaptionGenerator([FeaturesOnly])

    def by_step(images: tf.Tensor) -> tf.Tensor:
        memory = decoder.memory(images)
        state = decoder.initial_state(memory, 1)
        if kind == "compiled":
            return greedy_search(lambda *last: decoder.step(*last, memory), state, rules).ids
        tokens = tf.fill([IMAGES, 1], START)
        words = []
        for _ in range(WORDS):
            logits, state, _ = decoder.step(tokens, state, memory)
            tokens = tf.argmax(logits, -1, tf.int32)
            words.append(tokens)
        return tf.concat(words, 1)

    search = {
        "greedy": lambda: generator.greedy([images], rules).ids,
        "beam": lambda: generator.beam([images], rules, beam_size=beam_size).ids,
        "compiled": tf.function(lambda: by_step(images), autograph=False),
        "eager": lambda: by_step(images),
    }[kind]
    return lambda: search().numpy()


def table(contenders: dict[str, Contender]) -> str:
    """Return one line for each contender."""
    height, width, depth = work.SIZES[SIZE]
    rates = {
        name: (FEW if contender.spec[0] == "textbook beam" else IMAGES) / contender.median
        for name, contender in contenders.items()
    }
    lines = [
        f"{IMAGES} images of {height} x {width} x {depth} features, captions of {WORDS} words,"
        f" V = {work.VOCABULARY:,}, U = {work.UNITS}; one core, processor time",
        f"{'':50}{'images/s':>10}{'spread':>8}{'of greedy':>11}{'x one at a time':>17}"
        f"{'x eager step':>14}{'x textbook step':>17}{'peak MB':>9}",
    ]
    return "\n".join([*lines, *(_line(c, rates) for c in contenders.values())])


def _line(contender: Contender, rates: dict[str, float]) -> str:
    name, rate = contender.name, rates[contender.name]
    beam_size = contender.spec[-1] if "beam" in contender.spec[0] else 1
    model = name.split(", ")[-1]
    greedy = rates.get(name.replace("beam 3", "greedy").replace("beam 5", "greedy"))
    one_by_one = rates.get(f"beam {beam_size}: {ONE_BY_ONE}")
    eager = rates.get(f"greedy {EAGER_STEP}, {model}") if beam_size == 1 else None
    textbook = rates.get(TEXTBOOK_STEP) if beam_size == 1 else None
    spread = (max(contender.seconds) - min(contender.seconds)) / contender.median
    return (
        f"{name:50}{rate:>10,.1f}{spread:>8.0%}"
        f"{f'{rate / greedy:.0%}' if greedy else '-':>11}"
        f"{f'{rate / one_by_one:.1f}' if one_by_one else '-':>17}"
        f"{f'{rate / eager:.1f}' if eager else '-':>14}"
        f"{f'{rate / textbook:.1f}' if textbook else '-':>17}{contender.peak:>9,.0f}"
    )


def _without_bfloat16(by_name: dict[str, Spec]) -> dict[str, Spec]:
    return {name: spec for name, spec in by_name.items() if "bfloat16" not in spec}


def main() -> None:
    """Run the command."""
    parser = contest.parser(__doc__.splitlines()[0], rounds=7)
    options = parser.parse_args()
    if options.worker:
        contest.serve(build, options.worker)
        return
    contest.limit(options.cpu_class)
    print(describe_machine())
    # TensorFlow aborts at a bfloat16 product that the CPU could do and oneDNN may not.
    offered = specs() if not options.cpu_class else _without_bfloat16(specs())
    chosen = {name: spec for name, spec in offered.items() if options.only in name}
    print(table(contest.compete("benchmarks.search", chosen, options.rounds)))


if __name__ == "__main__":
    main()
