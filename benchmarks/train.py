"""Our training step against textbook ones, on one core.

Run it with `make bench-train`, which installs PyTorch, or `python -m benchmarks.train`. The
contenders take turns (benchmarks/contest.py), one step each per round; their medians are compared.
"""

from benchmarks import contest, train_cases
from benchmarks import train_work as work
from benchmarks.contest import Contender, Spec, Step
from benchmarks.measure import describe_machine

TEXTBOOK_MODEL, OUR_RECIPE = "textbook's model", "our recipe"
BASELINE = "PyTorch textbook float32"
PRECISIONS = ("float32", "bfloat16")


def specs(size: str, cpu_class: str | None = None) -> dict[str, Spec]:
    """Return the contenders of a size by name.

    Args:
        size: a key of `train_work.SIZES`.
        cpu_class: the value of --cpu_class. TensorFlow aborts at a bfloat16 product that the CPU
            could do and oneDNN may not, so these contenders are left out then.
    """
    by_name: dict[str, Spec] = {
        f"PyTorch textbook {precision}": ["textbook", size, precision] for precision in PRECISIONS
    }
    by_name["Keras RNN(cell) float32"] = ["keras_rnn", size]
    for recipe, model in ((False, TEXTBOOK_MODEL), (True, OUR_RECIPE)):
        for precision in PRECISIONS:
            by_name[f"ours {precision}, {model}"] = ["ours", size, recipe, precision]
    by_name |= {f"product {precision}": ["product", precision] for precision in PRECISIONS}
    return {
        name: spec
        for name, spec in by_name.items()
        if not cpu_class or spec[0] == "textbook" or "bfloat16" not in spec
    }


def build(spec: Spec) -> Step:
    """Return the function that takes a contender's step."""
    kind, *args = spec
    if kind == "product":
        return train_cases.product(*args)
    size, *options = args
    return getattr(train_cases, kind)(size, work.batch(size), *options)


def compete(
    size: str, rounds: int, only: str, cpu_class: str | None = None
) -> dict[str, Contender]:
    """Let the contenders of a size take turns.

    Args:
        size: a key of `train_work.SIZES`.
        rounds: steps of each contender.
        only: part of the names of those that take part; the products always do.
        cpu_class: the value of --cpu_class.
    """
    offered = specs(size, cpu_class)
    chosen = {name: spec for name, spec in offered.items() if only in name or spec[0] == "product"}
    return contest.compete("benchmarks.train", chosen, rounds)


HEADER = (
    f"{'':34}{'captions/s':>16}{'tokens/s':>10}{'GFLOP/s':>9}{'of peak':>9}"
    f"{'x textbook':>12}{'peak MB':>9}{'first s':>9}"
)


def table(size: str, contenders: dict[str, Contender]) -> str:
    """Return one line for each contender."""
    batch = work.batch(size)
    height, width, depth = work.SIZES[size]
    peaks = {
        precision: train_cases.PRODUCT_GIGAFLOP / contenders[f"product {precision}"].median
        for precision in PRECISIONS
        if f"product {precision}" in contenders
    }
    reached = ", ".join(f"{rate:.0f} in {precision}" for precision, rate in peaks.items())
    lines = [
        f"{size}: {height} x {width} x {depth} features, {work.IMAGES} images x {work.CAPTIONS}"
        f" captions, {batch.words} words, V = {work.VOCABULARY:,}, U = {work.UNITS}; GFLOP/s of"
        f" products: {reached}",
        HEADER,
    ]
    baseline = contenders.get(BASELINE)
    lines += [
        _line(size, batch, contender, peaks, baseline)
        for contender in contenders.values()
        if contender.spec[0] != "product"
    ]
    return "\n".join(lines)


def _line(
    size: str,
    batch: work.Batch,
    contender: Contender,
    peaks: dict[str, float],
    baseline: Contender | None,
) -> str:
    captions, words = work.IMAGES * work.CAPTIONS, batch.words
    precision = "bfloat16" if "bfloat16" in contender.name else "float32"
    config = work.decoder_config(size, OUR_RECIPE in contender.name, precision)
    rate = work.gigaflop(config, batch) / contender.median
    slowest, fastest = captions / max(contender.seconds), captions / min(contender.seconds)
    ratio = f"{baseline.median / contender.median:.1f}" if baseline else "-"
    spread = f"{captions / contender.median:.0f} ({slowest:.0f}-{fastest:.0f})"
    return (
        f"{contender.name:34}{spread:>16}{words / contender.median:>10,.0f}"
        f"{rate:>9.0f}{_share(rate, peaks.get(precision)):>9}{ratio:>12}"
        f"{contender.peak:>9,.0f}{contender.first:>9.1f}"
    )


def _share(rate: float, peak: float | None) -> str:
    return f"{rate / peak:.0%}" if peak else "-"


def main() -> None:
    """Run the command."""
    parser = contest.parser(__doc__.splitlines()[0], rounds=9)
    sizes = ", ".join(work.SIZES)
    parser.add_argument(
        "--sizes", default="S,L", help=f"sizes to measure, with commas, of {sizes} (default: S,L)"
    )
    options = parser.parse_args()
    if options.worker:
        contest.serve(build, options.worker)
        return
    chosen = options.sizes.split(",")
    if not set(chosen) <= work.SIZES.keys():
        parser.error(f"--sizes={options.sizes}: not all of them are in {sizes}")
    contest.limit(options.cpu_class)
    print(describe_machine())
    print("One core, processor time; medians of interleaved steps (slowest-fastest).")
    for size in chosen:
        print(
            "\n" + table(size, compete(size, options.rounds, options.only, options.cpu_class)),
            flush=True,
        )


if __name__ == "__main__":
    main()
