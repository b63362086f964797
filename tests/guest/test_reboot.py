#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guest that reboots: the device is reset with the machine, data and I/O stay good."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

SCRIPT = """
d=$(nvme_wait) || say disk none
count=$(dd if=$d bs=4096 count=1 iflag=direct 2>/dev/null | head -c 1)
case "$count" in 0) n=1 ;; 1) n=2 ;; *) n=3 ;; esac
guestio verify $d 4 100 32768 $n | sed "s/@@verify/@@verify$n/"
guestio stamp $d 1048576 65536 $n | sed "s/@@stamp/@@stamp$n/"
{ printf $n; head -c 4095 /dev/zero; } >/tmp/flag
dd if=/tmp/flag of=$d bs=4096 oflag=direct conv=notrunc,fsync 2>/dev/null
say boot$n $(nvme_irqs)
[ $n -lt 3 ] && { [ $n = 1 ] && sync; reboot -f; sleep 60; }
"""


def body(tap, args, place):
    image, _ = make_image(place)
    with open(image, "r+b") as f:
        f.write(b"0")
    g = guest(SCRIPT, place, args, image, timeout=240, reboot=True)
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    for n in (1, 2, 3):
        tap.ok(g.results.get(f"verify{n}", "").startswith("ok"), f"verify in boot {n}",
               g.results.get(f"verify{n}", "nothing said"))
        tap.equal(g.results.get(f"stamp{n}"), "ok", f"write in boot {n}")
        tap.ok(int(g.results.get(f"boot{n}") or 0) > 0, f"interrupts in boot {n}")
    tap.ok(content(image, 1048576, 65536) == stamp(1048576, 65536, 3), "the last write is there")
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))

run_test(body)
