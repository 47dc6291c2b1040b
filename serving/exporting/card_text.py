"""card.md: what a bundle is, for people."""

from collections.abc import Mapping
from typing import Any

from metrics.names import HEADINGS

_NO_LICENCE = (
    "None was given at the export. Ask whoever made the bundle before you use it for more than a"
    " trial: the images and captions of the training, and the encoder's weights, have licences of"
    " their own."
)
_LIMITS = """\
- It was trained on the data above and says what it saw there. Of other pictures it says nonsense,
  in the same even voice. Do not let people depend on a caption that nobody has checked.
- TensorFlow Serving reads JPEG and PNG alone, of 8 bits, without transparency. It sees no EXIF:
  send upright pictures. A picture that it cannot decode fails all pictures of its batch, those of
  other requests among them. The server of this program (`python -m serving.server`) reads more
  formats, turns pictures upright, and gives each picture its own answer.
- Pixels must be resized with antialiasing, as Pillow's `BILINEAR` and TensorFlow's
  `tf.image.resize(antialias=True)` do it. Without it, as most phones resize, features are spoilt.
- Everything is computed in float32. A GPU with TF32, or a runtime in bfloat16, gives other captions
  than `golden/golden.json`."""


def text(card: Mapping[str, Any]) -> str:
    """Return the content of card.md.

    Args:
        card: The content of card.json.
    """
    sections = {
        "What it is": _what(card),
        "Trained on": _data(card["data"]),
        "Scores": _scores(card),
        "model.tflite": _lite(card),
        "Limits": _LIMITS,
        "Licence": card["licence"] or _NO_LICENCE,
    }
    parts = [f"# {_plain(card['name'])}: a bundle that captions images"]
    parts += [f"## {title}\n\n{content}" for title, content in sections.items()]
    return "\n\n".join(parts) + "\n"


def _what(card: Mapping[str, Any]) -> str:
    run, search = card["run"], card["search"]
    flags = ", ".join(f"{name} {value}" for name, value in search.items())
    looks = (
        f"It tells where each word looked, on a grid of {card['grid'][0]} x {card['grid'][1]}."
        if card["attends"]
        else "It has no attention, and does not tell where a word looked."
    )
    return (
        f"A captioner with the encoder {card['encoder']}, which takes squares of"
        f" {card['input_size']} x {card['input_size']} pixels. Run {_plain(card['name'])}"
        f" ({run['id'] or 'of an earlier version, without an id'}), epoch {run['epoch']}, step"
        f" {run['step']:,}.\n\n{looks} Its search is fixed: {flags}.\n\n"
        f"It was exported on: {card['machine']}."
    )


def _data(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return "Unknown: the run holds no manifest of its records."
    before = f", after weights that were trained on {', '.join(data['initial'])}"
    leaks = "; ".join(
        f"{n:,} images of {split} are in train too" for split, n in data["leaks"].items()
    )
    return (
        f"{_plain(data['dataset'])}: {data['images']:,} images, a vocabulary of"
        f" {data['vocabulary']:,} words{before if data['initial'] else ''}."
        + (f" Language: {data['language']}." if data["language"] else "")
        + (f" CONTAMINATED: {leaks}." if leaks else "")
    )


def _scores(card: Mapping[str, Any]) -> str:
    if not card["metrics"]:
        return (
            "None: the run holds no evaluation of these weights. `python -m evaluation.main` writes"
            " one; then export again."
        )
    return "\n\n".join(_table(split, scores) for split, scores in card["metrics"].items())


def _table(split: str, scores: Mapping[str, Any]) -> str:
    search = ", ".join(f"{name} {value}" for name, value in (scores.get("search") or {}).items())
    how = f", {search}, {' and '.join(scores['precision'])}" if search else ""
    of = f"{_plain(scores['dataset'])}, {split}, {scores['images']:,} images"
    return (
        f"{_stamp(scores)}{of}{how}:\n\n"
        f"| metric (x100) | score | 95% interval |\n|---|---|---|\n{_rows(scores)}"
    )


def _stamp(scores: Mapping[str, Any]) -> str:
    return f"**{scores['contamination']}.** " if scores["contamination"] else ""


def _rows(*systems: Mapping[str, Any]) -> str:
    """Return a line for each metric, with two cells for each system."""
    rows = []
    for name in systems[0]["metrics"]:
        cells = [
            cell
            for scores in systems
            for cell in (
                f"{100 * scores['metrics'][name]:.1f}",
                _interval(scores["intervals"], name),
            )
        ]
        rows.append(f"| {' | '.join([HEADINGS[name], *cells])} |")
    return "\n".join(rows)


def _interval(intervals: Mapping[str, Any], name: str) -> str:
    if name not in intervals:
        return "-"
    low, high = intervals[name]
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _lite(card: Mapping[str, Any]) -> str:
    lite, scored = card["lite"], card["lite"]["scored"]
    weights = {
        "none": "Weights in float32: it gives the captions of the run.",
        "float16": "Weights in float16: a few captions are not those of the run.",
        "int8": "Weights of the decoder in int8: some captions are not those of the run.",
    }[card["quantize"]]
    line = (
        f"{lite['bytes']:,} bytes, {lite['milliseconds']:.1f} ms an image on one thread. {weights}"
    )
    if not scored:
        return line
    images = f"{scored['images']:,} images of {_plain(scored['dataset'])}, {scored['split']}"
    return (
        f"{line}\n\nOf {images},"
        f" {lite['same_as_run']:.1%} get the same caption as from the run in float32."
        f"{' ' + _stamp(scored).rstrip() if scored['contamination'] else ''}\n\n"
        "| metric (x100) | run in float32 | 95% interval | model.tflite | 95% interval |\n"
        f"|---|---|---|---|---|\n{_rows(scored['run'], scored['lite'])}"
    )


def _plain(name: str) -> str:
    """Return a name of the user's without what Markdown or HTML would read in it."""
    return "".join(c if c.isalnum() or c in " ._-+" else "?" for c in name)
