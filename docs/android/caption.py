"""Caption an image with a bundle's model.tflite, NumPy and Pillow: caption.py BUNDLE IMAGE."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

END, TIBETAN = 2, 1
if len(sys.argv) != 3:
    sys.exit("usage: caption.py BUNDLE IMAGE")
bundle, path = Path(sys.argv[1]), sys.argv[2]


def columns(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the columns of a table in the bundle."""
    lines = (bundle / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return tuple(zip(*(line.split("\t") for line in lines), strict=True))


words, _ = columns("vocabulary.tsv")
ends, begins = ([int(bits) for bits in column] for column in columns("joins.tsv"))
model = Interpreter(str(bundle / "model.tflite")).get_signature_runner("serving_default")
size = model.get_input_details()["pixels"]["shape"][1]
image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
# Pillow shrinks with antialiasing, as in training; mode F does not round in between.
bands = [
    band.convert("F").resize((size, size), Image.Resampling.BILINEAR) for band in image.split()
]
result = model(pixels=np.stack(bands, -1)[None])
for ids, score in zip(result["ids"][0], result["scores"][0], strict=True):
    text, last = "", None
    for word in ids:
        if word in (0, END):
            break
        shared = 0 if last is None else ends[last] & begins[word]
        gap = "" if last is None or shared > TIBETAN else "\u0f0b" if shared else " "
        text, last = text + gap + words[word], word
    print(f"{score:.3f}\t{text}")
