# kindred: the two commands are `make demo` and `make test`; `make help` lists the others.
PRESET ?= release
BUILD := build/$(PRESET)
DATA ?=
WEIGHTS ?=
TRAIN ?=
SECONDS ?=
ROUNDS ?=

.PHONY: all help deps configure build test demo containers docs format lint asan tsan coverage crash fuzz soak clean

all: build

help:
	@echo "make            build into $(BUILD) (programs in $(BUILD)/bin)"
	@echo "make demo       the main job, from packages to report [DATA=DIR] [WEIGHTS=FILE]"
	@echo "make test       build and run every test"
	@echo "make containers  the images, the main job through them, each service killed meanwhile"
	@echo "                [DATA=DIR] [WEIGHTS=FILE] [TRAIN=OPTIONS of kindred train]; needs Docker and compose"
	@echo "make deps       install missing packages"
	@echo "make docs       write docs/protos.md anew from the protos' comments"
	@echo "make format     format the sources; make lint checks format and runs clang-tidy"
	@echo "make asan       tests under AddressSanitizer; make tsan, tests labelled threads"
	@echo "make coverage   which lines of lib/ the tests run"
	@echo "make bench-embedder  the embedder under load beside LitServe [FULL=1] [DATA=DIR] [PRECISION=bfloat16]"
	@echo "make bench-eval  the metrics beside pytorch-metric-learning [FULL=1]"
	@echo "make bench-image  photographs to model input beside torchvision and Pillow [FULL=1] [DATA=DIR]"
	@echo "make bench-index  kindred index beside PyTorch and FAISS [FULL=1] [DATA=DIR]"
	@echo "make bench-nn   lib/nn beside PyTorch, ONNX Runtime and OpenVINO [FULL=1: training steps too]"
	@echo "make bench-rpc  lib/rpc beside gRPC's C++ server [FULL=1]"
	@echo "make bench-search  the indexer over gRPC under load, alone and beside upserts [FULL=1]"
	@echo "make bench-train  training beside a PyTorch loop [FULL=1] [DATA=DIR] [NORM=batch]"
	@echo "make bench-vector  exact and approximate search beside FAISS, usearch and hnswlib [FULL=1]"
	@echo "make crash      kill -9 in the middle of writing, ROUNDS=200 times"
	@echo "make fuzz       each fuzzer of tests/fuzz for SECONDS=600"
	@echo "make soak       a mixed load on the embedder for SECONDS=1800: no more memory or descriptors [DATA=DIR]"

deps:
	tools/deps.sh

configure: deps
	cmake --preset $(PRESET)

build: configure
	cmake --build --preset $(PRESET)

test: build
	ctest --preset $(PRESET)

demo: build
	unset KINDRED_GATEWAY && tools/demo.sh "$(BUILD)/bin" "$(DATA)" "$(WEIGHTS)"

docs: deps
	tools/docs/protos.py

containers: build
	KINDRED_BIN="$(abspath $(BUILD)/bin)" deploy/containers.py --data "$(DATA)" --weights "$(WEIGHTS)" $(TRAIN)

format:
	tools/format.sh

lint:
	tools/format.sh --check
	tools/tidy.sh $(BUILD)

asan tsan:
	$(MAKE) PRESET=$@ test

# The benchmark of a room, bench/ROOM: FULL=1 takes longer.
bench-%:
	tools/deps.sh --bench
	cmake --preset release -DKINDRED_BENCH=ON
	cmake --build --preset release --target bench_$*
	/usr/bin/python3 bench/$*/run.py $(BUILD)/bin

bench-index soak:
	tools/deps.sh --bench
	cmake --preset release -DKINDRED_BENCH=ON
	cmake --build --preset release --target bench_embedder
	/usr/bin/python3 bench/embedder/$(@:bench-%=%).py $(BUILD)/bin $(if $(filter soak,$@),$(or $(SECONDS),1800))

coverage:
	tools/deps.sh --coverage
	tools/coverage.sh -LE shared

crash:
	tools/deps.sh
	cmake --preset $(PRESET)
	cmake --build --preset $(PRESET) --target test_indexer_crash
	cd $(BUILD) && KINDRED_CRASH_ROUNDS=$(or $(ROUNDS),200) bin/test_indexer_crash

fuzz:
	tools/deps.sh --fuzz
	cmake --preset fuzz
	cmake --build --preset fuzz
	tools/fuzz.sh $(or $(SECONDS),600)

clean:
	rm -rf build
