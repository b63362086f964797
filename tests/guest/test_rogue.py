#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guest's devices told to reach what is not mapped, and what the host sees of it all."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:66:00.0"
# 256 MiB of guest memory: a DMA across their end, one far above, the message window, the top.
PLACES = {"across": (0x0FFF_F000, 8192), "far": (0x50_0000_0000, 4096),
          "messages": (0xFEE0_0000, 4), "top": (0xFFFF_FFFF_FFFF_F000, 8192)}
SCRIPT = """
t=$(testdev_bdf)
dmatool $t own 4096
dmatool $t own 1
""" + "".join(f"dmatool $t rogue {at:#x} {size} | sed 's/@@rogue/@@{name}/'\n"
              for name, (at, size) in PLACES.items()) + """
dmatool $t own 4096 | sed 's/@@own/@@still/'
v=$(nvme_bdf)
nvme_wait >/dev/null
echo $v > /sys/bus/pci/drivers/nvme/unbind
nvmetool $v own | sed 's/@@/@@nvme-/'
nvmetool $v rogue 0x5000000000 | sed 's/@@/@@nvme-/'
nvmetool $v own | sed 's/@@/@@nvme-still-/'
echo $v > /sys/bus/pci/drivers/nvme/bind
d=$(nvme_wait) && guestio stamp $d 65536 65536 1
say told 0
read go
"""


def watch(tap, place):
    def ask(*argv):
        out = place.run([place.uvfio, *argv], timeout=20)
        tap.equal(out.returncode, 0, "uvfio " + " ".join(argv))
        return out.stdout

    tap.equal(len(place.faults(BDF)), 2 * len(PLACES), "each DMA that moved nothing is an event")
    tap.ok("fault" in ask("events"), "uvfio events tells of faults")
    tap.ok(BDF in ask("list"), "uvfio list shows the function")
    tap.ok(BDF in ask("list", "--json"), "uvfio list --json shows it")
    tap.ok(ask("iommu", BDF).strip() != "", "uvfio iommu shows mappings")
    tap.ok(ask("iommu", BDF, "--json").startswith(("{", "[")), "uvfio iommu --json is JSON")


def body(tap, args, place):
    helpers = [os.path.join(args.helpers, name) for name in ("guestio", "dmatool", "nvmetool")]
    g = Guest(SCRIPT, place, devices=[f"testdev,bdf={BDF}", f"nvme,mem=64M,bdf={NVME}"],
              passthrough=(BDF, NVME), helpers=helpers,
              shared_memory=not args.anonymous_memory, timeout=120)
    g.start()
    try:
        if g.wait_for("told") is None:
            raise Failure("the guest ended too early", g.tail())
        tap.ok(g.results.get("own", "").startswith("ok"), "memory of the guest's own is reached",
               g.results.get("own", "nothing said"))
        for name in PLACES:
            for way in ("write", "read"):
                said = g.results.get(f"{name}-{way}", "nothing said")
                tap.ok(said.startswith("status 2 count 0"), f"{way} {name} moves no byte", said)
        tap.ok(g.results.get("still", "").startswith("ok"), "the device works on")
        for part in ("nvme-own", "nvme-still-own", "stamp"):
            tap.ok(g.results.get(part, "").startswith("ok"), f"{part}: memory of the guest's own",
                   g.results.get(part, "nothing said"))
        for way in ("write", "read"):
            said = g.results.get(f"nvme-rogue-{way}", "nothing said")
            tap.ok(said.startswith("status 0x4 "), f"nvme {way}: a data transfer error", said)
        faults = place.faults(NVME)
        tap.equal(sorted((f["access"], f["iova"], f["reason"]) for f in faults),
                  [("read", "0x5000000000", "not-mapped"), ("write", "0x5000000000", "not-mapped")],
                  "each of the two is an event")
        watch(tap, place)
        g.send("go")
        tap.equal(g.finish(), 0, "uvfio run ends with QEMU's status 0")
    finally:
        g.kill()
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))


run_test(body)
