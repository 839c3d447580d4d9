# make help lists what there is. Everything is set up on first use, and nothing is done twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CODE := ecli_py packager runtime schemas
SAMPLE := samples/execsnoop/execsnoop.bpf.c
PACKAGE := build/execsnoop.json
SYSCALLS := runtime/ecli_runtime/decode/_syscalls

# After `sudo make`, what was set up belongs to the owner of the tree, who can then go on without sudo.
give_back = [ "$$(id -u)" != 0 ] || chown -fR --reference=Makefile $(1) || true
CACHES := .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# $(call apt_install,PACKAGES,why): root gets them installed, anybody else is told.
apt_install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing $(1)"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
			apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $(1) </dev/null >/dev/null; \
	else \
		echo "error: $(2)" >&2; echo "hint: apt-get install $(1)" >&2; exit 1; \
	fi

# $(call quietly,COMMAND): what it says is shown when it fails.
quietly = said=$$($(1) 2>&1) || { printf '%s\n' "$$said"; exit 1; }

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help dev check static test matrix run bench golden clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

dev: $(INSTALLED) $(SYSCALLS) ## set up the virtual environment, the bundled libbpf and the Wasm module
	@$(BIN)/python tools/build-libbpf
	@$(BIN)/python tools/build-lines-wasm
	@# Start-up time counts, and byte code is not written where PYTHONDONTWRITEBYTECODE is set or the tree is read-only.
	@# A file with a syntax error is left for `make check` to report.
	@$(BIN)/python -m compileall -qq $(CODE) || true
	@$(call give_back,$(CODE))

$(INSTALLED): pyproject.toml hatch_build.py $(BIN)/python
	@echo "installing ecli-py and its tools into $(VENV)"
	@# The pip of an old Python writes commands that take twice as long to start.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@# Before Python 3.12 venv brings setuptools, which nothing here uses and which costs each start 0.7 ms.
	@$(BIN)/python -m pip uninstall -qq -y --disable-pip-version-check setuptools
	@# libbpf needs both wherever it runs; a minimal system may have neither.
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libelf.so.1"); ctypes.CDLL("libz.so.1")' 2>/dev/null || \
		{ $(call apt_install,libelf1 zlib1g,libbpf needs libelf and zlib); }
	@touch $@
	@$(call give_back,$(VENV))

$(SYSCALLS): tools/build-syscalls $(INSTALLED)
	@$(BIN)/python tools/build-syscalls
	@touch $@
	@$(call give_back,$@)

# Debian's python3 comes without ensurepip, which its package of venv brings.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: ecli-py needs Python 3.10 or newer" >&2; \
		echo "hint: make PYTHON=python3.12 dev, or whichever you have" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		$(call apt_install,$$package,this Python cannot make virtual environments); }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

static: dev
	@$(call quietly,$(BIN)/ruff check)
	@$(call quietly,$(BIN)/ruff format --check)
	@$(call quietly,$(BIN)/mypy)
	@$(call quietly,$(BIN)/lint-imports --no-logo)
	@$(call give_back,$(CACHES))

check: static ## lint, types, layers, unit and property tests: before each commit
	@$(BIN)/pytest -q tests/unit tests/property $(ARGS)

test: static ## everything, as CI does it; as root, or the kernel's tests are skipped (ARGS='-k name -x' goes to pytest)
	@$(BIN)/pytest $(ARGS); status=$$?; $(call give_back,$(CACHES)); exit $$status

matrix: dev ## run all packages on Linux 5.10 to 7.2, amd64 and arm64, in QEMU (MATRIX=6.12,arm64/5.10: on these); as root
	@ECLI_MATRIX=$(or $(MATRIX),all) $(BIN)/pytest tests/matrix $(ARGS); status=$$?; $(call give_back,build $(CACHES)); exit $$status

run: ## show each program that starts, until Ctrl-C or for DURATION=5 seconds; as root
	$(if $(filter-out 0,$(shell id -u)),$(error loading programs into the kernel needs root: sudo make run))
	@$(MAKE) -s --no-print-directory dev $(PACKAGE)
	@$(BIN)/ecli-py run $(PACKAGE) $(if $(DURATION),--duration $(DURATION))

$(PACKAGE): $(SAMPLE) $(wildcard $(dir $(SAMPLE))*.h) | dev
	@mkdir -p $(@D)
	@$(BIN)/ecli-py build $(SAMPLE) -o $@
	@$(call give_back,$(@D))

bench: dev ## measure, as ratios within one run
	@$(BIN)/python benchmarks/run.py $(ARGS)
	@$(call give_back,build)

golden: dev ## rebuild the golden files; read the diff before you commit it
	@$(BIN)/python tests/golden/rebuild.py $(ARGS)

clean: ## remove all that was built, and the virtual environment
	@rm -rf $(VENV) build dist $(CACHES)
	@rm -rf runtime/ecli_runtime/libbpf/_bundle* runtime/ecli_runtime/decode/native/lines.*wasm $(SYSCALLS)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
