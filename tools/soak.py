#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`make soak`: the guest tests over and over for SOAK_SECONDS; stops at the first failure."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from ui import Failure, Ui  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.environ.get("BUILD") or "build"
TESTS = ("io", "rebind", "kill", "reboot", "io_mmio_trap", "qemu_img", "dpdk")


def main():
    ui = Ui("make soak", int(os.environ.get("UVFIO_STEPS", 4)), first=2)
    end = time.time() + int(os.environ.get("SOAK_SECONDS") or 600)
    rounds = 0
    try:
        ui.step("Debian's cloud kernel for the guests")
        kernel.ensure_kernel(ui)
        ui.step("Build")
        if subprocess.run([os.path.join(ROOT, "tools", "build"), BUILD], cwd=ROOT).returncode:
            raise Failure("the build failed, see above")
        ui.step("Guests, until the time is over")
        while time.time() < end:
            name = TESTS[rounds % len(TESTS)]
            before = time.time()
            rc = subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--suite", "guest",
                                 "--logbase", "soak", "--print-errorlogs", name], cwd=ROOT,
                                stdout=subprocess.DEVNULL).returncode
            rounds += 1
            if not ui.check(rc == 0, f"{rounds}: {name}", f"{time.time() - before:.0f} s"):
                raise Failure(f"{name} failed in round {rounds}",
                              f"see {BUILD}/meson-logs/soak.txt")
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
