# Every target may be run again and again, as root or as a user who may `sudo`.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
FUZZ_SECONDS ?= 60
ARGS ?=

.DEFAULT_GOAL := build
.PHONY: build demo test test-kernels bench fuzz lint setup clean

build: ## target/release/{weir,weir-init,weir-sidecar}
	@scripts/setup build
	cargo build --release --locked -p weir-cli -p weir-init -p weir-sidecar

demo: build ## a pod in a namespace, its traffic decoded: make demo ARGS=--help
	@scripts/setup demo
	$(ROOT) target/release/weir demo $(ARGS)

test: ## everything: setup, build, lint, tests; ends with "N passed, N failed, N skipped"
	@scripts/test

test-kernels: ## the compact suite under Linux 5.10, 6.1 and 6.12, emulated (docs/testing.md)
	@scripts/test-kernels

bench: build ## CPU and requests a second beside haproxy and Envoy: make bench ARGS=--help
	@scripts/setup demo bench
	cargo build --release --locked -p weir-bench
	$(ROOT) target/release/weir-bench $(ARGS)

fuzz: ## each fuzz target for FUZZ_SECONDS
	protocols/fuzz/run $(FUZZ_SECONDS)
	capture/fuzz/run $(FUZZ_SECONDS)

lint: ## formatting, clippy, licences
	@scripts/lint

setup: ## install what building, testing and the demo need, where it is missing
	@scripts/setup build demo test kernels

clean:
	cargo clean
