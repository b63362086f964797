#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Driver unbind and bind, controller and function reset, remove and rescan, I/O after each."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

SCRIPT = """
check() {
	d=$(nvme_wait) || { say $1 no disk; return; }
	guestio stamp $d $(($2 * 65536)) 65536 $2 | sed "s/@@stamp/@@$1/"
	guestio verify $d 4 100 32768 $2 >/tmp/v; sed -n "s/@@verify/@@$1-verify/p" /tmp/v
	guestio stamp $d $(($2 * 65536)) 65536 $2 >/dev/null
}
gone() { n=0; while [ -b /dev/nvme0n1 ] && [ $n -lt 100 ]; do n=$((n + 1)); usleep 50000; done; }
check first 1
bdf=$(nvme_bdf); dev=/sys/bus/pci/devices/$bdf
echo $bdf > /sys/bus/pci/drivers/nvme/unbind; gone
[ -e $dev/driver ] || say unbound yes
echo $bdf > /sys/bus/pci/drivers/nvme/bind
check bind 2
echo 1 > /sys/class/nvme/nvme0/reset_controller
check reset-controller 3
say methods $(cat $dev/reset_method)
echo 1 > $dev/reset && say reset-rc 0
check reset 4
i=0; while [ $i -lt 5 ]; do echo $bdf > /sys/bus/pci/drivers/nvme/unbind; echo 1 > $dev/reset
	echo $bdf > /sys/bus/pci/drivers/nvme/bind; i=$((i + 1)); done
check often 5
echo 1 > $dev/remove; gone
[ -e $dev ] || say removed yes
echo 1 > /sys/bus/pci/rescan
check rescan 6
say interrupts $(nvme_irqs)
"""
PARTS = ("first", "bind", "reset-controller", "reset", "often", "rescan")


def body(tap, args, place):
    image, _ = make_image(place)
    g = guest(SCRIPT, place, args, image, timeout=240, passthrough=(), qemu=(
        "-device", "pcie-root-port,id=rp,chassis=1", "-device", f"vfio-pci,host={NVME},bus=rp"))
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    said = g.results
    for number, part in enumerate(PARTS, 1):
        tap.equal(said.get(part), "ok", f"write after {part}")
        tap.ok(said.get(part + "-verify", "").startswith("ok"), f"verify after {part}",
               said.get(part + "-verify", "nothing said"))
        if number == len(PARTS):  # the verify runs write over earlier stamps
            tap.ok(content(image, number * 65536, 65536) == stamp(number * 65536, 65536, number),
                   "the image holds the last stamp")
    tap.equal(said.get("unbound"), "yes", "unbind took the driver away")
    tap.equal(said.get("removed"), "yes", "remove took the function away")
    tap.equal(said.get("reset-rc"), "0", "function reset by /sys")
    tap.ok(bool(said.get("methods")), "the guest sees a reset method", said.get("methods"))
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))

run_test(body)
