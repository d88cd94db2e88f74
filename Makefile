# The front door; meson and ninja do the work.  `make help` says what there is.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
PYTHON  ?= /usr/bin/python3
SECONDS ?= 120

MAKEFLAGS += --no-print-directory
.PHONY: all help deps build demo test test-long bench sim lab lab-quick lab-deps fuzz lint install clean

all: build

help:
	@echo 'make deps        install through apt what is missing for a build, saying so first'
	@echo 'make build       $(BUILD)/src/cmd/weft: optimized, with debug symbols'
	@echo 'make demo        one tree to eight machines, central and hybrid (DIR=... for your own)'
	@echo 'make test        everything under sanitizers; test-long: at full size'
	@echo 'make bench       beside nginx, rsync and sha256sum; and a swarm'
	@echo 'make lab         beside aria2, libtorrent, ... on shaped networks, into docs/benchmarks.md (root; some two hours);'
	@echo '                 lab-quick: five minutes, printed only; lab-deps: install what they are measured against'
	@echo 'make sim         the swarm on simulated networks (ARGS="--seed 2 4x12" for one of them)'
	@echo 'make fuzz        each fuzz target for SECONDS=$(SECONDS) (TARGETS="frame message" for some)'
	@echo 'make lint        layers, names, format, documents, and the longest functions'
	@echo 'make install     to PREFIX=$(PREFIX), below DESTDIR if that is given'
	@echo 'make clean       remove what was built'

deps:
	@tools/deps.sh build

$(BUILD)/build.ninja:
	meson setup $(BUILD) --buildtype=release -Ddebug=true -Dtests=false --prefix=$(PREFIX)

build: $(BUILD)/build.ninja
	ninja -C $(BUILD)

demo: deps
	@$(MAKE) build
	$(PYTHON) tools/demo.py $(BUILD)/src/cmd/weft $(DIR)

test:
	@tools/deps.sh build test
	@$(PYTHON) tools/run_tests.py

test-long:
	@tools/deps.sh build test
	@WEFT_LONG=1 $(PYTHON) tools/run_tests.py

bench:
	@tools/deps.sh build bench
	@$(MAKE) build
	$(PYTHON) bench/run.py $(BUILD)/src/cmd/weft $(ARGS)

lab-deps:
	@tools/deps.sh build lab

lab: lab-deps
	@$(MAKE) build
	$(PYTHON) bench/lab/lab.py table --weft $(BUILD)/src/cmd/weft $(ARGS)

lab-quick: lab-deps
	@$(MAKE) build
	$(PYTHON) bench/lab/lab.py table --quick --weft $(BUILD)/src/cmd/weft $(ARGS)

sim: build
	$(BUILD)/bench/sim/weft-sim $(ARGS)

build-fuzz/build.ninja:
	CC=clang meson setup build-fuzz -Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false

fuzz:
	@tools/deps.sh build test
	@$(MAKE) build-fuzz/build.ninja
	ninja -C build-fuzz
	fuzz/run.sh -j $$(nproc) -s $(SECONDS) -p $(SECONDS) build-fuzz $(TARGETS)

lint: build
	meson test -C $(BUILD) --no-rebuild --suite style --print-errorlogs

install: build
	meson configure $(BUILD) -Dprefix=$(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-test build-tsan build-fuzz
