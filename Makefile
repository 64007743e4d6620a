# The commands of this project. Everything happens in .venv; nothing else on the machine changes, but for `make tools`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MINUTES ?= 5
VECTORS ?= build/vectors
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TOOLS := docker-registry etcd-server skopeo umoci mmdebstrap strace libarchive-tools openssl softhsm2 libfuse2 chromium

.PHONY: demo test fast check format bench fuzz sweep plug-pull tools kube docs vectors clean
# Kubernetes and Helm for tests; the versions are also in tests/kube/go.mod.
KUBE_VERSION := -X k8s.io/component-base/version.gitVersion=v1.33.4 -X k8s.io/component-base/version.gitMajor=1 \
  -X k8s.io/component-base/version.gitMinor=33
HELM := helm.sh/helm/v3/cmd/helm@v3.18.6
HELM_VERSION := -X helm.sh/helm/v3/internal/version.version=v3.18.6

demo: $(STAMP)  ## the whole loop on a real product; leaves ./demo behind to play with
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo.py demo

test: $(STAMP)  ## all tests: the fast suite first
	$(BIN)/pytest -n $(JOBS) -m "not slow"
	$(BIN)/pytest -n $(JOBS) -m slow

fast: $(STAMP)
	$(BIN)/pytest -n $(JOBS) -m "not slow"

check: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## speed, as ratios against public tools in the same run
	$(BIN)/python -m tests.bench

fuzz: $(STAMP)  ## coverage-guided fuzzing of archive, document, envelope and kept-state readers, MINUTES each; keeps what it finds
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	for target in archive document envelope kept; do $(BIN)/python -m tests.fuzz $$target $(MINUTES) || exit 1; done

sweep: $(STAMP)  ## every fault at every call that changes a file, and a second one in each recovery; about half an hour
	$(BIN)/python -m tests.faults.sweep

plug-pull: $(STAMP)  ## pulls the plug of a site 200 times, and some of what was not synced is lost each time
	$(BIN)/python -m tests.faults.plug_pull $(PULLS) $(SEED)

docs: $(STAMP)  ## write docs/cli.md and the drawings from the program
	$(BIN)/python -m tests.docs --write

vectors: $(STAMP)  ## write the test vectors as plain files into VECTORS, for verifiers in other languages
	$(BIN)/python -m tests.vectors.published $(VECTORS)

tools:  ## Debian packages that tests of real parts use; tests without their tool are skipped by its name
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $(TOOLS)
	if command -v go >/dev/null; then mkdir -p .cache && cd tests/referrers_registry && \
	  go build -o ../../.cache/referrers-registry . || echo "no registry with the referrers API; its tests are skipped"; fi
	if command -v npm >/dev/null; then mkdir -p .cache/npm && cp tests/interop/npm/package*.json .cache/npm/ && \
	  npm ci --prefix .cache/npm --no-audit --no-fund --ignore-scripts >/dev/null \
	  || echo "no @sigstore/verify; its tests are skipped"; fi

kube:  ## API server, controller manager and Helm for tests, into .cache/kube; needs go, and 10 minutes the first time
	if command -v go >/dev/null; then mkdir -p .cache/kube && \
	  (cd tests/kube && go build -trimpath -ldflags "-s -w $(KUBE_VERSION)" -o ../../.cache/kube/kube .) && \
	  GOBIN="$(CURDIR)/.cache/kube" go install -trimpath -ldflags "-s -w $(HELM_VERSION)" $(HELM) \
	  || echo "no control plane of Kubernetes; its tests are skipped"; else echo "make kube needs go"; fi

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo .cache build *.egg-info
