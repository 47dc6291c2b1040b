"""Exports as the tests run them, and bundles with an edited card."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifacts import restore, weights_file
from artifacts.run_config import RunConfig
from artifacts.run_folder import RunFolder
from serving import export
from serving.bundle import layout
from tests.support.commands import run_command


def run_export(**options) -> int:
    """Run `serving.export` in this process and return its exit code."""
    return run_command(export, **options)


def write_card(bundle: Path, **changes: Any) -> None:
    """Write the card of a bundle anew: with these changes, for the files as they are now."""
    path = bundle / layout.CARD
    content = json.loads(path.read_text())
    files = {name: _entry(bundle / name) for name in content["files"]}
    content |= {"files": files, "fingerprint": layout.fingerprint(files)} | changes
    path.write_text(json.dumps(content | {"checksum": layout.checksum(content)}))


def _entry(path: Path) -> Mapping[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def untrained(run_dir: Path, **decoder) -> None:
    """Give a copy of a run other settings of the decoder, and weights of chance that fit them."""
    folder = RunFolder(str(run_dir))
    config = RunConfig.read(folder)
    changed = dataclasses.replace(config.model.decoder, **decoder)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, decoder=changed))
    config.write(folder)
    captioner = restore.build(config.model)
    note = weights_file.owned({"epoch": 1, "step": 1}, config.id)
    weights_file.save(folder.best, weights_file.gather(captioner.trainable_variables), note)
    frozen = weights_file.gather(captioner.non_trainable_variables)
    if frozen:
        weights_file.save(folder.frozen, frozen, note)
