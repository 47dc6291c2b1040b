"""The search flags that a run keeps: how its captions are searched for, unless a command says else.

They may stand in the recipe and are no part of the training. Runs of earlier versions keep none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from captioning.search_options import MAX_WORDS, BeamSearch
from cli.errors import UsageError, UserError
from records.manifest import DatasetInfo

_FLAGS = tuple(field.name for field in dataclasses.fields(BeamSearch) if field.metadata)


def keep(folder: RunFolder, given: Mapping[str, Any], info: DatasetInfo) -> RunConfig:
    """Write the search flags of a training into the run's config.json.

    A run that is not trained yet gets every search flag. Later, only those change that are given.

    Args:
        folder: The run's folder, which has a config.json.
        given: The flags that the user gave, name -> value, others among them.
        info: The manifest of the training records: the longest train caption fits.

    Returns:
        The config with the search flags that the run keeps now.

    Raises:
        UsageError: --min_length leaves no room.
        UserError: The config cannot be read or written.
    """
    config = RunConfig.read(folder)
    kept = dict(config.search)
    if not kept and not folder.has_weights:
        default = BeamSearch(max_words=longest(info))
        kept = {name: getattr(default, name) for name in _FLAGS}
    kept |= {name: given[name] for name in _FLAGS if name in given}
    _checked(BeamSearch(**kept))
    if kept != config.search:
        config = dataclasses.replace(config, search=kept)
        try:
            config.write(folder)
        except OSError as error:
            raise UserError(f"{folder.config}: cannot be written: {error}") from None
    return config


def of_runs(
    run_dirs: Sequence[str], configs: Sequence[RunConfig], given: Mapping[str, Any]
) -> tuple[BeamSearch, list[str]]:
    """Return how to search with a run, or with several that caption together.

    Args:
        run_dirs: The runs.
        configs: Their config.json.
        given: The search flags that the user gave, name -> value.

    Returns:
        The search: what the user gave, else what the first run keeps, else the default; and a
        line for each flag in which the runs differ.

    Raises:
        UsageError: --min_length leaves no room.
    """
    kept = [
        {name: config.search.get(name, getattr(BeamSearch(), name)) for name in _FLAGS}
        for config in configs
    ]
    remarks = [
        f"the runs differ in --{name}: {run_dirs[0]} keeps {kept[0][name]}, which is taken,"
        f" {run_dir} keeps {other[name]}; give --{name} to choose"
        for name in _FLAGS
        for run_dir, other in zip(run_dirs, kept, strict=True)
        if name not in given and other[name] != kept[0][name]
    ]
    return _checked(BeamSearch(**{**kept[0], **given})), remarks


def longest(info: DatasetInfo) -> int:
    """Return how many words the longest train caption has, its end counted; 30 at least.

    Args:
        info: The manifest of the training records.
    """
    lengths = [shard.longest_caption for shard in info.splits["train"].shards if shard.records]
    # Shards of earlier versions do not say; the flag bounds them, if it is not 0.
    most = max(lengths, default=0) if all(lengths) else info.flags.max_caption_words
    return max(MAX_WORDS, most + 1)


def _checked(search: BeamSearch) -> BeamSearch:
    if search.min_length >= search.max_words:
        raise UsageError(
            f"--min_length={search.min_length} leaves no room below --max_words={search.max_words}"
        )
    return search
