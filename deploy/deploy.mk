# Releases: image and packages, the files under deploy/, and their tests. Included by the Makefile.

DIST ?= dist
COMMIT_TIME := $(shell git log -1 --format=%ct 2>/dev/null)
HELM_VERSION := v3.22.0
# Caches what takes long to build; nothing of it is committed.
TOOLS := $(CURDIR)/.cache/bin
HELM := $(TOOLS)/helm-$(HELM_VERSION)

.PHONY: image package package-check binaries manifests test-deploy

binaries:
	GOOS=linux GOARCH=amd64 $(BUILD) -o bin/linux-amd64/tcplimbo ./cmd/tcplimbo
	GOOS=linux GOARCH=arm64 $(BUILD) -o bin/linux-arm64/tcplimbo ./cmd/tcplimbo

PACK = cd deploy/pack && $(GO) run . -root $(CURDIR) -binaries $(CURDIR)/bin -out $(abspath $(DIST)) \
	-version '$(VERSION)' -commit '$(COMMIT)' -epoch '$(COMMIT_TIME)'

image: binaries ## write a container image for amd64 and arm64 to dist/, no Docker needed
	$(PACK) image

package: binaries ## write .deb, .tar.gz, chart, SBOM and SHA256SUMS to dist/
	$(PACK) package

# From another place, with another umask and time zone; with FULL=1 also with an empty compiler cache, which takes minutes.
package-check: ## make image and packages twice, and fail if they differ
	deploy/twice $(if $(FULL),--cold)

$(HELM):
	GOBIN=$(TOOLS) $(GO) install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	mv $(TOOLS)/helm $@

manifests: $(HELM) ## make the plain manifest and the chart's copies of rules and dashboard
	cp deploy/prometheus/tcplimbo.rules.yaml deploy/grafana/tcplimbo.json deploy/helm/tcplimbo/files/
	deploy/kubernetes/render $(HELM) >deploy/kubernetes/tcplimbo.yaml

# In bin/dist, not to mix with what is released. Packages of all versions would be tested, so old ones go.
# Twenty minutes are for a machine that has to build the OpenTelemetry Collector first.
test-deploy: $(HELM) ## test chart, manifests, rules, dashboard, unit, packages, image and pipelines with real parts, as root
	rm -rf bin/dist
	$(MAKE) --no-print-directory package image DIST=bin/dist
	deploy/test/parts $(CURDIR)/.cache/parts
	cd deploy/pack && $(GO) vet ./... && $(GO) test -count=1 ./...
	cd deploy/test && $(GO) vet ./... && DIST=$(CURDIR)/bin/dist PARTS=$(CURDIR)/.cache/parts HELM=$(HELM) \
		$(GO) test -count=1 -timeout 20m ./...
