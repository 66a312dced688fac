# Fourteen verbs; `make setup` first. Needs python3.11, make and a package index, and brings everything else itself.
# Without Node 20 and npm, neither clients/js nor the page in serve/rlway_serve/ui is checked or tested.
PYTHON ?= python3.11
UV := .tools/bin/uv
LOCK := $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-package rlway-client
# The games are under the GPL: the tests have them, the container image does not.
WORLDS := --extra pybullet --extra minatar --extra atari
INSTALL := install --quiet --no-deps --no-build-isolation

CODE := clients serve train export tests benchmarks examples docs/api demo.py
# What mypy reads with TensorFlow's environment; the rest it reads with the other.
TRAINING := train/rlway_train export/rlway_export tests/train tests/export tests/policies.py \
	$(addprefix benchmarks/,edge.py training.py solving.py seeds.py ablation.py sac_learner.py actors.py minitaur.py export.py export_start.py \
	policies_in_the_wild.py) \
	examples/own_environment.py examples/tutorials
SERVING := clients/python/generate_protos.py clients/python/rlway_client serve/rlway_serve docs/api demo.py \
	$(filter-out $(TRAINING),$(wildcard tests/[a-z]* benchmarks/*.py examples/*.py))

PYTEST := .venv/bin/python -m pytest -n 2 --dist loadfile
PYTEST_TRAIN := .venv-train/bin/python -m pytest -n 2 --dist loadfile

JS := clients/js/node_modules
PRETTIER := $(JS)/.bin/prettier --log-level warn --print-width 120 clients/js/src tests/js serve/rlway_serve/ui/static

FOREIGN := .venv-kserve/ready .venv-openpi/ready  # of the clients that other people wrote

.PHONY: help setup demo test test-quick clients lint format bench docs image clean lock protos

help:  ## what each verb does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: .venv/ready .venv-train/ready $(JS)/ready  ## both environments, .venv (serve, clients) and .venv-train (train, export), and the tools of clients/js

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check 'uv==0.13.*'

.venv/ready: locks/serve-dev.txt serve/pyproject.toml clients/python/pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python .venv --require-hashes locks/serve-dev.txt
	$(UV) pip $(INSTALL) --python .venv -e clients/python -e serve
	@touch $@

.venv-train/ready: locks/train-dev.txt train/pyproject.toml export/pyproject.toml clients/python/pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-train
	$(UV) pip sync --quiet --compile-bytecode --python .venv-train --require-hashes locks/train-dev.txt
	$(UV) pip $(INSTALL) --python .venv-train -e clients/python -e train -e export
	@touch $@

# Tools and tests of clients/js, a browser among them if the system has none. The variable makes its package unpack the
# libraries that it needs as well. Without Node or npm's packages all that is left out, and the tests say so.
$(JS)/ready: clients/js/package.json
	@if ! command -v npm >/dev/null; then echo "no Node 20 or newer here: clients/js is neither checked nor tested"; else \
	cd clients/js && \
	npm install --no-audit --no-fund --no-package-lock --no-update-notifier --ignore-scripts --prefer-offline --loglevel=error && \
	mkdir -p node_modules/.chromium && { command -v chromium >/dev/null || \
	TMPDIR=$$PWD/node_modules/.chromium AWS_EXECUTION_ENV=AWS_Lambda_nodejs22.x \
	node --input-type=module -e 'import chromium from "@sparticuz/chromium"; await chromium.executablePath()'; } && \
	touch node_modules/ready || echo "npm failed, as told above: clients/js is neither checked nor tested"; fi

# The environments of clients that cannot live beside the others: KServe's wants psutil < 6, openpi's numpy < 2.
$(FOREIGN): .venv-%/ready: locks/%.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-$*
	$(UV) pip sync --quiet --compile-bytecode --python .venv-$* --require-hashes $<
	@touch $@

demo: setup  ## trains, exports, serves and plays CartPole-v1, in about half a minute
	@.venv/bin/python demo.py

test: setup $(FOREIGN)  ## every test, in both environments
	$(PYTEST) tests/clients tests/cpp tests/serve tests/k8s tests/packages tests/docs tests/js tests/ui
	$(PYTEST_TRAIN) tests/train tests/export
	$(PYTEST) tests/e2e tests/examples tests/foreign

test-quick: setup  ## every test that is not marked slow, in less than two minutes
	$(PYTEST) -m "not slow" tests/clients tests/cpp tests/serve tests/k8s tests/packages tests/docs tests/js tests/ui
	$(PYTEST_TRAIN) -m "not slow" tests/train tests/export

clients: setup $(FOREIGN)  ## plays through the clients of Triton, KServe, TensorFlow Serving, OpenVINO and openpi: a table
	$(PYTEST) tests/foreign tests/docs/test_protocol_examples.py

lint: setup  ## formatting, lint, strict types and the order of imports, over everything
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/ruff check $(CODE)
	.venv/bin/mypy $(SERVING)
	.venv/bin/mypy --python-executable .venv-train/bin/python $(TRAINING)
	PYTHONPATH=clients/python:serve:train:export .venv/bin/lint-imports --no-logo
	if [ -e $(JS)/ready ]; then $(PRETTIER) --check && $(JS)/.bin/tsc -p clients/js && $(JS)/.bin/tsc -p serve; fi

format: setup  ## formats everything and mends what can be mended
	.venv/bin/ruff format $(CODE)
	.venv/bin/ruff check --fix $(CODE)
	if [ -e $(JS)/ready ]; then $(PRETTIER) --write; fi

bench: setup  ## speed beside the peers that are installed (wrk, nginx), the tutorial's loop, and files built by hand; a guard's cost
	PYTHONPATH=. .venv/bin/python benchmarks/serving.py
	PYTHONPATH=. .venv/bin/python benchmarks/wires.py
	PYTHONPATH=. .venv/bin/python benchmarks/protocols.py
	PYTHONPATH=. .venv/bin/python benchmarks/robots.py
	PYTHONPATH=. .venv/bin/python benchmarks/cpp_client.py
	PYTHONPATH=. .venv/bin/python benchmarks/peers.py
	PYTHONPATH=. .venv/bin/python benchmarks/overflow.py
	PYTHONPATH=. .venv/bin/python benchmarks/overload.py
	PYTHONPATH=. .venv/bin/python benchmarks/swapping.py
	PYTHONPATH=. .venv/bin/python benchmarks/page.py
	PYTHONPATH=.:export .venv/bin/python benchmarks/guard.py
	.venv-train/bin/python benchmarks/training.py
	.venv-train/bin/python benchmarks/solving.py
	.venv-train/bin/python benchmarks/sac_learner.py
	.venv-train/bin/python benchmarks/actors.py
	.venv-train/bin/python benchmarks/minitaur.py
	.venv-train/bin/python benchmarks/export.py

docs: setup  ## API pages in build/docs, from the docstrings of what users call
	PYTHONPATH=train:export .venv/bin/python docs/api/build.py build/docs

image:  ## the server's container image, with docker, podman or buildah (TARGET=train for the other one)
	k8s/build-image $(TARGET)

clean:  ## removes environments and caches; runs/ and models/ stay
	rm -rf .venv .venv-train .venv-kserve .venv-openpi .tools .peers build dist $(JS) clients/js/types
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

lock: | $(UV)  ## resolves the six requirements files in locks/ anew, with hashes
	# The tests' clients allow fewer versions of protobuf than the server does: the larger set comes first.
	$(LOCK) serve/pyproject.toml --extra otel --group serve/pyproject.toml:dev -o locks/serve-dev.txt
	$(LOCK) serve/pyproject.toml -c locks/serve-dev.txt -o locks/serve.txt
	$(LOCK) train/pyproject.toml export/pyproject.toml --extra pybullet -o locks/train.txt
	$(LOCK) train/pyproject.toml export/pyproject.toml $(WORLDS) --group train/pyproject.toml:dev \
		-c locks/train.txt -o locks/train-dev.txt
	printf '%s\n' 'kserve==0.21.*' 'gymnasium>=1.0' | $(LOCK) - -o locks/kserve.txt
	printf '%s\n' 'openpi-client==0.1.*' 'gymnasium>=1.0' | $(LOCK) - -o locks/openpi.txt

protos: setup  ## generates the stubs of clients/python/rlway_client/protos/*.proto anew, beside them
	.venv/bin/python clients/python/generate_protos.py
