# `make demo` and `make test` each work alone on a fresh clone with Python, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-slow test-faults soak test-graphs lint types format protos docs docs-serve wheel-test peers s3 k8s-validate k8s-dry-run alerts lock pin-base wheelhouse images sbom scan image-test clean

help:  ## show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

# Stamps are older than pyproject.toml when the dependencies may have changed.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[server]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## convert, hot-load, stream and swap the golden digits
	$(BIN)/python examples/digits_demo.py

serve: $(VENV)/.installed  ## run both services on the default ports until Ctrl-C
	@$(BIN)/pbexport serve --store ./models --checkpoint-root tests/golden/digits & exporter=$$!; \
	$(BIN)/pbserve serve --store ./models & inference=$$!; \
	trap : INT; trap 'kill $$exporter $$inference' TERM; wait; wait

# A file's tests stay together, and with them what they share; more than four processes would
# need more than 8 GB.
test: $(VENV)/.installed-dev  ## every test that takes seconds
	$(BIN)/pytest -m 'not slow and not faults' --durations 15 --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.installed-dev  ## the others
	$(BIN)/pytest -m 'slow and not faults'

test-faults: $(VENV)/.installed-dev  ## break real processes on purpose, and look what is left
	$(BIN)/pytest -m faults tests/faults --durations 0

MINUTES ?= 30
soak: $(VENV)/.installed-dev  ## load and swaps for MINUTES, and what grows meanwhile
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

test-graphs: $(VENV)/.installed-dev  ## thousands of random training graphs, for an hour or two
	RANDOM_GRAPHS=3000 $(BIN)/pytest tests/exporter_service/meta_graph/test_random_graphs.py \
	  --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed-dev  ## ruff, who imports whom, buf on the protos, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python protos/generate.py --describe $(VENV)/protos.binpb
	$(BIN)/buf lint $(VENV)/protos.binpb --config protos/buf.yaml
	$(BIN)/hadolint deploy/docker/Containerfile

types: $(VENV)/.installed-dev  ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## let ruff write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/.installed-dev  ## regenerate the stubs
	$(BIN)/python protos/generate.py

# Material announces its end of life on each build; docs/adr has what follows from it.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.installed-dev  ## the documentation into site/, strict, links checked
	$(BIN)/mkdocs build --strict
	@echo 'open site/index.html; its search needs a server: make docs-serve'

docs-serve: export NO_MKDOCS_2_WARNING := 1
docs-serve: $(VENV)/.installed-dev  ## the documentation on 127.0.0.1:8000, rebuilt on changes
	$(BIN)/mkdocs serve --no-strict

clean:  ## remove what make made
	rm -rf $(VENV) $(WHEEL_VENV) $(PEERS_VENV) $(CHECKOV_VENV) $(IMAGE_TOOLS) deploy/docker/wheelhouse/*.whl dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What a user gets: the wheel, with the newest dependencies, away from this checkout's packages.
WHEEL_VENV := .venv-wheel
wheel-test:  ## build the wheel, install it alone, and run the demo with it
	rm -rf dist $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	$(WHEEL_VENV)/bin/pip install --quiet "$$(echo dist/pbserve-*.whl)[server]"
	$(WHEEL_VENV)/bin/pip list 2>/dev/null | grep -E '^(protobuf|grpcio|tensorflow|numpy) '
	$(WHEEL_VENV)/bin/python examples/digits_demo.py

# Clients of others that do not go into our environment: KServe's stubs clash with tritonclient's in
# one process. tests/e2e/test_peers.py runs them when they are there.
PEERS_VENV := .venv-peers
peers:  ## install KServe's client and perf_analyzer for the tests
	test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip install --quiet 'kserve>=0.15'
	$(PEERS_VENV)/bin/pip install --quiet 'perf-analyzer>=2.60' || \
		echo 'perf_analyzer has no release for this machine (it needs glibc 2.38): its test skips'

s3: $(VENV)/.installed-dev  ## run a real S3 server (Ceph's gateway) on loopback until Ctrl-C
	@$(BIN)/python -m tests.support.rados_gateway

# Checkov is large and holds old versions of what others need, so it has an environment of its own.
CHECKOV_VENV := .venv-checkov
$(CHECKOV_VENV)/bin/checkov:
	$(PYTHON) -m venv $(CHECKOV_VENV)
	$(CHECKOV_VENV)/bin/pip install --quiet 'checkov>=3.2'

k8s-validate: $(VENV)/.installed-dev $(CHECKOV_VENV)/bin/checkov  ## build and check all of deploy/k8s
	$(BIN)/pytest tests/deploy

alerts: $(VENV)/.installed-dev  ## write rules and alerts as the object of the Prometheus operator
	$(BIN)/python -m deploy.observability.prometheus_rule

k8s-dry-run: $(VENV)/.installed-dev  ## have the API server of KUBECONFIG try all of deploy/k8s
	KUBECTL=$(abspath $(BIN)/kubectl) deploy/k8s/dry-run

# What images are made of is pinned, fetched once, and put together without a network. The base is the
# Containerfile's, unless BASE names another one.
ENGINE ?= docker
REGISTRY ?= pbserve.invalid
VARIANT ?= cpu
MACHINE ?= x86_64
PLATFORM = linux/$(if $(filter aarch64,$(MACHINE)),arm64,amd64)
BASE ?=
BASE_PYTHON ?= 3.12
IMAGE_VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' service_kit/__init__.py)
IMAGE_TAG = $(IMAGE_VERSION)$(if $(filter-out cpu,$(VARIANT)),-$(VARIANT))
# What is built, and what it is called.
BUILT = exporter=exporter:$(IMAGE_TAG) inference=inference:$(IMAGE_TAG) \
	$(if $(filter cpu,$(VARIANT)),inference-openvino=inference:$(IMAGE_VERSION)-openvino)
lock: $(VENV)/.installed-dev  ## pin what the images hold, and list it; UPGRADE=--upgrade: newest releases
	$(BIN)/python -m deploy.docker.lock $(UPGRADE)
	$(MAKE) sbom

pin-base: $(VENV)/.installed-dev  ## write the digest of the images' base behind its tag
	$(BIN)/python -m deploy.docker.base

wheelhouse: $(VENV)/.installed-dev  ## fetch what the locks name (VARIANT, BASE_PYTHON, MACHINE)
	$(BIN)/python -m deploy.docker.wheelhouse --variant $(VARIANT) --python $(BASE_PYTHON) --machine $(MACHINE)

images: wheelhouse  ## build the images (ENGINE, REGISTRY, VARIANT, MACHINE, BASE)
	-@test -n "$(BASE)" || $(BIN)/python -m deploy.docker.base --check
	for built in $(BUILT); do \
		$(ENGINE) build --file deploy/docker/Containerfile --target $${built%%=*} --platform $(PLATFORM) \
			$(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VARIANT=$(VARIANT) --build-arg PIP_NO_INDEX=1 \
			--build-arg VERSION=$(IMAGE_VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
			--tag $(REGISTRY)/$${built#*=} . || exit; \
	done

# Tools of their own, with dependencies of their own.
IMAGE_TOOLS := .venv-images
$(IMAGE_TOOLS)/bin/pip-audit:
	$(PYTHON) -m venv $(IMAGE_TOOLS)
	$(IMAGE_TOOLS)/bin/pip install --quiet 'cyclonedx-bom>=7.5' 'pip-audit>=2.10'

sbom: $(VENV)/.installed-dev $(IMAGE_TOOLS)/bin/pip-audit  ## list what is in each image, as CycloneDX, into dist/sbom
	$(BIN)/python -m deploy.docker.sbom --tool $(IMAGE_TOOLS)/bin/cyclonedx-py --python $(BASE_PYTHON) --machine $(MACHINE)

# What cannot be looked up is a failure: it would else pass for sound.
SCANNER ?= trivy
scan: $(IMAGE_TOOLS)/bin/pip-audit  ## look for known vulnerabilities: the locks, and with SCANNER the images
	for lock in deploy/docker/requirements-*.txt; do \
		$(IMAGE_TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
			--requirement $$lock || exit; \
	done
	@if command -v $(SCANNER) > /dev/null; then for built in $(BUILT); do \
		$(SCANNER) image --exit-code 1 --ignore-unfixed $(REGISTRY)/$${built#*=} || exit; done; \
	else echo '!!! NOT SCANNED: the packages of Debian in the images, for there is no $(SCANNER)' >&2; exit 1; fi

image-test: VARIANT := cpu
image-test: BASE_PYTHON := 3.13
image-test: MACHINE := x86_64
image-test: wheelhouse  ## build both with buildah on a Debian from debootstrap, and run them (root)
	$(BIN)/python -m deploy.docker.image_test
