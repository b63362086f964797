# SPDX-License-Identifier: BSD-3-Clause
# A thin face over meson: every target does its own set-up (tools/setup) and ends with a verdict.

export BUILD ?= build
export SHELL_IN_GUEST
export MORE
export FUZZ_SECONDS ?= 600
export SOAK_SECONDS ?= 600
PREFIX ?= /usr/local

.PHONY: all run run-vfs run-net check bench fuzz soak format install clean help

all:
	@tools/build $(BUILD)

run run-vfs run-net check bench fuzz soak:
	@tools/go $@

format:
	@tools/setup --quiet dev
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

install: all
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@meson install -C $(BUILD)

clean:
	rm -rf build build-* .cache/run

help:
	@echo 'make                        build uvfio (build/src/cli/uvfio)'
	@echo 'make run                    a stock VM owns an NVMe disk through uvfio, shown and checked'
	@echo 'make run SHELL_IN_GUEST=1   the same guest, with a shell on this terminal'
	@echo 'make run-vfs                two VMs at once, each with a virtual function of one NVMe'
	@echo 'make run-net                two VMs on one network card, and out through passt'
	@echo 'make check                  all tests, sanitizer builds included'
	@echo 'make check MORE=1            the same, with guests in more variants'
	@echo 'make bench                  each figure beside its floor and goal'
	@echo 'make fuzz                   FUZZ_SECONDS=600, shared by the fuzz targets'
	@echo 'make soak                   SOAK_SECONDS=600 of guests, resets and kills'
	@echo 'make format                 clang-format on every C file'
	@echo 'make install                PREFIX=/usr/local; DESTDIR is honoured'
	@echo 'make clean                  removes what was built; .cache keeps the guest kernel'
