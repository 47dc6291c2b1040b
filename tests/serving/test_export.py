"""The export: a bundle that captions as its run does, whole or not at all."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from cli.errors import UserError
from serving.bundle import layout
from serving.bundle.layout import Bundle
from serving.exporting import fresh, golden_images, verify
from tests.support.bundles import run_export, untrained, write_card
from tests.support.commands import ROOT, one_error, run_process, users_environment
from tests.support.disk import full_disk
from tests.support.four import FOUR_DETOKENISED, build_four, four_picture
from tests.support.shared import file_stamps


def test_every_way_to_run_a_bundle_gives_the_captions_of_the_run(four_bundle):
    images, said = Bundle.read(str(four_bundle)).golden(), []
    verify.verify(str(four_bundle), images, {}, said.append)
    assert len(said) == 3 and all(line.endswith("of 8 golden images") for line in said)


def test_another_caption_fails_the_verification(four_bundle, tmp_path, monkeypatch):
    bundle = shutil.copytree(four_bundle, tmp_path / "bundle")
    images = Bundle.read(str(bundle)).golden()
    wrong = images[-1].captions[0]._replace(text="a cat's ball")
    images[-1] = images[-1]._replace(captions=(wrong, *images[-1].captions[1:]))
    monkeypatch.setattr(verify, "_WAYS", {"litert": "the server with LiteRT"})
    with pytest.raises(UserError) as caught:
        verify.verify(str(bundle), images, {images[-1].file: "my.jpg"}, print)
    line = str(caught.value)
    assert line.startswith("my.jpg: the server with LiteRT captions it otherwise: expected ")
    assert FOUR_DETOKENISED[4] in line and wrong.text in line
    assert "no bundle was written" in line and "--verify=false" in line
    (bundle / layout.LITE_MODEL).write_bytes(b"no model")
    write_card(bundle)
    with pytest.raises(UserError, match=r"LiteRT failed: .*model\.tflite: LiteRT cannot load it"):
        verify.verify(str(bundle), images, {}, print)


def test_the_cards_tell_what_the_bundle_is(four_bundle, four_run):
    card = json.loads((four_bundle / layout.CARD).read_text())
    assert card["run"]["step"] > 0 and card["run"]["id"]
    assert card["data"]["dataset"] == "coco2017" and card["data"]["images"] == 200
    assert card["search"] == {
        "beam_size": 3,
        "n_best": 3,
        "length_penalty": 0.7,
        "no_repeat_ngram": 3,
        "min_length": 0,
        "max_words": 30,
    }
    assert card["metrics"] is None and card["lite"]["cider"] is None
    assert card["lite"]["bytes"] == (four_bundle / layout.LITE_MODEL).stat().st_size
    text = (four_bundle / layout.CARD_TEXT).read_text()
    for words in ("coco2017: 200 images", "no evaluation of these weights", "sees no EXIF"):
        assert words in text
    assert "None was given" in text and "not complete" not in text


@pytest.fixture
def quick(four_run, tmp_path):
    """The export in this process, without a verification, into a folder of the test."""

    def export(**options) -> int:
        flags = {"run_dir": four_run, "output_dir": tmp_path / "out", "verify": False}
        return run_export(**(flags | options))

    return export


def test_wrong_usage(quick, capsys, four_run, four_bundle, tmp_path):
    for options, line in (
        ({"run_dir": None}, "--run_dir is missing"),
        ({"output_dir": None}, "--output_dir is missing"),
        ({"n_best": 4}, "--n_best=4 needs --beam_size=4"),
        ({"beam_size": 2, "n_best": 3}, "--n_best=3 needs --beam_size=3"),
        ({"images_dir": tmp_path}, "--images_dir needs --records_dir"),
        ({"run_dir": f"{four_run},{four_run}"}, "a bundle holds one run, and these are 2"),
        ({"quantize": "int4"}, "--quantize=int4"),
        ({"min_length": 30}, "--min_length=30 leaves no room"),
    ):
        assert quick(**options) == 2, options
        assert line in one_error(capsys)
    for options, line in (
        ({"run_dir": four_bundle}, "no run here"),
        ({"golden": tmp_path / "none.jpg"}, f"--golden={tmp_path}/none.jpg: no such file"),
        ({"output_dir": four_run}, "a folder with other things than a bundle"),
        ({"output_dir": ROOT / "setup.py"}, "a file; give the folder"),
        ({"output_dir": ROOT / "setup.py" / "x"}, "setup.py is a file; give the folder"),
    ):
        assert quick(**options) == 1, options
        assert line in one_error(capsys)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".tmp-*"))


def test_golden_images_that_are_none(quick, capsys, tmp_path, monkeypatch):
    (tmp_path / "broken.jpg").write_bytes(four_picture(1)[:300])
    assert quick(golden=tmp_path / "broken.jpg") == 1
    assert f"--golden: {tmp_path}/broken.jpg: expected" in one_error(capsys)
    monkeypatch.setattr(golden_images, "_MOST", 2)
    (tmp_path / "broken.jpg").unlink()
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(four_picture(1))
    assert quick(golden=tmp_path) == 1
    assert "more than 2 images" in one_error(capsys)


def test_an_untrained_run_leaves_the_earlier_bundle(
    four_run_copy, four_bundle, quick, capsys, tmp_path
):
    bundle = shutil.copytree(four_bundle, tmp_path / "out")
    (bundle / "mine.txt").touch()
    assert quick() == 1
    assert "other things than a bundle in it, as mine.txt; give" in one_error(capsys)
    (bundle / "mine.txt").unlink()
    before = file_stamps(bundle)
    os.remove(four_run_copy / "checkpoints" / "best.npz")
    assert quick(run_dir=four_run_copy) == 1
    assert "no trained weights yet" in one_error(capsys)
    assert file_stamps(bundle) == before and not list(tmp_path.glob(".tmp-*"))


def test_a_killed_export_leaves_nothing_for_long(four_run, quick, capsys, tmp_path):
    output = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.export"),
            *(f"--run_dir={four_run}", f"--output_dir={output}"),
        ],
        cwd=ROOT,
        env=users_environment(),
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(tmp_path.glob(".tmp-*/golden/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists() and len(list(tmp_path.glob(".tmp-*"))) == 1
    assert quick(golden=tmp_path / "none") == 1
    assert not output.exists() and not list(tmp_path.glob(".tmp-*"))


@pytest.mark.slow  # Exports another run.
def test_a_run_without_attention_under_a_nasty_name(four_run_copy, tmp_path):
    """As a user: in a process of its own, verified, and over an earlier bundle."""
    run_dir = four_run_copy.rename(tmp_path / "r\xfcn, [x] 'a' 100%")
    untrained(run_dir, attention="none", gate=False)
    picture = tmp_path / "p\xefc, tu[r]e.gif"
    picture.write_bytes(four_picture(1))
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(picture).save(turned, exif=exif)
    output = tmp_path / "~b \u0f0b" / "c"
    output.mkdir(parents=True)  # An empty folder is nobody's.
    done = run_process(
        *("-m", "serving.export"),
        run_dir=run_dir,
        output_dir=output,
        golden=f"{picture},{turned}",
        beam_size=1,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"next: python -m serving.server --bundle='{output}'"
    # TensorFlow Serving sees no EXIF: the turned picture is not for it.
    verified = [line for line in done.stdout.splitlines() if line.startswith("verified: ")]
    assert [line.rpartition(" of ")[2] for line in verified] == [
        *("5 golden images", "6 golden images", "6 golden images")
    ]
    bundle = Bundle.read(str(output))
    assert not bundle.attends and bundle.n_best == 1 and bundle.name == run_dir.name
    assert bundle.golden()[-1].file == "06.jpg"
    assert Path(bundle.inside("golden/05.jpg")).read_bytes() == four_picture(1)
    assert [path.name for path in output.parent.iterdir()] == ["c"]


def test_a_full_disk_is_a_line(quick, capsys, tmp_path):
    with full_disk(20_000):  # The golden images fit.
        assert quick() == 1
    line = one_error(capsys)
    assert f"--output_dir={tmp_path}/out: the bundle cannot be written: " in line
    assert list(tmp_path.iterdir()) == []


def test_model_tflite_is_scored_beside_the_run(
    four_run, four_records, quick, capsys, tmp_path, without_meteor
):
    output = tmp_path / "out"
    assert quick(records_dir=four_records, quantize="float16") == 0
    assert "the caption of the run for 100.0% of 4 images of val" in capsys.readouterr().out
    card = json.loads((output / layout.CARD).read_text())
    lite = card["lite"]
    assert lite["same_as_run"] == 1.0 and lite["cider"]["score"] > 5
    assert lite["cider"]["interval"][0] <= lite["cider"]["score"] <= lite["cider"]["interval"][1]
    assert lite["scored"]["run"]["metrics"] == lite["scored"]["lite"]["metrics"]
    assert "| CIDEr | " in (output / layout.CARD_TEXT).read_text()
    bundle = Bundle.read(str(output))
    assert bundle.quantized
    for image in bundle.golden():
        assert image.lite and image.lite[0].text == image.captions[0].text
        assert image.lite != image.captions  # Scores differ a little.
    monitored = file_stamps(output)
    assert quick(records_dir=tmp_path / "none") == 1
    one_error(capsys)
    assert file_stamps(output) == monitored


def test_records_without_images_need_their_folder(four_run, quick, capsys, tmp_path, shared_folder):
    records = tmp_path / "records"
    build_four(
        tmp_path / "four", records, features="small_cnn", encoder_weights="random", store="features"
    )
    assert quick(records_dir=records) == 1
    assert "name the folder of the image files with --images_dir" in one_error(capsys)
    assert quick(records_dir=records, images_dir=tmp_path) == 1
    line = one_error(capsys)
    assert f"--images_dir={tmp_path}: there is no file 000000000001.jpg" in line


def test_a_graph_that_needs_xla_is_refused():
    number = tf.TensorSpec([], tf.float32)
    for jit_compile in (True, False):
        inner = tf.function(lambda x: x + 1, jit_compile=jit_compile)
        outer = tf.function(lambda x, inner=inner: 2 * inner(x)).get_concrete_function(number)
        graph = outer.graph.as_graph_def()
        if jit_compile:
            with pytest.raises(UserError, match="only XLA can run"):
                fresh.refuse_xla(graph)
        else:
            fresh.refuse_xla(graph)


def test_missing_packages_are_a_line(quick, capsys, monkeypatch):
    find = importlib.util.find_spec
    missing = ("tensorflow_serving", "ai_edge_litert")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert quick() == 1
    line = one_error(capsys)
    assert (
        "tensorflow_serving and ai_edge_litert, not installed: run `pip install '.[serve]'" in line
    )


def test_importing_the_export_needs_no_package_of_its_extra():
    ask = (
        "import sys; sys.modules |= dict.fromkeys(('tensorflow_serving', 'ai_edge_litert',"
        " 'ai_edge_quantizer')); import serving.export"
    )
    done = run_process("-c", ask)
    assert done.returncode == 0, done.stderr
