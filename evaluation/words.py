"""What an evaluation tells of words: their language, how many the model does not know, and none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from artifacts import provenance
from artifacts.run_folder import RunFolder
from cli.errors import UserError
from records import language
from records.manifest import DatasetInfo, read_vocabulary
from records.text import tokenise
from records.vocabulary import MANY_UNKNOWN


def language_of(
    run_dir: str, info: DatasetInfo, chosen: str | None, references: Mapping[int, Sequence[str]]
) -> str:
    """Return the tag of the language to score by; print a hint where nobody said it but should.

    Args:
        run_dir: The run that captions.
        info: The manifest of the records that hold the references.
        chosen: What --language says.
        references: Image id -> its reference captions.
    """
    if tag := chosen or info.flags.language:
        return language.checked(tag)
    trained_on = provenance.read(RunFolder(run_dir))
    of_run = trained_on.flags.language if trained_on else None
    if of_run and "language" not in info.flags.every:  # Earlier builds could not say.
        return language.checked(of_run)
    if line := language.hint(Counter(chain.from_iterable(references.values()))):
        print(line)
    elif of_run and not language.is_english(of_run):
        print(
            f"the records name no language, so scores are those of English; {run_dir} was trained"
            f" on {of_run}: give --language={of_run} if the records are, too"
        )
    return language.ENGLISH


def unknown_share(run_dir: str, references: Mapping[int, Sequence[str]]) -> float:
    """Print and return which share of the references' words a run does not know.

    Args:
        run_dir: The run that captions.
        references: Image id -> its reference captions.
    """
    vocabulary = read_vocabulary(RunFolder(run_dir).vocabulary)
    words = [word for text in chain.from_iterable(references.values()) for word in tokenise(text)]
    share = vocabulary.count_unknown(words) / max(1, len(words))
    print(f"{share:.1%} of the references' {len(words):,} words are unknown to the model")
    if share >= MANY_UNKNOWN:
        print(f"warning: the model cannot say them: {_remedy(run_dir)}")
    return share


def _remedy(run_dir: str) -> str:
    """Return what helps against unknown words."""
    trained_on = provenance.read(RunFolder(run_dir))
    if trained_on and trained_on.vocabulary_is_full:
        limit = trained_on.flags.max_vocabulary
        return f"build records with more than --max_vocabulary={limit}, and train on those"
    flags = trained_on.flags.every if trained_on else {}
    if flags.get("min_word_count") == 1 and not flags.get("vocabulary"):
        return "the captions that it was trained on lack them; train on captions that have them"
    return (
        "build records with a lower --min_word_count, or with another --vocabulary, and train on"
        " those"
    )


def refuse_empty(captions: Mapping[int, str], run_dir: str) -> None:
    """Refuse to score captions of which none holds a word.

    Args:
        captions: Image id -> its caption.
        run_dir: The run that captions.

    Raises:
        UserError: All captions are empty.
    """
    if not any(tokenise(caption) for caption in captions.values()):
        raise UserError(
            f"all {len(captions):,} captions of {run_dir} are empty, so that there is nothing to"
            " score; train longer, or look whether vocabulary.tsv there has the words that"
            " captions need"
        )
