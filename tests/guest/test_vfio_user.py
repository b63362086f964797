#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A stock QEMU reaches a function by the vfio-user protocol, without anything of ours around it: the
guest's nvme driver works, its writes are in the image, the guest restarts, QEMU is killed in mid-write
and the next one finds a device that was reset."""

import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403
from stock import vfio_user_qemu  # noqa: E402

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
WRITER = """
d=$(nvme_wait) || say disk none
say writing yes
while :; do dd if=/dev/zero of=$d bs=1M seek=16 count=32 oflag=direct 2>/dev/null; done
"""


class Server:
    def __init__(self, place, image, keys):
        self.folder = place.path("sockets")
        spec = f"nvme,bdf={NVME},disk={image}{',' + keys if keys else ''}"
        self.proc = subprocess.Popen([*place.prefix, place.uvfio, "serve", "--device", spec,
                                      "--socket-dir", self.folder], env={**os.environ, **place.env},
                                     text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
        self.line = self.proc.stdout.readline().split()

    def end(self):
        self.proc.send_signal(signal.SIGTERM)
        _, log = self.proc.communicate(timeout=30)
        return self.proc.returncode, log


def boot(place, args, script, socket, name, keys=(), **more):
    qemu = ["sh", "-c", "shift; exec " + " ".join(vfio_user_qemu(place)) + ' "$@"', "sh"]
    device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": socket}, **dict(keys)}
    return Guest(script, place, devices=None, wrap=qemu, helpers=[args.helpers + "/guestio"],
                 qemu=["-device", json.dumps(device)], name=name, timeout=240,
                 shared_memory=not args.anonymous_memory, **more)


def restart(tap, args, place, socket, image, keys=()):
    with open(image, "r+b") as f:
        f.write(b"0")
    g = boot(place, args, SCRIPT, socket, "restart", keys, reboot=True)
    status = g.run()
    said = g.results
    what = ", ".join(f"{k}={v}" for k, v in keys) or "as it comes"
    tap.equal(status, 0, f"QEMU's status ({what})")
    tap.equal(said.get("driver"), "nvme", "the guest's own nvme driver is bound")
    for n in (1, 2):
        tap.ok(said.get(f"verify{n}", "").startswith("ok"), f"verify in boot {n}",
               said.get(f"verify{n}", "nothing said"))
        tap.equal(said.get(f"stamp{n}"), "ok", f"write in boot {n}")
        tap.ok(int(said.get(f"irqs{n}") or 0) > 0, f"interrupts in boot {n}")
        tap.equal(said.get(f"errors{n}"), "0", f"no error in the log of boot {n}")
    tap.ok(content(image, 1048576, 262144) == stamp(1048576, 262144, 2), "the last write is there")
    if tap.bad:
        print("# " + g.tail(30).replace("\n", "\n# "))


def killed(tap, args, place, socket):
    g = boot(place, args, WRITER, socket, "killed").start()
    tap.equal(g.wait_for("writing"), "yes", "a guest writes")
    g.proc.kill()
    g.finish()
    tap.ok(True, "QEMU is killed")


def body(tap, args, place):
    image, _ = make_image(place)
    server = Server(place, image, args.device_keys)
    try:
        tap.equal(server.line[:1], [NVME], "uvfio serve says where the function's socket is")
        restart(tap, args, place, server.line[1], image)
        killed(tap, args, place, server.line[1])
        restart(tap, args, place, server.line[1], image, [("x-no-posted-writes", True)])
    finally:
        status, log = server.end()
    tap.equal(status, 0, "uvfio serve ends well")
    tap.equal(os.listdir(server.folder), [], "no socket is left")
    if tap.bad:
        print("# " + log.replace("\n", "\n# "))


run_test(body)
