"""Validation, batch evaluation, report and serving give an image the same caption."""

import json
import os

import numpy as np
import pytest

from artifacts import restore, weights_file
from artifacts.recipe import Recipe
from artifacts.run_config import DataConfig, RunConfig
from artifacts.run_folder import RunFolder
from captioning.records_source import RecordsSource
from captioning.search_options import BeamSearch
from cli import command, processor
from evaluation.attention import attended_captions
from model.encoder import PREPROCESSING_VERSION
from records.manifest import read_vocabulary
from records.split_files import open_split
from serving import caption as serving
from tests.support.training import TINY, run_evaluate
from trainer.validation import Validator, build_scorer

# Validation searches greedily and forbids nothing.
SEARCH = {"beam_size": 1, "no_repeat_ngram": 0}


@pytest.fixture(
    scope="module", params=[pytest.param("float32", marks=pytest.mark.slow), "bfloat16"]
)
def run_dir(request, tmp_path_factory, scenes_records) -> str:
    """A run whose random weights say something else of each image: no caption is right by luck."""
    folder = RunFolder(str(tmp_path_factory.mktemp("random") / "run"))
    os.makedirs(folder.checkpoints)
    vocabulary = read_vocabulary(str(scenes_records))
    model = Recipe(**TINY, precision=request.param).model(len(vocabulary))
    captioner = restore.build(model)
    rng = np.random.default_rng(3)
    for variable in captioner.variables:
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 4
        scale = 3.0 if len(variable.shape) > 1 else 0.5
        variable.assign(rng.normal(size=variable.shape) * scale / np.sqrt(fan_in))
    data = DataConfig("scenes", vocabulary.fingerprint, "", PREPROCESSING_VERSION)
    RunConfig(model, {}, data).write(folder)
    with open(folder.vocabulary, "w", encoding="utf-8") as file:
        file.write(vocabulary.to_tsv())
    trained = weights_file.gather(captioner.trainable_variables)
    weights_file.save(folder.best, trained, {"epoch": 1, "step": 1})
    weights_file.save(folder.frozen, weights_file.gather(captioner.non_trainable_variables), {})
    return folder.path


@pytest.mark.usefixtures("without_meteor", "kept_replicas")
@pytest.mark.parametrize(
    "fast",
    [pytest.param(False, id="emulated", marks=pytest.mark.slow), pytest.param(True, id="fast")],
)
def test_every_command_gives_the_same_caption(
    run_dir, fast, tmp_path, monkeypatch, capsys, scenes_records
):
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: fast)
    trained = RunConfig.read(RunFolder(run_dir)).model.decoder.precision
    where = f"captioning on CPU:0 in {trained if fast else 'float32'}"
    info, files = open_split(str(scenes_records), "val")
    records = RecordsSource(files, info, 256)
    images = [image for part in records.parts for image in records.read(part)]

    restored = restore.restore(run_dir)
    vocabulary = read_vocabulary(run_dir)
    validator = Validator(restored.captioner, vocabulary)
    assert where.endswith(validator.precision)
    validation = build_scorer(files, restored.captioner, validator, True, 4)()
    validated = {sample.image_id: sample.caption for sample in validation.samples}

    search = BeamSearch(**SEARCH)
    ids = [image.image_id for image in images]
    reported = {c.image_id: c for c in attended_captions([run_dir], records, search, ids)}

    out = tmp_path / "out"
    options = {"run_dir": run_dir, "records_dir": scenes_records, "output_dir": out}
    capsys.readouterr()
    assert run_evaluate(**options, allow_leak=True, **SEARCH) == 0
    assert f"{where}; encoder batch" in capsys.readouterr().out
    (results,) = out.glob("captions_val_*_results.json")
    evaluated = {one["image_id"]: one["caption"] for one in json.loads(results.read_text())}

    paths = [tmp_path / f"{image.image_id}.jpg" for image in images]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.encoded)
    argv = ["caption", f"--run_dir={run_dir}", *(f"--{k}={v}" for k, v in SEARCH.items())]
    capsys.readouterr()
    values, _ = command.parse(argv, serving.define_flags, others="positional")
    assert serving.main(values, list(map(str, paths))) == 0
    captured = capsys.readouterr()
    assert where in captured.err.splitlines()
    served = dict(line.split("\t") for line in captured.out.splitlines())

    named = {"run_dir": run_dir, "images": tmp_path / "*.jpg", "output_dir": tmp_path / "images"}
    assert run_evaluate(**named, **SEARCH) == 0
    lines = map(json.loads, (tmp_path / "images" / "captions.jsonl").read_text().splitlines())
    of_files = {line["image"]: line["caption"] for line in lines}

    assert len(set(evaluated.values())) > 1 and len(validated) == 4
    for path, image in zip(paths, images, strict=True):
        expected = evaluated[image.image_id]
        assert served[str(path)] == of_files[str(path)] == expected
        assert reported[image.image_id].text == expected
        if image.image_id in validated:
            assert validated[image.image_id].text == expected
            np.testing.assert_allclose(
                validated[image.image_id].attention, reported[image.image_id].attention, atol=1e-3
            )
