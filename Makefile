# `make demo` shows the product on a local AWS region; `make test` proves it.
# Build output lies outside the tree, so that a fresh clone builds on what the last one built.

CACHE            ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mattermost-ha
export CARGO_TARGET_DIR ?= $(CACHE)/target
export VENV      ?= $(CACHE)/venv
BIN              := $(CARGO_TARGET_DIR)/debug
CARGO            ?= cargo

# Clippy compiles as rustc does and says more: with it as the compiler of our own crates one build serves
# the programs, the tests and the lints, and the AWS SDK is compiled once instead of compiled and checked.
CLIPPY           := $(shell clippy-driver --version >/dev/null 2>&1 && echo clippy-driver)
ifneq ($(CLIPPY),)
export RUSTC_WORKSPACE_WRAPPER := $(CLIPPY)
endif

# What the demo takes: TARBALL=file [TARBALL2=file] [LICENCE=file] for a real Mattermost, KEEP=1 to leave it running,
# RUNTIME=machine (root) to boot each node's systemd instead of running its agent as a process.
export TARBALL TARBALL2 LICENCE KEEP RUNTIME
# The release of Debian that machines and images are of: 12 or 13.
export DEBIAN
MACHINE          := $(filter machine,$(RUNTIME))
ifneq ($(filter-out process machine,$(RUNTIME)),)
$(error RUNTIME is `process` or `machine`, not `$(RUNTIME)`)
endif

.DEFAULT_GOAL := help
.PHONY: help setup build base-image demo image clean-debian test test-stages test-upgrades test-machines test-alone test-parts test-outside test-unit test-conformance test-image lint bench clean

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing (Debian packages, Python venv)
	@tests/setup.sh

build: setup ## Everything, once, in one profile
	$(CARGO) build --locked --workspace --all-targets

clean-debian: build ## Set-up, lints and demo in a Debian that was never used, DEBIAN=13 (root, network, nine minutes)
	@tests/clean-debian.sh $(or $(DEBIAN),13) $(BIN)

base-image: setup ## The Debian that the lab's machines boot (root, network, once)
	@tests/base-image.sh

demo: build $(if $(MACHINE),base-image) ## The whole product on a local AWS region, in five minutes
	@$(BIN)/demo --bin $(BIN) $(if $(TARBALL),--tarball $(TARBALL)) $(if $(TARBALL2),--tarball2 $(TARBALL2)) $(if $(LICENCE),--licence $(LICENCE)) $(if $(KEEP),--keep) $(if $(MACHINE),--machines "$$(tests/base-image.sh --path)")

image: build ## The node's image: `packer build packer/` against a local AWS region (root; DEBIAN=13)
	@$(BIN)/image --bin $(BIN)

test: build lint ## Lint, unit, store, lab, conformance, end to end
	@# The machines' tests say so when they are skipped for want of it.
	@[ "$$(id -u)" != 0 ] || tests/base-image.sh >/dev/null || true
	@echo "== tests: streams side by side, for most of them wait; each is printed when it ends"
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=target test-stages test-upgrades test-outside test-machines test-parts
	@$(MAKE) --no-print-directory test-alone demo

# Tests of the whole product by name: the first ones beside the others. What is neither is a part's.
STAGES           := converge stability moved
UPGRADES         := cutover stores licence
# Two thousand clients need the machine for themselves: what is measured is a second's worst.
ALONE            := drain
tests-below       = $(notdir $(basename $(wildcard $(1:=/*.rs))) $(patsubst %/main.rs,%,$(wildcard $(1:=/*/main.rs))))
WHOLE            := $(call tests-below,tests/e2e/tests)
ALL              := $(call tests-below,*/tests */*/tests)
TEST             := $(CARGO) test --locked --workspace

test-stages: ## The whole product on the lab
	$(TEST) $(STAGES:%=--test %)

test-upgrades: ## The whole product on the lab, from one release, store or licence to another
	$(TEST) $(UPGRADES:%=--test %)

test-machines: ## The whole product on the lab, on booted machines where they can run
	$(TEST) $(patsubst %,--test %,$(filter-out $(STAGES) $(UPGRADES) $(ALONE),$(WHOLE)))

test-alone: ## The whole product under two thousand clients
	$(TEST) $(ALONE:%=--test %)

test-parts: ## Agent, cloud and lab, each by itself, on a real Postgres
	$(TEST) $(patsubst %,--test %,$(sort $(filter-out $(WHOLE),$(ALL))))

test-outside: test-unit test-conformance test-image


test-unit: ## What needs no more than its own process
	$(TEST) --lib --bins
	$(TEST) --doc

test-conformance: ## The lab, judged by boto3, the AWS CLI and moto; policies, by policy_sentry and parliament
	LAB_BINARY=$(BIN)/lab $(VENV)/bin/python -m pytest -q tests/conformance

test-image:
	@$(BIN)/image --bin $(BIN) --skip

lint: setup ## fmt, clippy, cargo deny, systemd, packer
	$(CARGO) fmt --all --check
	@test -n "$(CLIPPY)" || { echo "clippy is missing: rustup component add clippy" >&2; exit 1; }
	@echo "== clippy"
	@tests/no-warnings.sh $(CARGO) build --locked --workspace --all-targets
	@tests/lint.sh

bench: build ## Numbers: the lab, the install, the agent's footprint, calls to AWS an hour
	$(CARGO) build --locked --profile node -p mattermost-agent
	$(CARGO) build --locked --release -p lab -p e2e --bin lab --bin bench
	@$(CARGO_TARGET_DIR)/release/bench --bin $(BIN)

clean: ## Remove build output, base images and the venv (not your stacks)
	rm -rf $(CARGO_TARGET_DIR) $(VENV) $(CACHE)/images
