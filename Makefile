# Every target that CI and the docs name. GO may be set to another toolchain.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/postern-mail/postern/internal/telemetry.Version=$(VERSION)
TOOL := $(GO) tool -modfile=tools/go.mod
T ?= 30s
D ?= all

.PHONY: build run test test-deps check race bench fuzz drill drill-build clean

build: ## bin/postern
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/postern ./cmd/postern

run: build ## the gateway on embedded defaults with a sample tenant
	bin/postern serve --demo

test-deps: ## Debian packages that the tests talk to
	./test/deps.sh

test: test-deps ## everything, drills in their short size included
	$(GO) vet ./...
	$(GO) test -shuffle=on -timeout 30m ./...

race: ## the same under the race detector
	$(GO) test -race -shuffle=on -timeout 60m ./...

check: ## format, vet, linters, generated files, bands
	$(GO) vet ./... && $(GO) vet -tags drill ./...
	@test -z "$$($(TOOL) gofumpt -l $$(git ls-files '*.go'))" || { $(TOOL) gofumpt -l $$(git ls-files '*.go'); exit 1; }
	$(TOOL) staticcheck ./...
	$(TOOL) golangci-lint run ./...
	$(GO) test -run 'TestLayers|TestFresh|TestCited' ./internal/...

bench: build ## Postern beside Postfix and the smtp-sink limit, in one run
	$(GO) test -run '^$$' -bench . -benchtime 1s ./internal/...
	$(GO) run ./bench -postern bin/postern

fuzz: ## every fuzz target for T (default 30s) each
	./test/fuzz.sh $(T)

drill-build:
	$(GO) build -tags drill -trimpath -ldflags '$(LDFLAGS)' -o bin/postern-drill ./cmd/postern

drill: drill-build ## full-size drills: make drill D=D21
	bin/postern-drill drill run $(D) --size full

clean:
	rm -rf bin
