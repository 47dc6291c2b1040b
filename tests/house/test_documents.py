"""The documents name what is in the tree: files, modules, flags, make targets, links, versions."""

import ast
import functools
import re

import pytest

from tests.support.commands import ROOT
from tests.support.house import python_files

NEWCOMERS = (
    *("README.md", "WORKSPACE.md", "CONTRIBUTING.md", "docs/operations.md", "docs/benchmarks.md"),
    *("docs/serving.md", "docs/training.md"),
    *("coco.flags", *sorted(f"flags/{path.name}" for path in ROOT.glob("flags/*.flags"))),
)
# The changelog also names what there was before.
DOCUMENTS = (*NEWCOMERS, "CHANGELOG.md")
# Files that the documents tell a reader to write, or not to.
EXAMPLES = {"utils.py"}
# Flags of Beam, Dask, TensorBoard, TensorFlow Serving, Docker, curl and absl.
FOREIGN_FLAGS = {
    *("runner", "direct_num_workers", "dask_client_address", "flink_master", "environment_type"),
    *("environment_config", "job_endpoint", "parallelism", "spark_master_url"),
    *("flink_job_server_jar", "spark_job_server_jar"),
    *("project", "region", "temp_location", "setup_file", "sdk_container_image"),
    *("prism_location", "job_port", "dataflow_job_file"),
    *("s3_access_key_id", "s3_secret_access_key", "s3_endpoint_url"),
    *("enable_batching", "batching_parameters_file", "rm", "mount", "data"),
    *("read", "cap", "security", "now"),  # --read-only, --cap-drop, --security-opt; systemctl
    *("nthreads", "nworkers", "logdir", "flagfile", "help"),
}
PRIVATE_API = re.compile(r"# Private API: ([\w-]+) ([\d.]*\d)\.")


def quoted(document: str) -> list[str]:
    """Return what a document has in backticks, inside its lines."""
    return re.findall(r"`([^`\n]+)`", (ROOT / document).read_text())


@functools.cache
def our_flags() -> set[str]:
    """Return the names of the dataclasses' fields that are flags, and the benchmarks' options."""
    names = set()
    for path in python_files():
        if path.parts[0] == "tests":
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            value = node.value if isinstance(node, ast.AnnAssign) else node
            if not isinstance(value, ast.Call):
                continue
            called = getattr(value.func, "attr", getattr(value.func, "id", ""))
            if called == "flag" and isinstance(node, ast.AnnAssign):
                names.add(node.target.id)
            elif called == "add_argument":
                names.add(value.args[0].value.removeprefix("--"))
    return names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_exist(document):
    paths = [path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    names = {match for text in quoted(document) for match in re.findall(r"[\w./-]+\.py\b", text)}
    for name in names - EXAMPLES:
        assert (ROOT / name).is_file() if "/" in name else name in paths, name


@pytest.mark.parametrize("document", NEWCOMERS)
def test_modules_can_be_run(document):
    for module in re.findall(r"python -m ([\w.]+)", (ROOT / document).read_text()):
        path = ROOT / module.replace(".", "/")
        command = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert module == "pytest" or '"__main__"' in command.read_text(), module


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_exist(document):
    text = re.sub(
        r"--cov\S*|pip install.*|(curl|docker|systemctl) .*", "", (ROOT / document).read_text()
    )
    assert set(re.findall(r"--([a-z]\w*)", text)) <= our_flags() | FOREIGN_FLAGS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in quoted(document):
        if match := re.search(r"\bmake ([a-z][\w-]*)", text):
            assert match[1] in targets, text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    folder = (ROOT / document).parent
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / document).read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = folder / name if name else ROOT / document
        assert target.is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in anchors, link


def test_the_table_of_private_apis_is_that_of_the_code():
    section = (ROOT / "WORKSPACE.md").read_text().partition("\n## Private APIs")[2]
    rows = re.findall(r"^\| ([\w-]+) ([\d.]+) \| .* \| `([\w/]+\.py)` \|", section, re.MULTILINE)
    listed = {(path, package, version) for package, version, path in rows}
    marked = {
        (path.as_posix(), *match)
        for path in python_files()
        if path.parts[0] != "tests"
        for match in PRIVATE_API.findall((ROOT / path).read_text())
    }
    assert listed == marked
    locked = dict(
        re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    for _, package, version in marked:
        assert locked[package].startswith(version), package


def test_the_version_is_the_changelogs():
    (version,) = re.findall(r'version="([^"]+)"', (ROOT / "setup.py").read_text())
    headings = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
