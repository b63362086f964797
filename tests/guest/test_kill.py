#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""QEMU killed while the guest writes: what a Flush had acknowledged is in the image, and the
next client opens the group at once."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

SCRIPT = """
d=$(nvme_wait) || say disk none
if [ "$(dd if=$d bs=4096 count=1 iflag=direct 2>/dev/null | head -c 1)" = 0 ]; then
	guestio flushlog $d
else
	say second $d
	guestio verify $d 4 200 65536 5
fi
"""
ROUNDS = 3


def flag(image, value):
    with open(image, "r+b") as f:
        f.write(value)


def body(tap, args, place):
    image, _ = make_image(place)
    flag(image, b"0")
    # The command is a shell that starts one QEMU after the other within the same machine.
    runs = " ; ".join(['"$@"'] * (ROUNDS + 1))
    g = guest(SCRIPT, place, args, image, timeout=240, wrap=["sh", "-c", runs, "sh"])
    g.start()
    try:
        for n in range(ROUNDS):
            # What the console still had of the round before ends where the next boot begins.
            g.wait_for("boot")
            g.results.pop("flushed", None)
            while int(g.wait_for("flushed") or 0) < 40 * (n + 1):
                if not g.wait_more():
                    break
            victim = g.kill_qemu()
            tap.ok(victim is not None, f"QEMU killed, round {n + 1}")
            g.wait_gone(victim)
            last = int(g.results.get("flushed", 0))
            g.results.pop("boot", None)
            want = b"".join(sector(s, 1, 7) for s in range(8, (last + 1) * 8))
            tap.ok(last > 0 and content(image, 4096, len(want)) == want,
                   f"every flushed record is in the image, round {n + 1}", f"{last} records")
            if n == ROUNDS - 1:
                flag(image, b"1")
        tap.equal(g.wait_for("second"), "/dev/nvme0n1", "the next client has the disk at once")
        tap.equal(g.finish(), 0, "uvfio run ends with the command's status")
    finally:
        g.kill()
    tap.ok(g.results.get("verify", "").startswith("ok"), "I/O of the next client",
           g.results.get("verify", "nothing said"))
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))

run_test(body)
