#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Linux's ioatdma on the DMA engine: it probes, its self test copies, and it is loaded again."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:66:00.0"
SCRIPT = r"""
insmod /mod/dca.ko
for n in 1 2 3; do
	insmod /mod/ioatdma.ko; say insmod$n $?
	say channel$n $(ls /sys/class/dma)
	say version$n $(cat /sys/class/dma/dma0chan0/quickdata/version)
	say interrupts$n $(sed -n 's/ *[0-9]*: *\([0-9]*\).*ioat-msi.*/\1/p; s/ *[0-9]*: *\([0-9]*\).*ioat-intx.*/\1/p' /proc/interrupts)
	say remove$n $(echo 1 > /sys/bus/pci/devices/$(basename $(readlink -f /sys/class/dma/dma0chan0/device))/reset 2>&1; echo $?)
	rmmod ioatdma
done
say complaints $(dmesg | grep -i ioat | grep -ciE 'error|fail|timed|halt|reset channel|warn')
dmesg | grep -i ioat
"""


def body(tap, args, place):
    keys = f",{args.device_keys}" if args.device_keys else ""
    g = Guest(SCRIPT, place, devices=[f"ioat,bdf={BDF}{keys}"], passthrough=(BDF,),
              shared_memory=not args.anonymous_memory, hardware=True, smp=1)
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    said = g.results
    for n in (1, 2, 3):
        tap.equal(said.get(f"insmod{n}"), "0", f"the driver loads, time {n}")
        tap.equal(said.get(f"channel{n}"), "dma0chan0", "its channel is there")
        tap.equal(said.get(f"version{n}"), "3.2", "the version that the driver takes it for")
        tap.ok(int(said.get(f"interrupts{n}") or 0) > 0, "its self test was told of the end",
               said.get(f"interrupts{n}"))
    tap.equal(said.get("complaints"), "0", "no complaint in the guest's log")
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))


run_test(body)
