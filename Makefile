# Build, test and install tcplimbo. `make help` lists the targets.
#
# run, build and test need Go only: what bpf2go makes is committed. The rest says what it misses.

PREFIX ?= /usr/local
DESTDIR ?=
# Arguments of run and bench: make run FLAGS="--close-wait 10s -o console".
FLAGS ?=
# How long each fuzz target runs.
FUZZTIME ?= 60s
# How long chaos goes on, and what it draws from: 0 is each fault once, a new seed.
CHAOSTIME ?= 0
SEED ?= 0
# The kernels of test-kernels, by Debian's suites or by version.
KERNELS ?= bullseye bookworm trixie sid
# With 1, a test that needs root or BPF and has it not fails instead of skipping, and so does lint
# without its tools. CI sets it.
REQUIRE_BPF ?=
export REQUIRE_BPF

# The committed object comes from exactly this clang: another one makes other bytes.
CLANG_VERSION := 16
export BPF_CLANG := clang-$(CLANG_VERSION)
export BPF_STRIP := llvm-strip-$(CLANG_VERSION)
CLANG_FORMAT := clang-format-$(CLANG_VERSION)

GO := go
GOFUMPT := $(GO) run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
# -buildvcs=false: the version is given here, and a work tree of another user is no reason to fail.
BINARY := bin/tcplimbo
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	-ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)'

# The race detector needs a C compiler; testing must not.
CC_FOUND := $(shell command -v $$($(GO) env CC) 2>/dev/null)
TEST := $(if $(CC_FOUND),CGO_ENABLED=1,CGO_ENABLED=0) $(GO) test $(if $(CC_FOUND),-race) -count=1 -timeout 40m

# C that is ours, scripts, and the object's sources; headers/bpf is libbpf's.
C_FILES := $(wildcard bpf/*.h bpf/*.c headers/*.h)
SCRIPTS := $(addprefix .ci/,run vulnerabilities reproducible notices corpus) $(filter-out %.md,$(wildcard .ci/kernels/*)) \
	$(wildcard headers/*.sh) deploy/twice deploy/kubernetes/render deploy/test/parts deploy/test/boot-systemd $(wildcard deploy/deb/*)
GENERATE_INPUT := bpf headers tracer go.mod go.sum tools.go

.DEFAULT_GOAL := help
include deploy/deploy.mk
# Tests of one target would disturb those of another.
.NOTPARALLEL:
.PHONY: help run build test test-parts test-whole test-root test-kernels verifier-budget chaos bench generate generate-check btf lint lint-go \
	lint-c lint-scripts lint-words vuln reproducible notices fmt fuzz install clean need-clang

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the daemon, with sudo if need be; FLAGS="--close-wait 10s"
	@if [ "$$(id -u)" = 0 ]; then exec bin/tcplimbo run $(FLAGS); \
	elif command -v sudo >/dev/null; then \
		echo 'make run: loading BPF programs needs root: running bin/tcplimbo with sudo' >&2; \
		exec sudo bin/tcplimbo run $(FLAGS); \
	else \
		echo 'make run: bin/tcplimbo is built, but loading BPF programs needs root, and there is no sudo: become root and run it again' >&2; \
		exit 77; \
	fi

build: ## build bin/tcplimbo, one static file
	$(BUILD) -o $(BINARY) ./cmd/tcplimbo

test: test-parts test-whole ## run all tests; without root, those that need it skip and say so

test-parts:
	@[ -n "$(CC_FOUND)" ] || echo 'make test: no C compiler, so no race detector' >&2
	$(TEST) $$($(GO) list ./... | grep -v /cmd/tcplimbo/e2e)

# These measure how soon a finding comes out: nothing runs beside them. Those that do not, and mostly
# wait, run side by side at the end (sideBySide).
test-whole:
	$(TEST) -p 1 -parallel 3 ./cmd/tcplimbo/e2e/...

test-root: REQUIRE_BPF := 1
test-root: TEST += $(if $(filter-out 0,$(shell id -u)),-exec 'sudo -E env PATH=$(PATH)')
test-root: test ## the same as root, by sudo if need be; none may skip for want of it

# What no kernel changes was tested before. Without KVM a guest is ten times slower than its host.
# FLAGS=--write puts the table into docs/kernels.md.
test-kernels: build ## run tests, scenarios and faults on Debian's kernels in QEMU, and print a table; KERNELS="bullseye sid"
	.ci/kernels/fetch $(KERNELS)
	CGO_ENABLED=0 $(GO) test -c -o bin/tracer.test ./tracer
	CGO_ENABLED=0 $(GO) test -c -o bin/e2e.test ./cmd/tcplimbo/e2e
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/limbochaos ./cmd/limbochaos
	.ci/kernels/matrix $(FLAGS) $(KERNELS)

verifier-budget: ## measure anew what the programs cost the verifier on each kernel, as root
	.ci/kernels/fetch $(KERNELS)
	CGO_ENABLED=0 $(GO) test -c -o bin/tracer.test ./tracer
	.ci/kernels/budget $(KERNELS)

chaos: build ## do faults to a running agent and compare with the workload's own log, as root; CHAOSTIME=10m SEED=7
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/limbochaos ./cmd/limbochaos
	bin/limbochaos --tcplimbo $(BINARY) --time $(CHAOSTIME) --seed $(SEED) $(FLAGS)

bench: ## measure the budgets, as root; FLAGS="-quick"
	$(GO) run ./cmd/limbobench $(FLAGS)

generate: need-clang ## compile bpf/ and make its Go types
	$(GO) generate ./tracer

generate-check: need-clang ## fail if what is committed is not what generate makes
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	cp -R $(GENERATE_INPUT) "$$tmp" && (cd "$$tmp" && $(GO) generate ./tracer) && \
	for made in "$$tmp"/tracer/*_bpfel.*; do \
		cmp "$$made" "tracer/$${made##*/}" || { echo 'generate-check: run make generate and commit' >&2; exit 1; }; \
	done

btf: ## trim the kernels' type information anew for what the BPF object reads
	.ci/kernels/fetch
	.ci/kernels/btf --out tracer/testdata/btf tracer/*_bpfel.o

need-clang:
	@for tool in $(BPF_CLANG) $(BPF_STRIP); do \
		command -v $$tool >/dev/null || { \
			echo "make: $$tool is missing: apt-get install clang-$(CLANG_VERSION) llvm-$(CLANG_VERSION)" >&2; exit 1; }; \
	done

lint: lint-go lint-c lint-scripts lint-words ## check style and likely mistakes

lint-go:
	@unformatted=$$($(GOFUMPT) -l .) || exit; \
	[ -z "$$unformatted" ] || { echo "not formatted, run make fmt:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) -checks all ./...

# missing TOOL,PACKAGE: what to do where an optional tool is not installed.
missing = echo 'make lint: $(1) is missing (apt-get install $(2)), its part is left out' >&2; [ "$(REQUIRE_BPF)" != 1 ]

lint-c:
	@if command -v $(CLANG_FORMAT) >/dev/null; then set -x; $(CLANG_FORMAT) --dry-run -Werror $(C_FILES); \
	else $(call missing,$(CLANG_FORMAT),$(CLANG_FORMAT)); fi

lint-scripts:
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SCRIPTS); \
	else $(call missing,shellcheck,shellcheck); fi

# Errors say what was being done ("opening log file: ..."), and who does what is to be done.
lint-words:
	@! grep -rnEi --include='*.go' '(Errorf|errors\.New|Fatalf?)\([^"]*"(failed|unable|could not|cannot) [a-z]' cmd tracer userspace || \
		{ echo 'make lint: begin an error with what was being done: "opening log file: %w"' >&2; exit 1; }
	@! grep -rnE --include='*.go' --include='*.[ch]' '\b(TODO|FIXME|XXX)\b([^(]|$$)' bpf cmd tracer userspace headers/*.h || \
		{ echo 'make lint: a TODO names its owner: TODO(name)' >&2; exit 1; }

vuln: ## look for known vulnerabilities; needs vuln.go.dev
	.ci/vulnerabilities

reproducible: ## build twice, from other folders and caches, and compare
	.ci/reproducible

notices: ## write bin/THIRD-PARTY-NOTICES, which goes where the binary goes
	@mkdir -p bin
	.ci/notices >bin/THIRD-PARTY-NOTICES

fmt: ## format Go and C
	$(GOFUMPT) -w .
	$(CLANG_FORMAT) -i $(C_FILES)

fuzz: ## run every fuzz target for FUZZTIME; .ci/corpus keeps what it found
	@grep -rlE --include='*_test.go' '^func Fuzz' cmd tracer userspace | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$${file%/*} $$target"; \
			$(GO) test "./$${file%/*}" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit; \
		done; \
	done

install: build ## install binary, completions and man page under DESTDIR and PREFIX
	install -D -m 755 bin/tcplimbo $(DESTDIR)$(PREFIX)/bin/tcplimbo
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/tcplimbo man >$(DESTDIR)$(PREFIX)/share/man/man1/tcplimbo.1
	bin/tcplimbo completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tcplimbo
	bin/tcplimbo completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tcplimbo
	bin/tcplimbo completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tcplimbo.fish

clean: ## remove what was built here
	rm -rf bin
