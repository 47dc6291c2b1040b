"""Our training step against textbook ones, on one core: `make bench-train`.

The contenders take turns (contest.py), a step each a round; the medians are compared.
"""

from benchmarks import contest, train_cases
from benchmarks import train_work as work

LIKE, RECIPE = "textbook's model", "our recipe"
PRECISIONS = ("float32", "bfloat16")


def names(size: str) -> dict[str, list]:
    """Name -> what `build` takes."""
    found = {f"PyTorch textbook {p}": ["textbook", size, p] for p in PRECISIONS}
    found["Keras RNN(cell) float32"] = ["keras_rnn", size]
    for recipe, model in ((False, LIKE), (True, RECIPE)):
        for p in PRECISIONS:
            found[f"ours {p}, {model}"] = ["ours", size, recipe, p]
    return found | {f"product {p}": ["product", p] for p in PRECISIONS}


def build(what: list):
    """The function that takes a step."""
    kind, *args = what
    if kind == "product":
        return train_cases.product(*args)
    size, *rest = args
    return getattr(train_cases, kind)(size, work.batch(size), *rest)


def compete(size: str, rounds: int, only: str) -> dict[str, contest.Contender]:
    """All contenders of a size, after so many rounds."""
    chosen = {n: what for n, what in names(size).items() if only in n or what[0] == "product"}
    return contest.compete("benchmarks.train", chosen, rounds)


HEADER = (
    f"{'':34}{'captions/s':>16}{'tokens/s':>10}{'GFLOP/s':>9}{'of peak':>9}"
    f"{'x textbook':>12}{'peak MB':>9}{'first s':>9}"
)


def table(size: str, found: dict[str, contest.Contender]) -> str:
    """One line a contender."""
    batch = work.batch(size)
    captions, words = work.IMAGES * work.CAPTIONS, batch.words
    height, width, depth = work.SIZES[size]
    peaks = {p: train_cases.PRODUCT_GIGAFLOP / found[f"product {p}"].median for p in PRECISIONS}
    lines = [
        f"{size}: {height} x {width} x {depth} features, {work.IMAGES} images x {work.CAPTIONS}"
        f" captions, {words} words, V = {work.VOCABULARY:,}, U = {work.UNITS}; products reach"
        f" {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16",
        HEADER,
    ]
    textbook = found.get("PyTorch textbook float32")
    for name, one in found.items():
        if one.what[0] == "product":
            continue
        precision = "bfloat16" if "bfloat16" in name else "float32"
        config = work.config(size, RECIPE in name, precision)
        rate = work.gigaflop(config, batch) / one.median
        low, high = (captions / quantile for quantile in (max(one.seconds), min(one.seconds)))
        ratio = f"{textbook.median / one.median:.1f}" if textbook else "-"
        spread = f"{captions / one.median:.0f} ({low:.0f}-{high:.0f})"
        lines.append(
            f"{name:34}{spread:>16}{words / one.median:>10,.0f}"
            f"{rate:>9.0f}{100 * rate / peaks[precision]:>8.0f}%{ratio:>12}"
            f"{one.peak:>9,.0f}{one.first:>9.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = contest.parser(__doc__.splitlines()[0], rounds=9)
    parser.add_argument("--sizes", default="S,L", help="of " + ", ".join(work.SIZES))
    options = parser.parse_args()
    if options.worker:
        contest.serve(build, options.worker)
        return
    print("One core, processor time; medians of interleaved steps (slowest-fastest).")
    for size in options.sizes.split(","):
        print("\n" + table(size, compete(size, options.rounds, options.only)), flush=True)


if __name__ == "__main__":
    main()
