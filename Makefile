# `make build` and `make test` are all that a newcomer needs. GO, FUZZTIME and
# BENCH can be set from outside.
GO       ?= go
FUZZTIME ?= 10s
BENCH    ?= .

LINT_VERSION := v2.15.0
LINT         := .tools/bin/golangci-lint-$(LINT_VERSION)

export GO FUZZTIME

.DEFAULT_GOAL := build
.PHONY: build setup test interop spire arch lint bench fuzz mutate ci clean

build: ## bin/cambist and its companions, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

setup: ## what the tests need and the machine lacks; nothing when all is there
	@scripts/setup.sh

test: setup ## every test, with the race detector and in random order
	$(GO) test -race -shuffle=on -timeout=15m ./...
	$(GO) -C tests/interop test -race -shuffle=on -timeout=10m ./...
	$(GO) -C tests/spire test -timeout=25m ./...

interop: setup ## only the tests against clients and verifiers of others
	$(GO) -C tests/interop test -count=1 -v ./...

spire: setup ## only the test against SPIRE
	$(GO) -C tests/spire test -count=1 -v -timeout=25m ./...

arch: ## floors, imports, budgets
	$(GO) test -count=1 ./tests/arch/

lint: $(LINT) ## go vet and the linters of .golangci.yml
	$(GO) vet ./...
	$(GO) -C tests/interop vet ./...
	$(GO) -C tests/spire vet ./...
	$(LINT) run ./...

bench: setup ## every benchmark, or those that BENCH names
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem ./...

fuzz: ## every fuzz target for FUZZTIME each
	@scripts/fuzz.sh

mutate: ## each check of Decide is disabled once, and a test must notice
	$(GO) run ./tests/mutate

ci: ## what a change must pass
	@.ci/run

clean:
	rm -rf bin .tools

# The name holds the version, so that a new version is a new file. staticcheck
# v0.8.2 is part of this golangci-lint.
$(LINT):
	GOBIN=$(CURDIR)/.tools/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv .tools/bin/golangci-lint $@
