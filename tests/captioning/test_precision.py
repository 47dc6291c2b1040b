"""In which precision captions are computed: chosen or by the processor, said, and kept apart."""

import dataclasses
import json
import shutil
from collections.abc import Iterator

import pytest
import tensorflow as tf

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning import job
from cli import command, processor
from cli.errors import UsageError
from serving import caption as serving
from tests.support.commands import one_error
from tests.support.four import FOUR_DETOKENISED, four_picture
from tests.support.training import run_evaluate

pytestmark = pytest.mark.usefixtures("without_meteor", "kept_replicas")


@pytest.fixture
def half_run(four_run, tmp_path):
    """A run whose training multiplied bfloat16."""
    copy = tmp_path / "half"
    shutil.copytree(four_run, copy, ignore=shutil.ignore_patterns("events", "evaluation"))
    config = RunConfig.read(RunFolder(str(copy)))
    decoder = dataclasses.replace(config.model.decoder, precision="bfloat16")
    model = dataclasses.replace(config.model, decoder=decoder)
    training = config.training | {"precision": "bfloat16"}
    dataclasses.replace(config, model=model, training=training).write(RunFolder(str(copy)))
    return copy


@pytest.fixture
def precisions(monkeypatch) -> list[str]:
    """The precision of each replica that is made."""
    made, original = [], job.Replica

    def note(*args):
        replica = original(*args)
        made.extend(replica.precisions)
        return replica

    monkeypatch.setattr(job, "Replica", note)
    return made


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 as TensorFlow starts with it, before and after."""
    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.mark.parametrize(
    ("fast", "chosen", "computed"),
    [
        (False, None, "float32"),
        (True, None, "bfloat16"),
        (True, "float32", "float32"),
        (False, "bfloat16", "bfloat16"),
    ],
)
def test_an_evaluation_computes_everything_in_one_precision_and_says_so(
    fast, chosen, computed, half_run, four_records, tmp_path, monkeypatch, precisions, capsys
):
    """The captions, and the attention of the report."""
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: fast)
    options = {"run_dir": half_run, "records_dir": four_records, "output_dir": tmp_path / "out"}
    # The flagfile of the training, which serves every command, has --precision, too.
    options |= {"precision": "bfloat16", "report": tmp_path / "page"}
    options |= {"caption_precision": chosen} if chosen else {}
    assert run_evaluate(**options) == 0
    assert f"captioning on CPU:0 in {computed}; encoder batch" in capsys.readouterr().out
    assert precisions == [computed] * 2
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["captioning"] == {"precision": computed, "devices": ["CPU"]}
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"captioned in {computed} on CPU</p>" in page


def test_captions_of_another_precision_are_other_parts(four_run, tmp_path, capsys):
    (tmp_path / "1.jpg").write_bytes(four_picture(1))
    options = {"run_dir": four_run, "images": tmp_path / "1.jpg", "output_dir": tmp_path / "out"}
    assert run_evaluate(**options) == 0
    earlier = set((tmp_path / "out" / "parts").glob("*/part-*"))
    capsys.readouterr()
    assert run_evaluate(**options, caption_precision="bfloat16") == 0
    said = capsys.readouterr().out
    assert "starting anew: other precision" in said
    assert "captioning on CPU:0 in bfloat16" in said
    parts = set((tmp_path / "out" / "parts").glob("*/part-*"))
    assert earlier < parts and len(parts) == 2
    # What would be chosen anyway changes nothing.
    assert run_evaluate(**options, caption_precision="float32") == 0
    assert "1 of 1 images are captioned already, in float32\n" in capsys.readouterr().out


def test_parts_of_an_earlier_version_do_not_tell_their_device(
    four_run_copy, four_records, tmp_path
):
    options = {"run_dir": four_run_copy, "records_dir": four_records, "output_dir": tmp_path}
    assert run_evaluate(**options) == 0
    before = json.loads((tmp_path / "metrics.json").read_text())
    (note,) = (tmp_path / "parts").glob("*/on-CPU")
    note.unlink()
    assert run_evaluate(**options) == 0
    after = json.loads((tmp_path / "metrics.json").read_text())
    assert after.pop("captioning") == {"precision": "float32", "devices": []}
    assert before.pop("captioning") == {"precision": "float32", "devices": ["CPU"]}
    assert after == before


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
@pytest.mark.usefixtures("tf32")
def test_serving_computes_as_it_is_told(chosen, half_run, tmp_path, precisions, capsys):
    (tmp_path / "1.jpg").write_bytes(four_picture(1))
    argv = ["caption", f"--run_dir={half_run}", f"--caption_precision={chosen}"]
    values, _ = command.parse(argv, serving.define_flags, others="positional")
    assert serving.main(values, [str(tmp_path / "1.jpg")]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"captioning on CPU:0 in {chosen}"]
    assert said.out == f"{tmp_path}/1.jpg\t{FOUR_DETOKENISED[1]}\n"
    assert precisions == [chosen]
    # On a GPU float32 would else be TF32.
    assert tf.config.experimental.tensor_float_32_execution_enabled() == (chosen != "float32")


def test_the_precision_of_a_training_is_not_that_of_captioning(four_run, tmp_path, capsys):
    """Who gives the one for the other learns of the other."""
    (tmp_path / "1.jpg").write_bytes(four_picture(1))
    assert run_evaluate(run_dir=four_run, images=tmp_path / "1.jpg", precision="bfloat16") == 2
    assert one_error(capsys).endswith("--caption_precision is the precision of captioning")
    argv = ["caption", f"--run_dir={four_run}", "--precision=bfloat16"]
    values, _ = command.parse(argv, serving.define_flags, others="positional")
    with pytest.raises(UsageError, match=r"; --caption_precision is the precision of captioning$"):
        serving.main(values, [str(tmp_path / "1.jpg")])
