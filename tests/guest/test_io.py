#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""I/O of the stock nvme driver, checked by content: random sizes, offsets and queue depths."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

SCRIPT = """
d=$(nvme_wait) || say disk none
say driver $(basename $(readlink /sys/bus/pci/devices/$(nvme_bdf)/driver))
say size $(cat /sys/block/${d#/dev/}/size)
for run in "1 300 4096" "1 200 262144" "4 400 65536" "16 600 131072" "32 1000 16384"; do
	set -- $run
	guestio verify $d $1 $2 $3 $1$2 | sed "s/@@verify/@@verify-$1-$3/"
done
guestio stamp $d 8192 262144 99
dd if=$d of=/tmp/a bs=512 count=1024 skip=16 2>/dev/null
say buffered $(sha256sum /tmp/a | cut -d' ' -f1)
say interrupts $(nvme_irqs)
say errors $(dmesg | grep -ciE 'nvme.*(timeout, |abort|failed|error)|I/O error')
"""
RUNS = ("1-4096", "1-262144", "4-65536", "16-131072", "32-16384")


def body(tap, args, place):
    image, _ = make_image(place)
    g = guest(SCRIPT, place, args, image, timeout=240)
    status = g.run()
    said = g.results
    tap.equal(status, 0, "uvfio run ends with QEMU's status 0")
    tap.equal(said.get("driver"), "nvme", "the guest's own nvme driver is bound")
    tap.equal(said.get("size"), str(64 * MIB // 512), "size of the disk")
    for run in RUNS:
        tap.ok(said.get("verify-" + run, "").startswith("ok"), f"verify, threads-bytes {run}",
               said.get("verify-" + run, "nothing said"))
    tap.equal(said.get("stamp"), "ok", "the guest wrote its stamp")
    tap.ok(content(image, 8192, 262144) == stamp(8192, 262144, 99), "the image holds the stamp")
    tap.ok(int(said.get("interrupts", 0)) > 0, "interrupts came", said.get("interrupts"))
    tap.equal(said.get("errors"), "0", "no error in the guest's log")
    tap.equal(said.get("end"), "0", "the guest powered off by itself")
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))

run_test(body)
