#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Stock DPDK 22.11: its own test of DMA devices, on its driver for the DMA engine."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:66:00.0"


def body(tap, args, place):
    if not shutil.which("dpdk-test"):
        skip_all("dpdk-test is not installed (package dpdk-dev)")
    out = subprocess.run(
        [*place.prefix, place.uvfio, "run", "--device", f"ioat,bdf={BDF},mmio=shared", "--",
         "dpdk-test", "--no-huge", "-m", "256", "--iova-mode=va", "--no-telemetry", "--no-shconf",
         "-l", "0,1", "-a", BDF], env=dict(os.environ, **place.env), cwd=place.dir, text=True,
        input="dmadev_autotest\nquit\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=280)
    said = out.stdout.replace("\r", "\n")
    mine = said.partition(f"### Test dmadev instance 0 [{BDF}]")[2].partition("### Test")[0]
    copies = [int(n) for n in re.findall(r"Ops completed: (\d+)\tErrors: 0", mine)]
    tap.equal(out.returncode, 0, "dpdk-test ends well")
    tap.ok(max(copies, default=0) > 80000, "copies of its test, all checked", max(copies, default=0))
    for part in ("burst capacity", "fill"):
        tap.ok(f"Running {part} Tests" in mine, f"it came to its test of {part}")
    tap.ok("Test OK" in said, "it says that all is well")
    if tap.bad:
        lines = [line for line in said.splitlines() if not line.startswith("Ops ")]
        print("# " + "\n# ".join(lines[-40:]))


run_test(body)
