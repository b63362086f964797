#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A device by its own file and an iommufd: the guest's nvme driver works, is reset with the guest, and is
given up at the end. QEMU gets both files opened, as libvirt gives them to it; with --by-address it finds
and opens them itself, which takes --char-devices."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403
from stock import newer_qemu  # noqa: E402

SCRIPT = """
d=$(nvme_wait) || say disk none
say driver $(basename $(readlink /sys/bus/pci/devices/$(nvme_bdf)/driver))
n=1; [ "$(dd if=$d bs=1 count=1 2>/dev/null)" = 1 ] && n=2
guestio verify $d 8 400 65536 $n | sed "s/@@verify/@@verify$n/"
guestio stamp $d 1048576 262144 $n | sed "s/@@stamp/@@stamp$n/"
{ printf $n; head -c 4095 /dev/zero; } >/tmp/flag
dd if=/tmp/flag of=$d bs=4096 oflag=direct conv=notrunc,fsync 2>/dev/null
say irqs$n $(nvme_irqs)
say errors$n $(dmesg | grep -ciE 'nvme.*(timeout, |abort|failed|error)|I/O error')
[ $n = 1 ] && { sync; reboot -f; sleep 60; }
"""
# Opens both, inherited, and becomes QEMU. $1 is the program that would have been run.
OPEN = """
shift
exec 8<>/dev/iommu || exit 91
exec 9<>/dev/vfio/devices/vfio0 || exit 92
echo "@@opened $(readlink /sys/class/vfio-dev/vfio0/device)"
"""


def body(tap, args, place):
    image, _ = make_image(place)
    with open(image, "r+b") as f:
        f.write(b"0")
    qemu = newer_qemu(place, 9)
    wrap = ["sh", "-c", ("shift\n" if args.by_address else OPEN) + 'exec ' + " ".join(qemu) + ' "$@"',
            "sh"]
    files = ("", f"host={NVME}") if args.by_address else (",fd=8", "fd=9")
    g = guest(SCRIPT, place, args, image, timeout=240, reboot=True, passthrough=(), wrap=wrap,
              options=["--char-devices"] if args.by_address else [],
              qemu=["-object", "iommufd,id=iommufd0" + files[0], "-device",
                    "vfio-pci,iommufd=iommufd0," + files[1]])
    status = g.run()
    said = g.results
    tap.equal(status, 0, "uvfio run ends with QEMU's status 0")
    if not args.by_address:
        tap.ok(said.get("opened", "").endswith(NVME), "the device's own file", said.get("opened"))
    tap.equal(said.get("driver"), "nvme", "the guest's own nvme driver is bound")
    for n in (1, 2):
        tap.ok(said.get(f"verify{n}", "").startswith("ok"), f"verify in boot {n}",
               said.get(f"verify{n}", "nothing said"))
        tap.equal(said.get(f"stamp{n}"), "ok", f"write in boot {n}")
        tap.ok(int(said.get(f"irqs{n}") or 0) > 0, f"interrupts in boot {n}")
        tap.equal(said.get(f"errors{n}"), "0", f"no error in the log of boot {n}")
    tap.ok(content(image, 1048576, 262144) == stamp(1048576, 262144, 2), "the last write is there")
    tap.equal(said.get("end"), "0", "the guest powered off by itself")
    if tap.bad:
        print("# " + g.tail(40).replace("\n", "\n# "))

run_test(body)
