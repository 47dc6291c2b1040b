"""The names of the metrics: on disk and in code, in print, and in what order.

The names are those of the official COCO script. They are keys in every file that holds scores, so
they must never change.
"""

BLEU_1 = "Bleu_1"
BLEU_2 = "Bleu_2"
BLEU_3 = "Bleu_3"
BLEU_4 = "Bleu_4"
METEOR = "METEOR"
ROUGE_L = "ROUGE_L"
CIDER = "CIDEr"
SPICE = "SPICE"

# BLEU of n-grams of 1, 2, 3 and 4 words.
BLEU = (BLEU_1, BLEU_2, BLEU_3, BLEU_4)

# Metric -> how a table heads it, in the order of every table and file.
HEADINGS = {
    BLEU_1: "BLEU-1",
    BLEU_2: "BLEU-2",
    BLEU_3: "BLEU-3",
    BLEU_4: "BLEU-4",
    METEOR: "METEOR",
    ROUGE_L: "ROUGE-L",
    CIDER: "CIDEr",
    SPICE: "SPICE",
}
METRICS = tuple(HEADINGS)
