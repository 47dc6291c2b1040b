"""Caption a split and score it: `python -m evaluation.main --flagfile=coco.flags --split=val`.

Writes COCO's own files, so that anyone can score them again, and metrics.json. Plain images are
captioned too, and test images for COCO's evaluation server:

  ... --run_dir=RUN --images=FOLDER,'more/*.png',list.jsonl
  ... --run_dir=RUN --image_info=image_info_test2017.json --images_dir=test2017

What was killed goes on where it was when the same command is given again.
"""

import functools
import os
from collections.abc import Sequence

import cli.tensorflow_log  # noqa: F401  before TensorFlow

# isort: split
from absl import flags

from artifacts import provenance as contamination
from artifacts import recipe, weights
from captioning import job as captioning
from captioning import parts
from captioning.image_list import ImageList, open_image_info, open_images
from captioning.job import Options
from captioning.split_list import SplitList
from cli.command import run
from cli.errors import UsageError
from evaluation import captioned_files as files
from evaluation.report import page as report_page
from evaluation.survey import survey
from metrics import coco_files, official
from metrics.names import CIDER
from metrics.summary import Summary
from model.search.beam import BEAM_SIZE, LENGTH_PENALTY
from model.search.rules import NO_REPEAT_NGRAM
from records.schema import SPLITS
from records.split_files import open_split
from scenes import report as scene_report

# The flags that say how captions are searched for.
SEARCH = ("beam_size", "length_penalty", "no_repeat_ngram", "min_length")


def define_flags(values: flags.FlagValues) -> None:
    """Declare the flags of the recipe and of this command."""
    recipe.define_flags(values)
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_integer, flag_values=values)
    real = functools.partial(flags.DEFINE_float, flag_values=values)
    switch = functools.partial(flags.DEFINE_bool, flag_values=values)
    choice = functools.partial(flags.DEFINE_enum, flag_values=values)
    choice("split", "val", SPLITS, "Split to caption and score.")
    switch(
        "allow_leak", False, "Score images that the run was trained on too; every output says so."
    )
    text(
        "images",
        None,
        'Caption image files, not records: folders, globs, .jsonl lists of {"image": path}; several'
        " with commas.",
    )
    text("image_info", None, "Caption the images of this COCO file, as COCO's server takes them.")
    text("images_dir", None, "Folder of the images of --image_info.")
    text("output_dir", None, "Where the files go; default: a folder in RUN_DIR/evaluation.")
    text("report", None, "Folder for a page of the evaluation, index.html: open it in any browser.")
    number("beam_size", BEAM_SIZE, "Hypotheses; 1: greedy.", lower_bound=1)
    real(
        "length_penalty",
        LENGTH_PENALTY,
        "Rank captions by log-probability / length to this power; 0: shorter ones win.",
        lower_bound=0.0,
    )
    number(
        "no_repeat_ngram",
        NO_REPEAT_NGRAM,
        "Say no so many words twice in a caption; 0: may.",
        lower_bound=0,
    )
    number("min_length", 0, "Words at least.", lower_bound=0, upper_bound=29)
    number("n_best", 1, "Captions of an image in the JSON lines.", lower_bound=1)
    number(
        "encoder_batch_size", None, "Images encoded together; default: what suits.", lower_bound=1
    )
    number(
        "decode_batch_size", None, "Images searched together; default: what suits.", lower_bound=1
    )
    text("shard", "1/1", "i/n: caption every n-th part only; n jobs, 1/n to n/n, do all of them.")
    number(
        "part_images",
        256,
        "Images in a part, what a kill can cost; no batch is larger.",
        lower_bound=1,
    )


def main(values: flags.FlagValues, _rest: list[str]) -> int:
    """Run folders + images -> captions; + records -> results, references, metrics.json, a table."""
    run_dirs = recipe.require(values, "run_dir").split(",")
    if len(run_dirs) > 1 and not values.output_dir:
        raise UsageError("--output_dir is missing: several runs have no folder in common")
    for run_dir in run_dirs:
        trained = weights.read_config(run_dir)
        recipe.refuse_contradictions(trained["training"], recipe.given_flags(values))
    if bool(values.image_info) != bool(values.images_dir):
        raise UsageError("--image_info and --images_dir need each other")
    if values.report and (values.images or values.image_info):
        raise UsageError("--report tells how captions score: it needs --records_dir, not images")
    if values.image_info:
        return submit(values, run_dirs)
    if values.images:
        output_dir = _output_dir(values, run_dirs, "images")
        pictures = ImageList(open_images(values.images.split(",")), values.part_images, output_dir)
        return files.caption_files(run_dirs, pictures, output_dir, _options(values))
    return score_split(values, run_dirs)


def submit(values: flags.FlagValues, run_dirs: Sequence[str]) -> int:
    """Image files of a COCO file -> the file for COCO's server."""
    info = values.image_info
    output_dir = _output_dir(values, run_dirs, files.images_name(info))
    entries = open_image_info(info, values.images_dir)
    pictures = ImageList(entries, values.part_images, output_dir)
    name = files.submission_name(info, _name(run_dirs))
    return files.caption_files(run_dirs, pictures, output_dir, _options(values), submission=name)


def score_split(values: flags.FlagValues, run_dirs: Sequence[str]) -> int:
    """A split of the records -> its captions and their scores."""
    records_dir, split, options = (
        recipe.require(values, "records_dir"),
        values.split,
        _options(values),
    )
    output_dir = _output_dir(values, run_dirs, split)
    info, split_files = open_split(records_dir, split)
    if values.report:
        report_page.refuse_unwritable(values.report)
    found = (contamination.refuse(run_dir, info, split, values.allow_leak) for run_dir in run_dirs)
    leaks = list(dict.fromkeys(leak for leak in found if leak))
    stamp = " ".join(dict.fromkeys(leak.stamp for leak in leaks))
    for leak in leaks:
        print(f"{leak.stamp}: {leak.why}")

    pictures = SplitList(split_files, info, values.part_images)
    said = captioning.caption(run_dirs, pictures, output_dir, options)
    if said.missing:
        print(files.unfinished(said))
        return 0
    by_image = parts.by_image(said.results())
    captions = {image_id: found.caption for image_id, found in by_image.items()}
    references = {image_id: list(found.references) for image_id, found in by_image.items()}
    listed = info.splits[split].total("listed")
    if len(captions) < listed:
        print(f"{len(captions):,} of {listed:,} images: the others were rejected at the build")
    name = _name(run_dirs)
    path = _write_captions(output_dir, split, name, said, captions, references, stamp)
    scores = official.evaluate(references, captions, say=lambda line: print(line, flush=True))
    summary = Summary.of(scores)
    coco_files.write_json(
        os.path.join(output_dir, "images.json"),
        {"contamination": stamp or None, "images": scores.images},
    )
    chosen = {name: values[name].value for name in SEARCH}
    report = {
        "run": name,
        "dataset": info.dataset,
        "split": split,
        "images": len(captions),
        "listed": listed,
        "contamination": stamp or None,
        "search": chosen,
        **summary.as_json(),
    }
    print(f"captions: {path}\n{summary.as_text(stamp)}")
    if scene_report.is_drawn(info):
        ceiling = official.leave_one_out_cider(references)
        report |= scene_report.facts(info, captions, scores.metrics[CIDER], ceiling, stamp)
    shown = report_page.Shown.of(scores)
    wanted = shown.all() if values.report else ()
    attention, looks = survey(run_dirs, info, split_files, chosen, list(captions), wanted)
    report |= attention
    coco_files.write_json(os.path.join(output_dir, "metrics.json"), report)
    if values.report:
        page = report_page.write(
            values.report, report, scores, references, captions, shown, looks, run_dirs[0]
        )
        if not any(look.encoded for look in looks.values()):
            print(report_page.NO_PICTURES)
        print(f"report: {page}")
    return 0


def _write_captions(
    output_dir: str,
    split: str,
    name: str,
    said: captioning.Captions,
    captions: dict[int, str],
    references: dict[int, list[str]],
    stamp: str,
) -> str:
    """COCO's two files and the JSON lines; the path of the results."""
    system = "-".join([name, *stamp.split()])  # COCO's format has no other place for the stamp
    start = os.path.join(output_dir, f"captions_{split}_")
    path = f"{start}{system}_results.json"
    coco_files.write_results(path, captions)
    lines = parts.distinct(said.folder.lines(said.parts))
    parts.write_lines(f"{start}{system}.jsonl", lines)
    coco_files.write_references(f"{start}references.json", references, stamp)
    return path


def _name(run_dirs: Sequence[str]) -> str:
    return "+".join(os.path.basename(os.path.abspath(run_dir)) for run_dir in run_dirs)


def _output_dir(values: flags.FlagValues, run_dirs: Sequence[str], what: str) -> str:
    return values.output_dir or os.path.join(run_dirs[0], "evaluation", what)


def _options(values: flags.FlagValues) -> Options:
    """How to caption, as the flags say.

    Raises:
        UsageError: flags at odds.
    """
    if values.n_best > values.beam_size:
        raise UsageError(f"--n_best={values.n_best} needs --beam_size={values.n_best} at least")
    search_values = {name: values[name].value for name in (*SEARCH, "n_best")}
    return Options(
        search_values, values.encoder_batch_size, values.decode_batch_size, _shard(values.shard)
    )


def _shard(text: str) -> tuple[int, int]:
    """`2/4` -> (2, 4).

    Raises:
        UsageError: anything else.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard={text}: expected i/n, from 1/n to n/n")
    return int(index), int(count)


if __name__ == "__main__":
    run(main, define_flags)
