# Every target that needs it sets up first; a set-up that is up to date takes no time.

# The scripts in tools/ read these from their environment, so that paths may contain anything.
DURATION ?= 20
OUT ?= out/demo
BAG ?=
CONFIG ?=
SCENARIO ?=
REPEAT ?=
LOOP ?=
ARGS ?=
PYTHON ?=
QUICK ?=
LONG ?=
PEERS ?=
RECORDINGS ?=
FIGURES ?= all
export DURATION OUT BAG CONFIG SCENARIO REPEAT LOOP ARGS PYTHON QUICK LONG PEERS RECORDINGS FIGURES

.DEFAULT_GOAL := help
.PHONY: help setup demo soak test lint bench figures clean

help:
	@echo 'make demo    the whole chain, live, on a built-in scene; results in out/demo'
	@echo '             DURATION=20           seconds'
	@echo '             OUT=out/demo          folder of the results'
	@echo '             SCENARIO=name         another built-in scene'
	@echo '             BAG=folder            a recording instead of a scene'
	@echo '             CONFIG=file.yaml      default for a recording: config/recordings/<folder name>.yaml'
	@echo '             REPEAT=1              play the recording again when it ends'
	@echo '             LOOP=closed           targets are tracked by the echoes of the beams alone'
	@echo 'make soak    ten minutes of the closed loop: flat memory, no unlabelled miss; results in out/soak'
	@echo '             DURATION=600          seconds'
	@echo 'make test    linters and all tests; ARGS="-k fisher" hands arguments to pytest'
	@echo 'make bench   times of solver, cycle and nodes, beside other solvers; benchmarks/latest.json, docs/benchmarks.md'
	@echo '             QUICK=1               ends within two minutes'
	@echo '             LONG=1                ten minutes of each recording and 100000 cycles as well'
	@echo '             PEERS=all             other solvers that need minutes as well; none, short, medium'
	@echo '             RECORDINGS=folder     recordings of motion; default: ../shared/data/recordings, where it exists'
	@echo 'make figures the figures of both papers: tables (CSV) and pictures in out/figures'
	@echo '             FIGURES="fig3b et9"   panels or figures; default: all'
	@echo '             OUT=out/figures       folder of the results'
	@echo '             ARGS="--set n_x=24"   further options of `nf-isac figures`'
	@echo 'make lint    linters and type checks only'
	@echo 'make setup   only what the others do first; PYTHON=/path/to/python3.12 chooses the interpreter'
	@echo 'make clean   removes what set-up and builds made, and keeps out/'

setup:
	@tools/setup.sh

demo: setup
	@tools/demo.sh

# The defaults of these two are those of the demo.
soak: DURATION := $(if $(filter file,$(origin DURATION)),600,$(DURATION))
soak: OUT := $(if $(filter file,$(origin OUT)),out/soak,$(OUT))
soak: setup
	@tools/soak.sh

test: setup
	@tools/test.sh

lint: setup
	@tools/lint.sh

bench: setup
	@tools/bench.sh

# The default of OUT is that of the demo.
figures: OUT := $(if $(filter file,$(origin OUT)),out/figures,$(OUT))
figures: setup
	@tools/figures.sh

clean:
	rm -rf .venv .venv.old build install log .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
