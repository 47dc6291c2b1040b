"""Our search against simpler ones, on one core: `make bench-search`.

Untrained weights never end a caption, so that all of them have `WORDS` words, whoever searches.
The contenders take turns (contest.py), a batch each a round; the medians are compared.
"""

from collections.abc import Callable

import numpy as np

import cli.tensorflow_log  # noqa: F401, before TensorFlow
from benchmarks import contest
from benchmarks import train_work as work

IMAGES, WORDS, START, END = 64, 12, 1, 2
FEW = 4  # images of a batch that a search of one image at a time is given
SIZE = "S"
ONE = "one image at a time, PyTorch textbook"
BATCH = "greedy by word, all images, PyTorch textbook"
PLAIN = "by Decoder.step, eager"
COMPILED = "by Decoder.step, compiled"
MODELS = ((False, "textbook's model"), (True, "our recipe"))


def names() -> dict[str, list]:
    """Name -> what `build` takes."""
    found = {}
    for precision in ("float32", "bfloat16"):
        for recipe, whose in MODELS:
            found |= {
                f"greedy {precision}, {whose}": ["greedy", recipe, precision],
                f"beam 3 {precision}, {whose}": ["beam", recipe, precision, 3],
                f"beam 5 {precision}, {whose}": ["beam", recipe, precision, 5],
            }
    for kind, how in (("eager", PLAIN), ("compiled", COMPILED)):
        for recipe, whose in MODELS:
            found[f"greedy {how}, {whose}"] = [kind, recipe, "float32"]
    found[BATCH] = ["batch"]
    return found | {f"beam {k}: {ONE}": ["one", k] for k in (1, 3, 5)}


def build(what: list) -> Callable[[], object]:
    """The function that captions a batch."""
    kind, *args = what
    features = np.random.default_rng(0).uniform(size=(IMAGES, *_grid())).astype(np.float16)
    if kind in ("batch", "one"):
        return _textbook(features, *args)
    return _ours(features, kind, *args)


def _grid() -> tuple[int, int]:
    height, width, depth = work.SIZES[SIZE]
    return height * width, depth


def _textbook(features: np.ndarray, beam_size: int = 0) -> Callable[[], object]:
    """Beam search of a few images, one at a time; without a beam greedy, all at once."""
    import torch

    from benchmarks.textbook import Decoder, greedy, search

    torch.set_num_threads(1)
    torch.manual_seed(1)
    decoder = Decoder(work.VOCABULARY, _grid()[1], work.UNITS).eval()
    if not beam_size:
        whole = torch.from_numpy(features.astype(np.float32))
        return lambda: greedy(decoder, whole, START, WORDS)
    images = torch.from_numpy(features[:FEW].astype(np.float32)).split(1)
    return lambda: [search(decoder, image, beam_size, START, END, WORDS) for image in images]


def _ours(
    features: np.ndarray, kind: str, recipe: bool, precision: str, beam_size: int = 1
) -> Callable[[], object]:
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
        decoder = Decoder(work.config(SIZE, recipe, precision))

    decoder, given = FeaturesOnly.decoder, tf.constant(features)
    rules = Rules(START, END, banned=(END,), max_length=WORDS, no_repeat_ngram=NO_REPEAT_NGRAM)
    generator = CaptionGenerator([FeaturesOnly])

    def by_step(image):
        memory = decoder.memory(image)
        state = decoder.initial_state(memory, 1)
        if kind == "compiled":
            return greedy_search(lambda *at: decoder.step(*at, memory), state, rules).ids
        tokens = tf.fill([IMAGES, 1], START)
        words = []
        for _ in range(WORDS):
            logits, state, _ = decoder.step(tokens, state, memory)
            tokens = tf.argmax(logits, -1, tf.int32)
            words.append(tokens)
        return tf.concat(words, 1)

    find = {
        "greedy": lambda: generator.greedy([given], rules).ids,
        "beam": lambda: generator.beam([given], rules, beam_size=beam_size).ids,
        "compiled": tf.function(lambda: by_step(given), autograph=False),
        "eager": lambda: by_step(given),
    }[kind]
    return lambda: find().numpy()


def table(found: dict[str, contest.Contender]) -> str:
    """One line a contender."""
    height, width, depth = work.SIZES[SIZE]
    rates = {
        name: (FEW if one.what[0] == "one" else IMAGES) / one.median for name, one in found.items()
    }
    lines = [
        f"{IMAGES} images of {height} x {width} x {depth} features, captions of {WORDS} words,"
        f" V = {work.VOCABULARY:,}, U = {work.UNITS}; one core, processor time",
        f"{'':50}{'images/s':>10}{'spread':>8}{'of greedy':>11}{'x one at a time':>17}"
        f"{'x eager step':>14}{'x textbook step':>17}{'peak MB':>9}",
    ]
    for name, one in found.items():
        spread = (max(one.seconds) - min(one.seconds)) / one.median
        kind = "1" if one.what[0] not in ("beam", "one") else one.what[-1]
        by_word = rates.get(BATCH) if kind == "1" else None
        alone = rates.get(f"beam {kind}: {ONE}")
        greedy = rates.get(name.replace("beam 3", "greedy").replace("beam 5", "greedy"))
        whose = name.split(", ")[-1]
        eager = rates.get(f"greedy {PLAIN}, {whose}") if kind == "1" else None
        lines.append(
            f"{name:50}{rates[name]:>10,.1f}{spread:>8.0%}"
            f"{f'{rates[name] / greedy:.0%}' if greedy else '-':>11}"
            f"{f'{rates[name] / alone:.1f}' if alone else '-':>17}"
            f"{f'{rates[name] / eager:.1f}' if eager else '-':>14}"
            f"{f'{rates[name] / by_word:.1f}' if by_word else '-':>17}{one.peak:>9,.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = contest.parser(__doc__.splitlines()[0], rounds=7)
    options = parser.parse_args()
    if options.worker:
        contest.serve(build, options.worker)
        return
    chosen = {name: what for name, what in names().items() if options.only in name}
    print(table(contest.compete("benchmarks.search", chosen, options.rounds)))


if __name__ == "__main__":
    main()
