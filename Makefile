# Ten verbs; `make setup` first. Needs python3.11, make and a package index, and brings everything else itself.
PYTHON ?= python3.11
UV := .tools/bin/uv
LOCK := $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-package rlway-client
INSTALL := install --quiet --no-deps --no-build-isolation

CODE := clients serve train export tests benchmarks examples demo.py
SERVING := clients/python/rlway_client serve/rlway_serve $(addprefix tests/,clients serve k8s packages e2e) \
	$(filter-out tests/policies.py,$(wildcard tests/*.py)) \
	$(addprefix benchmarks/,rig.py serving.py wires.py overflow.py overload.py swapping.py peers.py soak.py traffic.py \
	gpu.py plain_fastapi.py networks.py sizes.py) demo.py
TRAINING := train/rlway_train export/rlway_export tests/train tests/export tests/policies.py benchmarks/training.py \
	$(addprefix benchmarks/,sac_learner.py minitaur.py solving.py actors.py export.py)

.PHONY: help setup demo test lint format bench lock image clean

help:  ## what each verb does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: .venv/ready .venv-train/ready  ## both environments: .venv (serve, clients) and .venv-train (train, export)

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check 'uv==0.13.*'

.venv/ready: locks/serve-dev.txt serve/pyproject.toml clients/python/pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python .venv --require-hashes locks/serve-dev.txt
	$(UV) pip $(INSTALL) --python .venv -e clients/python -e serve
	@touch $@

.venv-train/ready: locks/train-dev.txt train/pyproject.toml export/pyproject.toml clients/python/pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-train
	$(UV) pip sync --quiet --python .venv-train --require-hashes locks/train-dev.txt
	$(UV) pip $(INSTALL) --python .venv-train -e clients/python -e train -e export
	@touch $@

demo: setup  ## trains, exports, serves and plays CartPole-v1, in about half a minute
	@.venv/bin/python demo.py

test: setup  ## every test, in both environments
	.venv/bin/python -m pytest -n 2 --dist loadfile tests/clients tests/serve tests/k8s tests/packages
	.venv-train/bin/python -m pytest -n 2 --dist loadfile tests/train tests/export
	.venv/bin/python -m pytest -n 2 --dist loadfile tests/e2e

lint: setup  ## formatting, lint and strict types, over everything
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/ruff check $(CODE)
	.venv/bin/mypy $(SERVING)
	.venv/bin/mypy --python-executable .venv-train/bin/python $(TRAINING)

format: setup  ## formats everything and mends what can be mended
	.venv/bin/ruff format $(CODE)
	.venv/bin/ruff check --fix $(CODE)

bench: setup  ## speed beside the peers that are installed (wrk, nginx), the tutorial's loop, and files built by hand
	PYTHONPATH=. .venv/bin/python benchmarks/serving.py
	PYTHONPATH=. .venv/bin/python benchmarks/wires.py
	PYTHONPATH=. .venv/bin/python benchmarks/peers.py
	PYTHONPATH=. .venv/bin/python benchmarks/overflow.py
	PYTHONPATH=. .venv/bin/python benchmarks/overload.py
	PYTHONPATH=. .venv/bin/python benchmarks/swapping.py
	.venv-train/bin/python benchmarks/training.py
	.venv-train/bin/python benchmarks/solving.py
	.venv-train/bin/python benchmarks/sac_learner.py
	.venv-train/bin/python benchmarks/actors.py
	.venv-train/bin/python benchmarks/minitaur.py
	.venv-train/bin/python benchmarks/export.py

image:  ## the server's container image, with docker, podman or buildah (TARGET=train for the other one)
	k8s/build-image $(TARGET)

clean:  ## removes environments and caches; runs/ and models/ stay
	rm -rf .venv .venv-train .tools .peers dist
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

lock: | $(UV)  ## resolves the four requirements files in locks/ anew, with hashes
	$(LOCK) serve/pyproject.toml -o locks/serve.txt
	$(LOCK) serve/pyproject.toml --extra otel --group serve/pyproject.toml:dev -c locks/serve.txt -o locks/serve-dev.txt
	$(LOCK) train/pyproject.toml export/pyproject.toml --extra pybullet -o locks/train.txt
	$(LOCK) train/pyproject.toml export/pyproject.toml --extra pybullet --group train/pyproject.toml:dev \
		-c locks/train.txt -o locks/train-dev.txt
