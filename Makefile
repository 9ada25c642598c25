# The front door. Meson does the work in build/; `make help` lists what can be asked for.

BUILD = build
BUILD_ASAN = build-asan
BUILD_FUZZ = build-fuzz
FUZZ_SECONDS = 60
SOAK_SECONDS = 900
SOAK_OPTIONS =
DEMO_OPTIONS =
BENCH_OPTIONS = --write
SOURCES = $(shell git ls-files 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')
PYTHON = $(shell git ls-files '*.py'; git grep -lIE '^.!/usr/bin/python3')
SANITIZE = -Db_sanitize=address,undefined -Db_lundef=false

.PHONY: all deps demo test soak compatibility bench fuzz lint install clean help deps-build

all: deps-build ## Build the program: build/holdfast (default)
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

deps-build:
	@packaging/deps build

deps: ## Install what building and testing needs (apt)
	@packaging/deps build test

demo: all ## Replace certificates, relays, configuration and program under hundreds of live sessions
	@$(BUILD)/holdfast demo $(DEMO_OPTIONS)

test: deps ## Unit and end-to-end tests, plain and under ASan + UBSan
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@test -f $(BUILD_ASAN)/build.ninja || meson setup $(BUILD_ASAN) $(SANITIZE)
	@ninja -C $(BUILD)
	@ninja -C $(BUILD_ASAN)
	@tests/run $(BUILD) $(BUILD_ASAN)

soak: deps all ## Mixed clients through kills, reloads and upgrades, for SOAK_SECONDS
	@HOLDFAST=$(BUILD)/holdfast tests/soak/run --seconds $(SOAK_SECONDS) $(SOAK_OPTIONS)

compatibility: deps all ## Try the TLS libraries that are here; writes doc/compatibility.md
	@HOLDFAST=$(BUILD)/holdfast HOLDFAST_WRITE_COMPATIBILITY=1 /usr/bin/python3 -m pytest -q tests/e2e/test_compatibility.py

bench: all ## Measure beside nginx, HAProxy, hitch and stunnel
	@packaging/deps bench
	@bench/run $(BENCH_OPTIONS)

fuzz: deps ## Run each fuzz target for FUZZ_SECONDS
	@packaging/deps develop
	@CC=clang meson setup $(BUILD_FUZZ) -Dfuzz=true -Dtests=disabled -Db_lundef=false \
	    $(if $(wildcard $(BUILD_FUZZ)/build.ninja),--reconfigure)
	@ninja -C $(BUILD_FUZZ)
	@tests/fuzz/run $(BUILD_FUZZ) $(FUZZ_SECONDS)

lint: deps ## Format, static analysis (C and Python), order of the layers
	@packaging/deps develop
	@clang-format --dry-run -Werror $(SOURCES)
	@cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem --library=tests/cppcheck.cfg -D_GNU_SOURCE -I src src
	@/usr/bin/python3 -m pyflakes $(PYTHON)
	@tests/check-includes

install: all ## Install (DESTDIR is honoured)
	@meson install -C $(BUILD)

clean: ## Remove everything that was built
	@rm -rf $(BUILD) $(BUILD_ASAN) $(BUILD_FUZZ)

help: ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile
