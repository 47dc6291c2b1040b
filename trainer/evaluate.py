"""Caption a split and score it: `python -m trainer.evaluate --flagfile=coco.flags --split=val`.

Writes COCO's own files, so that anyone can score them again, and metrics.json.
"""

import os
from collections.abc import Iterator, Sequence

import model.quiet  # noqa: F401  before TensorFlow

# isort: split
import tensorflow as tf
from absl import flags

from model import beam, weights
from model.captioner import Captioner
from model.generator import CaptionGenerator
from model.search import Rules
from records.command import run
from records.errors import UsageError
from records.manifest import DatasetInfo, read_vocabulary
from records.schema import SPLITS
from records.vocabulary import SPECIAL_IDS
from scenes.facts import check_all
from scenes.world import truth
from trainer import config as recipe
from trainer import contamination, metrics, results, stored
from trainer import input as records_input
from trainer.features import Examples, stream
from trainer.summary import Summary

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(recipe)  # --help lists them
flags.DEFINE_enum("split", "val", SPLITS, "Split to caption and score.")
flags.DEFINE_bool(
    "allow_leak", False, "Score images that the run was trained on too; every output says so."
)
flags.DEFINE_string("output_dir", None, "Where the files go; default: RUN_DIR/evaluation/SPLIT.")
flags.DEFINE_integer("beam_size", beam.BEAM_SIZE, "Hypotheses; 1: greedy.", lower_bound=1)
flags.DEFINE_float(
    "length_penalty",
    beam.LENGTH_PENALTY,
    "Rank captions by log-probability / length to this power; 0: shorter ones win.",
    lower_bound=0.0,
)
flags.DEFINE_integer(
    "no_repeat_ngram", 0, "Say no so many words twice in a caption; 0: may.", lower_bound=0
)
flags.DEFINE_integer("min_length", 0, "Words at least.", lower_bound=0, upper_bound=29)

# The flags that say how captions are searched for.
SEARCH = ("beam_size", "length_penalty", "no_repeat_ngram", "min_length")


def main(_rest: list[str]) -> None:
    """Run folders + records -> results, references, metrics.json, a table."""
    records_dir, run_dirs = recipe.require("records_dir"), recipe.require("run_dir").split(",")
    split = FLAGS.split
    if len(run_dirs) > 1 and not FLAGS.output_dir:
        raise UsageError("--output_dir is missing: several runs have no folder in common")
    output_dir = FLAGS.output_dir or os.path.join(run_dirs[0], "evaluation", split)
    for run_dir in run_dirs:
        trained = weights.read_config(run_dir)
        recipe.refuse_contradictions(trained["training"], recipe.given_flags())
    info, source = records_input.open_split(records_dir, split)
    found = (contamination.refuse(run_dir, info, split, FLAGS.allow_leak) for run_dir in run_dirs)
    leaks = list(dict.fromkeys(leak for leak in found if leak))
    stamp = " ".join(dict.fromkeys(leak.stamp for leak in leaks))
    for leak in leaks:
        print(f"{leak.stamp}: {leak.why}")

    search = {name: FLAGS[name].value for name in SEARCH}
    captions, references = caption_split(run_dirs, info, source, search)
    listed = info.splits[split].total("listed")
    if len(captions) < listed:
        print(f"{len(captions):,} of {listed:,} images: the others were rejected at the build")
    name = "+".join(os.path.basename(os.path.abspath(run_dir)) for run_dir in run_dirs)
    system = "-".join([name, *stamp.split()])  # COCO's format has no other place for the stamp
    path = os.path.join(output_dir, f"captions_{split}_{system}_results.json")
    results.write_results(path, captions)
    results.write_references(
        os.path.join(output_dir, f"captions_{split}_references.json"), references, stamp
    )
    scores = metrics.evaluate(references, captions, say=lambda line: print(line, flush=True))
    summary = Summary.of(scores)
    results.write_json(
        os.path.join(output_dir, "images.json"),
        {"contamination": stamp or None, "images": scores.images},
    )
    report = {
        "run": name,
        "dataset": info.dataset,
        "split": split,
        "images": len(captions),
        "listed": listed,
        "contamination": stamp or None,
        "search": search,
        **summary.as_json(),
    }
    print(f"captions: {path}\n{summary.printed(stamp)}")
    if info.dataset == "scenes":
        report |= scene_report(info, captions, references, scores.metrics["CIDEr"], stamp)
    results.write_json(os.path.join(output_dir, "metrics.json"), report)


def caption_split(
    run_dirs: Sequence[str], info: DatasetInfo, source: records_input.Source, search: dict
) -> tuple[dict[int, str], dict[int, list[str]]]:
    """The captions that one run gives, or several together, and the references, by image id.

    Strict pairs give one caption and all references for each image id, too.

    Call arguments:
        search: values of the flags named in `SEARCH`.
    """
    restored = weights.restore_together(run_dirs)
    for _, note in restored:
        print(f"weights of epoch {note['epoch']}, step {note['step']:,}")
    generator = CaptionGenerator([captioner for captioner, _ in restored])
    rules = Rules(
        **SPECIAL_IDS, **{name: search[name] for name in ("no_repeat_ngram", "min_length")}
    )
    vocabulary = read_vocabulary(run_dirs[0])
    captions: dict[int, str] = {}
    references: dict[int, list[str]] = {}
    for batch, features in _batches(run_dirs, generator.captioners, info, source):
        said = generator.beam(
            features,
            rules,
            beam_size=search["beam_size"],
            length_penalty=search["length_penalty"],
        )
        best = said.ids[:, 0].numpy()
        for image_id, ids, texts in zip(batch.image_ids, best, batch.texts, strict=True):
            captions[int(image_id)] = vocabulary.decode(ids)
            references.setdefault(int(image_id), []).extend(t.decode() for t in texts if t)
    return captions, references


def _batches(
    run_dirs: Sequence[str],
    captioners: Sequence[Captioner],
    info: DatasetInfo,
    source: records_input.Source,
) -> Iterator[tuple[Examples, list[tf.Tensor]]]:
    """A split batch by batch, with its features for each captioner; like encoders run once."""
    encoders = [captioner.encoder.fingerprint() for captioner in captioners]
    streams = {}
    for run_dir, captioner, encoder in zip(run_dirs, captioners, encoders, strict=True):
        if encoder not in streams:
            trained = weights.read_config(run_dir)["data"]
            chosen = stored.chosen(source, info, captioner.encoder, trained)
            streams[encoder] = stream(chosen, captioner, f"captioning {source.split}")
    for batches in zip(*streams.values(), strict=True):
        features = dict(zip(streams, (tf.constant(b.features) for b in batches), strict=True))
        yield batches[0], [features[encoder] for encoder in encoders]


def scene_report(
    info: DatasetInfo,
    captions: dict[int, str],
    references: dict[int, list[str]],
    cider: float,
    stamp: str,
) -> dict:
    """What only drawn scenes allow: the share of claims that are true, printed and returned.

    The control gives each image the features of the next one. A caption is a function of its
    features, so it is the next image's caption.
    """
    scenes = truth(info.flags["scenes_images"], info.flags["scenes_seed"])
    ids = list(captions)
    dealt = dict(zip(ids, [captions[i] for i in [*ids[1:], ids[0]]], strict=True))
    facts, control = (
        true / claims for true, claims in (check_all(c, scenes) for c in (captions, dealt))
    )
    ceiling = metrics.leave_one_out_cider(references)
    print(f"facts true: {facts:.0%} (other image: {control:.0%})  {stamp}".rstrip())
    print(f"CIDEr {cider:.2f} (references {ceiling:.2f})  {stamp}".rstrip())
    return {"facts_true": facts, "facts_true_other_image": control, "references_CIDEr": ceiling}


if __name__ == "__main__":
    run(main, failures=(weights.RunError,))
