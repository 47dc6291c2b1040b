"""The drawn scenes with Chinese, Arabic and Russian captions, from captions to captions."""

import json
from pathlib import Path

import pytest

from scenes import facts
from scenes.captions import captions
from scenes.drawing import jpeg
from scenes.world import Scene, scenes
from tests.support.commands import run_process
from tests.support.translated_scenes import LANGUAGES, all_true, translate

IMAGES, SEED = 4800, 5
LEAST_TRUE = 0.6  # Share of the test captions of which every word is true.


def command(module: str, *args: str, **options) -> str:
    """Run a command, which must succeed; return what it printed."""
    done = run_process("-m", module, *args, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_source(folder: Path, tag: str) -> dict[int, Scene]:
    """Write scenes and their translated captions as a jsonl source; return them by image id."""
    drawn = {scene.image_id: scene for scene in scenes(IMAGES, SEED)}
    lines = []
    for image_id, scene in drawn.items():
        (folder / f"{image_id}.jpg").write_bytes(jpeg(scene))
        texts = [translate(caption, tag) for caption in captions(scene)]
        line = {"image": f"{image_id}.jpg", "captions": texts, "split": scene.split, "id": image_id}
        lines.append(json.dumps(line, ensure_ascii=False))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return drawn


@pytest.mark.parametrize("tag", LANGUAGES)
def test_translated_captions_are_true_of_their_scene_alone(tag):
    drawn = scenes(40, SEED)
    for scene, other in zip(drawn, [*drawn[1:], drawn[0]], strict=True):
        texts = [translate(caption, tag) for caption in captions(scene)]
        assert all(all_true(text, tag, scene) for text in texts), texts
        true, total = facts.check(captions(scene)[0], other)
        assert all_true(texts[0], tag, other) == (true == total)
        assert not all_true(f"{texts[0]} {texts[0][0]}", tag, scene)  # a character too much


@pytest.mark.slow
@pytest.mark.parametrize("tag", LANGUAGES)
def test_captions_in_another_language_are_mostly_true(tag, tmp_path):
    drawn = write_source(tmp_path, tag)
    places = {"records_dir": tmp_path / "records", "run_dir": tmp_path / f"run-{tag}"}
    printed = command(
        "pipeline.build_records",
        dataset="jsonl",
        data_dir=tmp_path,
        output_dir=places["records_dir"],
        language=tag,
        max_caption_words=0,
    )
    assert "test: 480 images, 2,400 pairs" in printed and "warning" not in printed
    recipe = "--flagfile=flags/demo.flags"
    command("trainer.main", recipe, **places)
    shown = [image_id for image_id, scene in drawn.items() if scene.split == "test"][:20]
    paths = [str(tmp_path / f"{image_id}.jpg") for image_id in shown]
    run_dir = places["run_dir"]
    served = command(
        "serving.caption", f"--run_dir={run_dir}", "--no_repeat_ngram=0", *paths
    ).splitlines()
    printed = command(
        "evaluation.main", recipe, **places, split="test", language=tag, no_repeat_ngram=0
    )
    assert "METEOR unavailable: it is for English" in printed
    results = next((run_dir / "evaluation" / "test").glob("*_results.json"))
    said = {line["image_id"]: line["caption"] for line in json.loads(results.read_text())}
    assert served == [f"{tmp_path / f'{n}.jpg'}\t{said[n]}" for n in shown]
    true = sum(all_true(text, tag, drawn[image_id]) for image_id, text in said.items())
    print(f"{tag}: {true} of {len(said)} captions are true in every word")
    assert true >= LEAST_TRUE * len(said)
