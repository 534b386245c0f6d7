# Everything happens in .venv, which `setup` makes and every other target asks for. `make help` lists the targets.

BIN := .venv/bin
STAMP := .venv/.installed

# One thread a process: the demo runs several processes, and small networks only lose by more threads.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-safety lint format train bench evaluate results clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (Python 3.11 or 3.10)

# PyBullet has wheels for Python 3.10 and 3.11 only. The versions are pinned for the build's own environment too.
$(STAMP): setup.py constraints.txt pyproject.toml
	@set -e; \
	for python in $(PYTHON) python3.11 python3.10 python3; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make setup: no Python 3.11 or 3.10 was found; install one (Debian 12: apt install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "make setup: $$python cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; \
	fi; \
	"$$python" -m venv .venv
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/python -m pip install --disable-pip-version-check -e '.[ros,test,lint]'
	mkdir -p .venv/typing && ln -sfn ../../sim .venv/typing/mql_sim
	touch $@

demo: setup ## learn to grasp objects never seen before; the report is out/demo/report.html
	rm -rf out/demo
	$(BIN)/mql demo --out out/demo

test: setup ## run all tests
	$(BIN)/python -m pytest test

test-fast: setup ## run the fast tests: without ROS and without what takes long
	$(BIN)/python -m pytest test -m "not ros and not slow"

test-safety: setup ## look at a million points of published trajectories
	MQL_SAFETY_SAMPLES=1e6 $(BIN)/python -m pytest test/ros/test_published_trajectories.py

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the code into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: setup ## meta-train the policy that models/ holds; carries on where it stopped
	$(BIN)/mql train --config config/training/grasp.yaml --out runs/grasp

bench: setup ## measure speed, latency and memory: out/bench.json
	mkdir -p out
	$(BIN)/mql bench --json out/bench.json

evaluate: setup ## measure success on the development objects: out/evaluate.json
	mkdir -p out
	$(BIN)/mql evaluate --json out/evaluate.json

results: setup ## write docs/results.md and its figures from docs/results/*.json
	$(BIN)/mql results

clean: ## remove results, build products and caches; keeps .venv and runs/
	rm -rf out build dist install log *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find mql_ros sim test launch -name __pycache__ -type d -prune -exec rm -rf {} +
