#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`make soak`: guest tests, storms (tests/soak) and 1,000 rounds of 64 owners of VFs (tests/unit) in turn for
SOAK_SECONDS; stops at the first failure. BUILD is the build directory: one with sanitizers serves as well.

A storm has a seed, which is shown: SOAK_SEED repeats it.
"""

import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from ui import Failure, Ui  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.environ.get("BUILD") or "build"
SEED = int(os.environ.get("SOAK_SEED") or 0)
STORM, STORM_SECONDS, STORM_PHASES = "storm", 120, 2
OWNERS, OWNERS_ROUNDS = "vf_owners", 1000
TESTS = (STORM, "io", "rebind", "kill", OWNERS, STORM, "reboot", "io_mmio_trap", "qemu_img", "dpdk", "rogue")


def guest_test(name):
    rc = subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--suite", "guest",
                         "--logbase", "soak", "--print-errorlogs", name], cwd=ROOT,
                        stdout=subprocess.DEVNULL).returncode
    return rc == 0, f"see {BUILD}/meson-logs/soak.txt"


def storm(seed):
    build = os.path.join(ROOT, BUILD)
    log = os.path.join(build, "meson-logs", "storm.txt")
    with open(log, "wb") as f:
        rc = subprocess.run(
            [sys.executable, os.path.join(ROOT, "tests", "soak", "test_storm.py"), "--uvfio",
             os.path.join(build, "src", "cli", "uvfio"), "--hostile",
             os.path.join(build, "tests", "soak", "hostile"), "--helpers",
             os.path.join(build, "tests", "guest"), "--guest", "--seconds", str(STORM_SECONDS),
             "--phases", str(STORM_PHASES), "--seed", str(seed)], stdout=f).returncode
    return rc == 0, f"see {BUILD}/meson-logs/storm.txt; SOAK_SEED={seed} repeats it"


def owners():
    log = os.path.join(BUILD, "meson-logs", "vf_owners.txt")
    with open(os.path.join(ROOT, log), "wb") as f:
        rc = subprocess.run([os.path.join(ROOT, BUILD, "tests", "unit", "test_vf_owners")],
                            env=dict(os.environ, UVFIO_VF_ROUNDS=str(OWNERS_ROUNDS)),
                            stdout=f, stderr=subprocess.STDOUT).returncode
    return rc == 0, f"see {log}"


def run_one(name, seed):
    if name == STORM:
        return storm(seed)
    return owners() if name == OWNERS else guest_test(name)


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
        ui.step("Guests and storms, until the time is over")
        while time.time() < end:
            name = TESTS[rounds % len(TESTS)]
            seed = SEED or random.randrange(1, 1 << 31)
            before = time.time()
            good, remedy = run_one(name, seed)
            rounds += 1
            shown = f"{name} {seed}" if name == STORM else name
            if not ui.check(good, f"{rounds}: {shown}", f"{time.time() - before:.0f} s"):
                raise Failure(f"{shown} failed in round {rounds}", remedy)
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
