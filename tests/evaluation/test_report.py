"""The report is complete, loads nothing from outside, and shows captions as text only."""

import base64
import dataclasses
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.run_folder import RunFolder
from cli.errors import UserError
from evaluation.attention import AttendedCaption
from evaluation.report import cards, charts, figures, tables
from evaluation.report import page as report
from evaluation.report.gallery import NO_PICTURES, SHOWN, Gallery, Selection
from evaluation.report.text import without_folders
from metrics.summary import Summary
from tests.support.scores import random_scores

HOSTILE = '<script>alert(1)</script> & "a" dog\'s <img src=x onerror=alert(2)> 😀'

FINDINGS = {
    "run": "r<u>n",
    "dataset": "d",
    "split": "val",
    "images": 60,
    "listed": 61,
    "search": {"beam_size": 3},
    "captioning": {"precision": "float32", "devices": ["CPU"]},
    "contamination": None,
    "attention": {
        "entropy": 1.5,
        "entropy_limit": 2.5,
        "temporal_variance": 0.25,
        "faithfulness": {
            "hidden": 5,
            "places": 49,
            "drop": 0.5,
            "random_drop": 0.2,
            "ratio": 2.5,
            "interval": [2.25, 2.75],
            "even": {"drop": 0.2, "random_drop": -0.1, "ratio": None, "interval": None},
        },
    },
    "pointing": {"score": 0.91, "chance": 0.2},
}


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def scores():
    return random_scores(1)


def written(tmp_path, scores, encoded=b"", attended=None, run_dir="", contamination=None):
    """Write the page of random captions, the best of them hostile, and return (html, Page)."""
    shown = Selection.of(scores)
    captions = {image: texts[0] for image, texts in scores.hypotheses.items()}
    captions[shown.best[0]] = HOSTILE
    references = dict(scores.references) | {shown.best[0]: [HOSTILE, "b"]}
    words = ["a", "<b>dog", "runs"]
    if attended is None:
        heat = np.random.default_rng(1).dirichlet(np.ones(12), 3).reshape(3, 3, 4)
        attended = {
            image: AttendedCaption(
                image, f"<i>{image}.jpg", encoded, 1, captions[image], words, heat
            )
            for image in shown.image_ids()
        }
    findings = FINDINGS | {"contamination": contamination}
    gallery = Gallery(shown, captions, references, scores.images, attended)
    page = report.render(findings, Summary.of(scores), gallery, RunFolder(str(run_dir)))
    path = report.write(str(tmp_path), page)
    html = (tmp_path / "index.html").read_text()
    assert path == str(tmp_path / "index.html")
    return html, Page(html)


def test_best_worst_and_others(scores):
    shown = Selection.of(scores)
    assert len(set(shown.image_ids())) == 3 * SHOWN
    value = {image: of_image["CIDEr"] for image, of_image in scores.images.items()}
    ranked = sorted(value.values())
    assert [value[i] for i in shown.best] == ranked[::-1][:SHOWN]
    assert [value[i] for i in shown.worst] == ranked[:SHOWN]
    assert Selection.of(scores) == shown


def test_everything_is_there_and_nothing_comes_from_outside(tmp_path, scores):
    run = tmp_path / "run"
    run.mkdir()
    lines = [{"kind": "train", "step": s, "perplexity": 100 / s} for s in range(1, 90)]
    lines += [{"kind": "val", "step": s, "perplexity": 50 / s, "CIDEr": s / 90} for s in (40, 80)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "metrics.jsonl").write_text(text + '{"kind": "val", "st')
    html, page = written(tmp_path, scores, jpeg(900, 450), run_dir=run)
    for _, attributes in page.tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
    assert html.count("url(") == html.count("url(data:image/jpeg;base64,")
    assert not page.of("script") and not page.of("link")
    (policy,) = (m for m in page.of("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy["content"]
    images = page.of("img")
    assert len(images) == 3 * SHOWN * (1 + 3)  # each picture, and a tile for each word
    assert all(image["alt"] for image in images)
    assert all(svg["aria-label"] for svg in page.of("svg"))
    for name, value in scores.metrics.items():
        low, high = Summary.of(scores).intervals[name]
        assert f"{100 * value:.1f}" in page.text
        assert f"{100 * low:.1f} to {100 * high:.1f}" in page.text
    for heading in ("Best captions", "Worst captions", "Captions at random", "Caption lengths"):
        assert heading in page.text
    assert "METEOR is unavailable: not started." in page.text
    assert "91%(chance 20%)" in page.text
    charted = [svg["aria-label"] for svg in page.of("svg")]
    assert charted[0] == "Perplexity: training ends at 1.12, validation ends at 0.625"
    assert charted[1] == "CIDEr, validation: CIDEr ends at 88.9"
    assert NO_PICTURES not in page.text


def test_captions_are_text(tmp_path, scores):
    html, page = written(tmp_path, scores, jpeg(64, 64))
    assert page.text.count(HOSTILE) == 2  # the caption and the reference
    assert "<script" not in html and "<b>" not in html and "<i>" not in html.replace("<i style", "")
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "r<u>n on d val" in page.text


CAPTIONS = {
    "rtl": ["كلب يركض على العشب", "כלב רץ על הדשא"],
    "ltr": ["一只狗在草地上奔跑", "собака бежит 😀", "एक कुत्ता", "word " * 80],
}


@pytest.mark.parametrize("direction", CAPTIONS)
def test_captions_run_in_their_direction(tmp_path, scores, direction):
    shown = Selection.of(scores)
    captions = {image: texts[0] for image, texts in scores.hypotheses.items()}
    texts = dict(zip(shown.best, CAPTIONS[direction], strict=False))
    attended = {
        i: AttendedCaption(i, "x", b"", 1, text, text.split(), np.ones((len(text.split()), 2, 2)))
        for i, text in texts.items()
    }
    for look in attended.values():
        look.attention[:] *= np.arange(1, 1 + len(look.words))[:, None, None]  # it moves
    findings = FINDINGS | {"language": 'z"h'}
    gallery = Gallery(shown, captions | texts, scores.references, scores.images, attended)
    html = report.render(findings, Summary.of(scores), gallery, RunFolder(""))
    page = Page(html)
    assert ("meta", {"charset": "utf-8"}) in page.tags
    assert ("div", {"lang": 'z"h'}) in page.tags
    words = [dict(a) for tag, a in page.tags if tag == "div" and a.get("class") == "words"]
    assert [attributes["dir"] for attributes in words] == [direction] * len(texts)
    for text in texts.values():
        assert f'<p class="caption" dir="auto">{text}</p>' in html
        for word in text.split():
            assert f'<figcaption dir="auto">{word}</figcaption>' in html
    for reference in scores.references[shown.best[0]]:
        assert f'<li dir="auto">{reference}</li>' in html
    assert html.count('<td><bdi dir="auto">') == 10  # the most missed words
    report.write(str(tmp_path), html)
    assert next(iter(texts.values())) in (tmp_path / "index.html").read_text("utf-8")


def test_no_folder_of_the_machine_is_shown(tmp_path, scores):
    secret = tmp_path / "se cret-77f3"
    run = secret / "run"
    run.mkdir(parents=True)
    names = [f"{secret}/a b.jpg", f"..{secret}/c.jpg", "C:\\se cret-77f3\\d.jpg", "val/e f.jpg"]
    shown = Selection.of(scores)
    attended = {
        image: AttendedCaption(image, name, b"", 1, "", [], np.ones((0, 2, 2)))
        for image, name in zip(shown.best, names, strict=False)
    }
    unavailable = {
        "METEOR": f"its Java process failed: Error: Unable to access jarfile {secret}/m.jar",
        "SPICE": f"its output cannot be read: FileNotFoundError(2, 'No file', '{secret}/s.json')",
    }
    told = dataclasses.replace(scores, unavailable=unavailable)
    captions = {image: texts[0] for image, texts in scores.hypotheses.items()}
    gallery = Gallery(shown, captions, scores.references, scores.images, attended)
    findings = FINDINGS | {"run": RunFolder(str(run)).name}
    html = report.render(findings, Summary.of(told), gallery, RunFolder(str(run)))
    for part in ("77f3", str(tmp_path), "/tmp/", str(Path.home()) + "/"):
        assert part not in html, part
    text = Page(html).text
    assert "run on d val" in text
    assert "Unable to access jarfile m.jar." in text
    assert "FileNotFoundError(2, 'No file', 's.json')" in text
    for name in ("a b.jpg", "c.jpg", "d.jpg", "val/e f.jpg"):
        assert f'<bdi dir="auto">{name}</bdi>' in html


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no file /home/jo/models/x.jar; put it there", "no file x.jar; put it there"),
        ("no folder /home/jo, so make one", "no folder ..., so make one"),
        ("C:\\Users\\Jo Doe\\x.jar is damaged", "x.jar is damaged"),
        ("a=~/x.jar", "a=x.jar"),
        ("'~jo/y.jar' is file:///home/jo/z.jar", "'y.jar' is z.jar"),
        ("/home/jo/x.jar or /home/jo/y.jar", "y.jar"),  # a folder may be named "x.jar or "
        ("\\\\server\\share\\x.png", "x.png"),
        ("edu/stanford/nlp and/or 1/2 a / b /", "edu/stanford/nlp and/or 1/2 a / b /"),
    ],
)
def test_messages_lose_the_folders_of_absolute_paths(message, shown):
    assert without_folders(message) == shown


def test_lengths_of_any_captions_can_be_drawn(scores):
    words = {image: ["word " * 45] for image in scores.hypotheses}
    html = figures.lengths(dataclasses.replace(scores, hypotheses=words, references=words))
    assert "captions most often 45" in html
    words[1] = ["word " * 900]
    html = figures.lengths(dataclasses.replace(scores, hypotheses=words, references=words))
    assert "words; 45: 45 or more" in html and html.count("<rect") == 2
    empty = {image: [""] for image in words}
    assert "<svg" in figures.lengths(
        dataclasses.replace(scores, hypotheses=empty, references=empty)
    )


def test_few_images_come_with_a_note_and_one_has_no_interval(scores):
    (image, values), *_ = scores.images.items()
    one = dataclasses.replace(scores, images={image: values}, bleu_counts=scores.bleu_counts[:1])
    html = tables.scores(Summary.of(one))
    assert "1 image: CIDEr weighs a word by how few of the scored images have it" in html
    assert " to " not in html.partition("</table>")[0]


def test_people_are_shown_beside_captions_that_meet_as_many_references(scores):
    findings = FINDINGS | {"leave_one_out_CIDEr": {"captions": 0.5, "references": 0.25}}
    html = tables.captions(Summary.of(scores), findings)
    row = "<td>CIDEr with one reference fewer</td><td>50.0</td><td>25.0</td>"
    assert row in html
    assert "fewer" not in tables.captions(
        Summary.of(scores), FINDINGS | {"leave_one_out_CIDEr": None}
    )


def test_pictures_are_bounded(tmp_path, scores):
    html, _ = written(tmp_path, scores, jpeg(3000, 1500))
    assert len(html) < 3 * SHOWN * 130_000  # of noise, which does not compress
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    attended = AttendedCaption(1, "x", bomb.getvalue(), 1, "x", [], np.zeros((0, 8, 8)))
    assert cards._picture(attended) is None


@pytest.mark.parametrize("encoded", [b"", b"no image", jpeg(64, 64)[:200]])
def test_without_a_picture_the_rest_is_there(tmp_path, scores, encoded):
    _, page = written(tmp_path, scores, encoded)
    assert len(page.of("img")) == 3 * SHOWN * 3
    assert (NO_PICTURES in page.text) == (not encoded)


def test_a_look_at_another_caption_is_not_shown(tmp_path, scores):
    heat = np.ones((1, 2, 2))
    attended = {
        i: AttendedCaption(i, "x", b"", 1, "other words", ["x"], heat)
        for i in Selection.of(scores).image_ids()
    }
    _, page = written(tmp_path, scores, attended=attended)
    assert not page.of("img")
    assert page.text.count("captioning the image again gave other words") == len(attended)


def test_an_attention_that_does_not_move_is_shown_once(tmp_path, scores):
    captions = {image: texts[0] for image, texts in scores.hypotheses.items()}
    attended = {
        i: AttendedCaption(i, "x", b"", 1, captions[i], ["a", "dog", "x"], np.ones((3, 2, 2)))
        for i in Selection.of(scores).best[1:]
    }
    html, page = written(tmp_path, scores, attended=attended)
    assert len(page.of("img")) == len(attended)
    assert html.count('<figcaption dir="auto">every word</figcaption>') == len(attended)


def test_without_an_attention_the_page_says_so_and_shows_no_heat(tmp_path, scores):
    attended = {
        i: AttendedCaption(i, "x", jpeg(64, 64), 1, "other words", ["x"], None)
        for i in Selection.of(scores).image_ids()
    }
    _, page = written(tmp_path, scores, attended=attended)
    assert len(page.of("img")) == 3 * SHOWN  # the pictures alone
    assert page.text.count("No attention is measured or shown: a run with --attention=none") == 1
    assert "gave other words" not in page.text
    _, page = written(tmp_path, scores)
    assert "No attention is measured" not in page.text


@pytest.mark.parametrize(
    ("variance", "shown"), [(3e-17, "0"), (0.0, "0"), (2.4e-5, "2e-05"), (0.0123, "0.012")]
)
def test_only_an_attention_that_does_not_move_has_a_variance_of_0(scores, variance, shown):
    measured = FINDINGS["attention"] | {"temporal_variance": variance}
    html = tables.captions(Summary.of(scores), FINDINGS | {"attention": measured})
    assert f"<td>attention temporal variance</td><td>{shown}</td>" in html
    assert "how far the attention moves from word to word; 0: every word looks at the" in html
    assert "The attention is that of" not in html
    measured |= {"run": "<b>"}
    html = tables.captions(Summary.of(scores), FINDINGS | {"attention": measured})
    assert "The attention is that of &lt;b&gt;." in html


def test_the_faithfulness_of_attention_stands_beside_that_of_even_attention(scores):
    html = tables.captions(Summary.of(scores), FINDINGS)
    assert "<td>attention faithfulness</td><td>2.50 (95% 2.25 to 2.75)</td>" in html
    assert "<td>with even attention</td><td>unknown: hiding places at random costs nothing" in html
    assert "when the 5 of 49 places that it looks at most are hidden from it" in html


def test_the_table_says_that_there_is_no_attention(scores):
    html = tables.captions(Summary.of(scores), FINDINGS | {"attention": None})
    assert "<td>attention</td><td>none</td>" in html
    assert "entropy" not in html and "variance" not in html


def test_images_that_were_not_captioned_again_keep_their_captions(tmp_path, scores):
    html, page = written(tmp_path, scores, attended={})
    assert html.count('<article class="card">') == 3 * SHOWN
    assert not page.of("img")
    assert scores.hypotheses[Selection.of(scores).worst[0]][0] in page.text
    assert NO_PICTURES in page.text


def test_contamination_is_stamped(tmp_path, scores):
    _, page = written(tmp_path, scores, contamination="CONTAMINATED 25%")
    assert "CONTAMINATED 25%: seen in training" in page.text


def test_where_it_cannot_be_written(tmp_path, scores):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--report=.*file/page: no folder can be made there"):
        report.refuse_unwritable(str(tmp_path / "file" / "page"))
    (tmp_path / "index.html").mkdir()
    with pytest.raises(UserError, match=r"index\.html: cannot be written"):
        written(tmp_path, scores)


def test_heat_is_bright_at_the_peak():
    heat = np.zeros((3, 4))
    heat[2, 3] = 1
    assert cards._region(heat) == "bottom right"
    assert cards._region(np.eye(3)[[1, 0, 2]] * [0, 1, 0] + np.diag([0, 2.0, 0])) == "centre"
    data = cards._heat_uri(heat).partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    assert shown.shape == (12, 16, 4) and np.ptp(shown[..., 3]) == 0  # the picture shows through
    assert shown[-2, -2, :3].sum() > 600 and shown[:6, ..., :3].sum(-1).max() < 60


def test_a_curve_of_one_point_or_none():
    assert charts.curves("t", {"a": [], "b": [(1, float("nan"))]}, "step") == ""
    assert "ends at 3" in charts.curves("t", {"a": [(5, 3.0)]}, "step", logarithmic=True)
