# Every target runs in .venv, which `make setup` makes. Nothing has to be installed by hand.

PY := .venv/bin/python
# TensorFlow uses all cores by itself, so two workers keep two cores busy without thrashing.
TEST_WORKERS := 2
# With worksteal a worker takes tests in order, so the tests of a file share what the file sets up.

.PHONY: help setup demo test test-all test-page test-engines check coverage lock clean
.PHONY: bench-records bench-score bench-train bench-self-critical bench-search bench-recipes
.PHONY: bench-ablations bench-serving

help:
	@echo "make setup          make .venv with the pinned dependencies (Python 3.11 or 3.12)"
	@echo "make demo           draw scenes, build records, train, caption, score, draw a picture"
	@echo "make test           run the test suite"
	@echo "make test-all       run the slow tests too; CAPTION_DATA=DIR adds those on real data"
	@echo "make test-page      run the slow tests of the web page; they need chromium on the PATH"
	@echo "make test-engines   run the job on real Flink and Spark clusters on this machine, and on Prism"
	@echo "make check          check format, lint and docstrings (ruff), and types (mypy)"
	@echo "make coverage       run the test suite and list the lines and branches that it does not reach"
	@echo "make bench-records  measure the job's speed and memory against named baselines"
	@echo "make bench-score    measure scoring against the official code; needs CAPTION_DATA=DIR"
	@echo "make bench-train    measure a training step against textbook ones; installs PyTorch into .venv"
	@echo "make bench-self-critical  measure a self-critical training step and its parts"
	@echo "make bench-search   measure beam and greedy search against simpler ones; installs PyTorch too"
	@echo "make bench-serving  measure the server under load; BUNDLES=B1,B2 names bundles"
	@echo "make bench-recipes  train and score the recipes on Flickr8k; hours, resumable; needs CAPTION_DATA=DIR"
	@echo "make bench-ablations  measure each choice of a recipe; many hours, resumable; needs CAPTION_DATA=DIR"
	@echo "make lock           pin the dependencies anew in requirements.lock"
	@echo "make clean          remove .venv, the coverage report and what the demo made"

setup: .venv/installed

.venv/installed: requirements.lock
	@python=; for name in $(or $(PYTHON),python3.12 python3.11 python3 python); do \
	  if $$name -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; \
	  then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "error: Python 3.11 or 3.12 is needed, found $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1); install one or give make PYTHON=/path/to/python3.11" >&2; exit 2; fi; \
	echo "making .venv with $$($$python --version) and installing the pinned dependencies (3.6 GB)"; \
	rm -rf .venv && $$python -m venv .venv
	@# A shell may tell pip to install elsewhere; its mirror (PIP_INDEX_URL) is taken.
	env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 \
	  $(PY) -I -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@# Some versions of pip do not compile; then every start of TensorFlow takes three times as long.
	@$(PY) -I -m compileall -q -j 0 .venv/lib > .venv/compiled.log || true
	@touch $@

demo: setup
	$(PY) -m pipeline.build_records --runner=DirectRunner --dataset=scenes --scenes_images=6000
	$(PY) -m trainer.main --flagfile=flags/demo.flags
	$(PY) -m serving.caption --run_dir=runs/scenes --attention=runs/scenes/captions.png \
	  data/scenes/test2017/00000000540[1-6].jpg
	$(PY) -m evaluation.main --flagfile=flags/demo.flags --split=test
	@echo "picture: runs/scenes/captions.png"

test: setup
	$(PY) -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow"

test-all: setup
	$(PY) -m pytest -n $(TEST_WORKERS) --dist worksteal --ignore=tests/engines

test-page: setup
	$(PY) -m pytest -n $(TEST_WORKERS) --dist worksteal -rs tests/serving/test_page.py tests/serving/test_page_server.py

# It downloads the engines into build/engines once; what is missing on the machine it skips.
test-engines: setup
	$(PY) -m pytest -rs tests/engines

check: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

coverage: setup
	$(PY) -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow" \
	  --cov --cov-report=term --cov-report=html
	@echo "page: build/coverage/html/index.html"

bench-records: setup
	$(PY) -m benchmarks.records

bench-score: setup
	$(PY) -m benchmarks.score

bench-train: .venv/bench
	$(PY) -m benchmarks.train

bench-self-critical: setup
	$(PY) -m benchmarks.self_critical

bench-search: .venv/bench
	$(PY) -m benchmarks.search

bench-recipes: setup
	$(PY) -m benchmarks.recipes

bench-ablations: setup
	$(PY) -m benchmarks.ablations

bench-serving: setup
	$(PY) -m benchmarks.serving --bundles=$(BUNDLES)

# PyTorch is only a baseline of benchmarks, so it is not in the lock.
.venv/bench: .venv/installed
	$(PY) -m uv pip install --quiet --requirements setup.py --extra bench
	@touch $@

# One file for every platform and both versions of Python.
lock: setup
	$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --no-header \
	  --extra build --extra train --extra serve --extra dask --extra aws --extra heif --extra dev --output-file requirements.lock setup.py

clean:
	rm -rf .venv build data/scenes data/records/scenes runs/scenes
