"""CSV and TSV: Kaggle's files and others, quotes and columns, and the place of what is wrong."""

import pytest

from cli.errors import UsageError, UserError
from tests.pipeline.own.folders import add_images, build_own, captions, check_kill
from tests.support.records import records, rejected, verify

FLICKR8K = """image,caption
1000268201_693b08cb0e.jpg,A child in a pink dress is climbing up a set of stairs in an entry way .
1001773457_577c3a7d70.jpg,"A black dog , and a spotted dog are fighting"
1000268201_693b08cb0e.jpg,"A little girl said ""hello"" ."
1001773457_577c3a7d70.jpg,A black dog and a white dog with brown spots .
"""
FLICKR30K = """image_name| comment_number| comment
1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .
1000092795.jpg| 1| "Two young , White males are outside near many bushes .
2199200615.jpg| 3| A black dog , running , in grass .
2199200615.jpg| 4   A dog runs across the grass .
"""


def write(path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


@pytest.fixture
def own(tmp_path):
    """A folder with images/0.jpg to images/5.jpg."""
    add_images(tmp_path / "own", *(f"images/{n}.jpg" for n in range(6)))
    return tmp_path / "own"


def built(dataset, own, tmp_path, split: str = "train", **options) -> dict[str, tuple[str, ...]]:
    build_own(dataset, own, tmp_path / "records", **options)
    return captions(records(tmp_path / "records", split))


def test_flickr8k_of_kaggle(tmp_path, capsys):
    folder = tmp_path / "flickr8k"
    names = ("1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg")
    add_images(folder / "Images", *names)
    write(folder / "captions.txt", FLICKR8K)
    assert built(None, folder, tmp_path) == {
        names[0]: (
            "A child in a pink dress is climbing up a set of stairs in an entry way .",
            'A little girl said "hello" .',
        ),
        names[1]: (
            "A black dog , and a spotted dog are fighting",
            "A black dog and a white dog with brown spots .",
        ),
    }
    out = capsys.readouterr().out
    assert (
        f"found a CSV with the columns image, caption ({folder}/captions.txt): --dataset=c" in out
    )
    assert f"captions in caption; the images lie in {folder}/Images" in out
    assert "all 2 images are in train" in out and "--val_fraction=0.1" in out
    assert verify(tmp_path / "records", f"--data_dir={folder}") == 0


def test_flickr30k_of_kaggle(tmp_path, capsys):
    folder = tmp_path / "flickr30k_images"
    add_images(folder / "flickr30k_images", "1000092795.jpg", "2199200615.jpg")
    write(folder / "results.csv", FLICKR30K)
    assert built(None, folder, tmp_path) == {
        "1000092795.jpg": (
            "Two young guys with shaggy hair look at their hands .",
            '"Two young , White males are outside near many bushes .',
        ),
        "2199200615.jpg": (
            "A black dog , running , in grass .",
            "A dog runs across the grass .",
        ),
    }
    out = capsys.readouterr().out
    line = "results.csv:5:16: no separator before the comment; taken as 'A dog runs across the g"
    assert line in out


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file_name,text\n0.jpg,a dog\n1.jpg,a cat\n", "utf-8"),
        ("\ufefffile_name,text\r\n0.jpg,a dog\r\n1.jpg,a cat\r\n\r\n,\r\n", "utf-8"),
        ("filename;caption;split\n0.jpg;a dog;train\n1.jpg;a cat;TRAIN\n", "utf-8"),
        (" Image Path , Caption\n images/0.jpg , a dog\n images\\1.jpg , a cat\n", "utf-8"),
        ('"image"\t"caption"\n"0.jpg"\t"a dog"\n"1.jpg"\ta cat', "utf-8"),
        ("image,text\r0.jpg,a dog\r1.jpg,a cat\r", "utf-8"),
        ("0.jpg,a dog\n1.jpg,a cat\n", "utf-8"),
        ("0.jpg#0|a dog\n1.jpg#0|a cat\n", "utf-8"),
        (",img_id,raw,filename\n0,7,a dog,0.jpg\n1,8,a cat,1.jpg\n", "utf-8"),
        ('image,caption\n0.jpg,"[""a dog""]"\n1.jpg,"[\'a cat\']"\n', "utf-8"),
        ("image,caption_1,caption_2\n0.jpg,a dog,\n1.jpg,,a cat\n", "utf-8"),
    ],
)
def test_what_is_common(own, tmp_path, text, encoding):
    write(own / "mine.csv", text, encoding)
    found = built(None, own, tmp_path)
    assert {name.removeprefix("images/"): texts for name, texts in found.items()} == {
        "0.jpg": ("a dog",),
        "1.jpg": ("a cat",),
    }


def test_captions_as_they_are(own, tmp_path, capsys):
    text = (
        'image,caption\n0.jpg,"a dog,\nwhich ""runs"" 🐕"\n'
        "1.jpg,A dog, which runs,fast\n1.jpg,[a dog] in brackets\n2.jpg,\n2.jpg,a “cat”\n"
    )
    write(own / "mine.csv", text)
    assert built("csv", own, tmp_path) == {
        "0.jpg": ('a dog,\nwhich "runs" 🐕',),
        "1.jpg": ("A dog, which runs,fast", "[a dog] in brackets"),
        "2.jpg": ("a “cat”",),
    }
    assert [line["reason"] for line in rejected(tmp_path / "records")] == ["empty_caption"]
    out = capsys.readouterr().out
    assert (
        "mine.csv:4:7: ',' is part of the caption, which stands without quotes; so it is in 1"
        in out
    )


def test_several_columns_of_captions_and_splits_by_a_column(own, tmp_path):
    text = "path,subset,caption_1,caption_2\n0.jpg,train,a dog,one dog\n1.jpg,Validation,a cat,\n"
    write(own / "mine.csv", text)
    assert built("csv", own, tmp_path) == {"0.jpg": ("a dog", "one dog")}
    assert captions(records(tmp_path / "records", "val")) == {"1.jpg": ("a cat",)}


def test_columns_and_separator_that_flags_name(own, tmp_path):
    write(own / "mine.csv", "a#en#de#held\n0.jpg#a dog#ein Hund#dev\n1.jpg#a cat#Katze#train\n")
    options = {"separator": "#", "image_column": "a", "split_column": "4"}
    assert built("csv", own, tmp_path, caption_column="de,2", **options) == {
        "1.jpg": ("Katze", "a cat")
    }
    assert captions(records(tmp_path / "records", "val")) == {"0.jpg": ("ein Hund", "a dog")}
    write(own / "none.csv", "0.jpg,en,a dog\n1.jpg,en,a cat\n")
    options = {"train_annotations": "none.csv", "caption_column": "3"}
    assert built("csv", own, tmp_path, **options) == {"0.jpg": ("a dog",), "1.jpg": ("a cat",)}


def test_a_file_for_each_split(own, tmp_path):
    for number, split in enumerate(("train", "dev", "test")):
        write(own / f"{split}.tsv", f"image\tcaption\n{number}.jpg\ta dog\n")
    info = build_own(None, own, tmp_path / "records")
    assert info.dataset == "tsv" and list(info.splits) == ["train", "val", "test"]
    assert captions(records(tmp_path / "records", "val")) == {"1.jpg": ("a dog",)}
    (own / "train.tsv").rename(own / "aside")
    (own / "test.tsv").unlink()
    with pytest.raises(UserError, match="own: all images are in val, none in train; the vocabul"):
        build_own("tsv", own, tmp_path / "records")
    build_own("tsv", own, tmp_path / "records", train_annotations="dev.tsv")
    (own / "aside").rename(own / "test.tsv")
    with pytest.raises(UsageError, match=r"--test_fraction=0\.1: the list has a split test alread"):
        build_own("tsv", own, tmp_path / "records", test_fraction=0.1)


def test_splits_whose_images_have_the_same_names(tmp_path):
    for number, split in enumerate(("train", "val")):
        add_images(tmp_path / "own" / split, "1.jpg", "2.jpg", first=10 * number)
        write(tmp_path / "own" / f"{split}.csv", "image,caption\n1.jpg,a dog\n2.jpg,a cat\n")
    assert len(built("csv", tmp_path / "own", tmp_path)) == 2
    assert len(captions(records(tmp_path / "records", "val"))) == 2


def test_quotes_in_a_tsv_that_are_no_quotes(own, tmp_path):
    write(own / "mine.tsv", 'image\tcaption\n0.jpg\t"Stop" signs\n1.jpg\t5" nails\n2.jpg\t"a\n')
    assert built("tsv", own, tmp_path) == {
        "0.jpg": ('"Stop" signs',),
        "1.jpg": ('5" nails',),
        "2.jpg": ('"a',),
    }
    write(own / "mine.tsv", 'image\tcaption\n0.jpg\t"a dog\n""runs"""\n1.jpg\ta cat\n')
    assert built("tsv", own, tmp_path) == {"0.jpg": ('a dog\n"runs"',), "1.jpg": ("a cat",)}


def test_new_images_move_no_other(own, tmp_path):
    add_images(own, *(f"images/more{n}.jpg" for n in range(40)), first=10)
    lines = [f"more{n}.jpg,a dog\n" for n in range(40)]
    places = []
    for count in (20, 40):
        write(own / "mine.csv", "image,caption\n" + "".join(lines[:count]))
        options = {"val_fraction": 0.3, "test_fraction": 0.2}
        info = build_own("csv", own, tmp_path / "records", **options)
        places.append(
            {
                image.image_id: (split, image.file_name)
                for split in info.splits
                for image in records(tmp_path / "records", split)
            }
        )
    assert len(places[0]) == 20 and places[0].items() <= places[1].items()
    assert {split for split, _ in places[0].values()} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\n0.jpg\n", "mine.csv:2:1: expected 2 columns, found 1: '0.jpg'"),
        ("image,caption,x\n0.jpg,a,b,c\n", "mine.csv:2:1: expected 3 columns, found 4: '0.jpg,a"),
        ("image,caption\n,a dog\n", "mine.csv:2:1: no image"),
        (
            "caption,image\n\n\"a dog,\nruns\",../0.jpg\n",
            'mine.csv:4:7: the image must name a file in ',
        ),
        (
            "image,caption,split\n0.jpg,a dog,train\n1.jpg,a,half\n",
            "mine.csv:3:1: the split must be one of train, restval, val, valid, validation, dev,"
            ' test, found "half"',
        ),
        (
            "image,caption,split\n0.jpg,a dog,train\n0.jpg,a,test\n",
            'mine.csv:3:1: "0.jpg" is in the split test here and in train at ',
        ),
        (
            'image,caption\n0.jpg,"a dog\n1.jpg,a cat\n',
            "mine.csv:2:1: the row that begins here cannot be read: unexpected end of data; a qu",
        ),
        (
            'image,caption\n0.jpg,"a" dog\n',
            "mine.csv:2:1: the row that begins here cannot be read: ',' expected after '\"'; a",
        ),
        (
            "image,caption\n0.jpg," + "a" * 200_000,
            "mine.csv:2:1: the row that begins here cannot be read: field larger than field limit",
        ),
        ("", "mine.csv: is empty"),
        ("0.jpg\n", "mine.csv:1: one column only, '0.jpg'; --separator says which character"),
        (
            "bild,text\n0.jpg,a\n",
            "mine.csv: which column names the images? --image_column says it; the columns: bild",
        ),
        (
            "file,image,text\n0.jpg,1,a\n",
            "mine.csv: which column names the images? --image_column says it; the columns: file",
        ),
        (
            "image,caption,text\n0.jpg,a,b\n",
            "mine.csv: which column holds the captions? --caption_column says it; the columns: i",
        ),
        ("image,label\n0.jpg,a\n", "mine.csv: which column holds the captions? --caption_column s"),
        (
            "0.jpg,a dog,ein Hund\n",
            "mine.csv: which column holds the captions? --caption_column says it; the columns:"
            " without names: 0.jpg | a dog | ein Hund",
        ),
        (
            "image,caption\n9.jpg,a dog\n",
            "none of the 1 images of the list is there: ",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(own, tmp_path, text, message):
    write(own / "mine.csv", text)
    with pytest.raises(UserError) as caught:
        build_own("csv", own, tmp_path / "records")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not list((tmp_path / "records").glob("*"))


def test_text_that_is_not_utf_8(own, tmp_path):
    text = "image,caption\n0.jpg,a dog\n1.jpg,a café\n"
    write(own / "mine.csv", text, "latin-1")
    with pytest.raises(UserError, match=r"not UTF-8 at byte 37, in line 3; if it comes from Wind"):
        build_own("csv", own, tmp_path / "records")
    write(own / "mine.csv", text, "utf-16")
    with pytest.raises(UserError, match=r"not UTF-8 but UTF-16; `iconv -f UTF-16 -t UTF-8 /"):
        build_own("csv", own, tmp_path / "records")


def test_flags_that_are_wrong(own, tmp_path):
    write(own / "mine.csv", "image,caption\n0.jpg,a dog\n")
    out = tmp_path / "records"
    with pytest.raises(
        UserError,
        match=r"--image_column=bild: no such column; the columns are image, caption, and their num",
    ):
        build_own("csv", own, out, image_column="bild")
    with pytest.raises(UserError, match="--caption_column=3: no such column"):
        build_own("csv", own, out, caption_column="3")
    with pytest.raises(UsageError, match="--separator=::: expected one character, or `tab`"):
        build_own("csv", own, out, separator="::")
    with pytest.raises(UsageError, match="--dataset=jsonl does not read this flag; coco, csv, tsv"):
        build_own("jsonl", own, out, train_images="x")


def test_a_folder_with_several_tables(own, tmp_path):
    for name in ("a.csv", "b.csv"):
        write(own / name, "image,caption\n0.jpg,a dog\n")
    with pytest.raises(
        UserError, match=r"own: which of these holds the captions: a\.csv, b\.csv\?"
    ):
        build_own("csv", own, tmp_path / "records")
    assert built("csv", own / "b.csv", tmp_path) == {"0.jpg": ("a dog",)}
    (own / "b.csv").rename(own / "labels.txt")
    assert built("csv", own / "labels.txt", tmp_path) == {"0.jpg": ("a dog",)}


def test_missing_images_are_rejected_and_the_first_is_named(own, tmp_path, capsys):
    write(own / "mine.csv", "image,caption\n0.jpg,a dog\n1.jpeg,a cat\n")
    found = built("csv", own, tmp_path, max_rejected_fraction=0.5)
    assert found == {"0.jpg": ("a dog",)}
    line = (
        f"1 of 2 images are missing: {own}/images/1.jpeg ({own}/mine.csv:3:1): no such file; did"
        f" you mean {own}/images/1.jpg?"
    )
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("lists", [("train",), ("train", "val")])
def test_images_that_no_list_names_are_counted(own, tmp_path, capsys, lists):
    add_images(own, "images/.hidden.jpg", "other/6.jpg")
    for number, name in enumerate(lists):
        write(own / f"{name}.csv", f"image,caption\n{number}.jpg,a dog\n")
    built("csv", own, tmp_path)
    first = len(lists)
    line = (
        f"images without captions, which no list names, are left out: {6 - first}, the first is"
        f" {own}/images/{first}.jpg\n"
    )
    out = capsys.readouterr().out
    assert line in out and out.count("no list names") == 1
    assert "all 1 images" not in out and " in 1 shard; rejected" in out


def test_a_list_of_all_images_has_no_remark_on_others(own, tmp_path, capsys):
    write(own / "mine.csv", "image,caption\n" + "".join(f"{n}.jpg,a dog\n" for n in range(6)))
    built("csv", own, tmp_path)
    assert "no list names" not in capsys.readouterr().out


def test_a_fraction_that_takes_every_image_is_to_be_lowered(own, tmp_path):
    write(own / "mine.csv", "image,caption\n0.jpg,a dog\n")
    with pytest.raises(UserError, match="all images are in val, none in train; a smaller fracti"):
        build_own("csv", own, tmp_path / "records", val_fraction=0.999)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["csv", "tsv"])
def test_a_build_that_is_killed(tmp_path, dataset):
    add_images(tmp_path / "own", *(f"Images/{n}.jpg" for n in range(400)))
    separator = {"csv": ",", "tsv": "\t"}[dataset]
    rows = [f"{n}.jpg{separator}a dog runs\n" for n in range(400)]
    write(tmp_path / "own" / f"captions.{dataset}", f"image{separator}caption\n" + "".join(rows))
    check_kill(dataset, tmp_path / "own", tmp_path / "records", val_fraction=0.2)
