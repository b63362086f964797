#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sharing, `make run-vfs`: two stock VMs at once, each with a virtual function of one NVMe controller.

One machine in the background has an NVMe PF with four VFs. VM A and VM B own one each and work on
their own namespaces; A aims a queue entry at B's memory; A is killed in the middle of writing while
B's verified reads and writes go on; then A's VF goes to VM C. Everything runs as an unprivileged user.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from build import build  # noqa: E402
from guest import Guest  # noqa: E402
from tap import sector  # noqa: E402
from ui import Failure, Ui  # noqa: E402
from user import Place  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
MIB = 1 << 20
PF = "0000:65:00.0"
NAME = "shared"
VFS = 4
SIZE = 128 * MIB  # of each VF's image
MEMORY_A, MEMORY_B = 256, 448  # MiB: what lies above A's is B's alone

COMMON = r"""
v=$(nvme_bdf); s=/sys/bus/pci/devices/$v
d=$(nvme_wait) || { say disk none; poweroff -f; }
say disk "$d $(cat /sys/class/nvme/nvme0/model)" "$(cat /sys/class/nvme/nvme0/serial)"
"""

# Writes and verifies its namespace, is a rogue when told where, then writes until it is killed.
SCRIPT_A = COMMON + r"""
guestio verify $d 4 150 65536 1
guestio bench $d read 8 1
read where
echo $v > /sys/bus/pci/drivers/nvme/unbind
nvmetool $v rogue $where
echo $v > /sys/bus/pci/drivers/nvme/bind
d=$(nvme_wait) && guestio flushlog $d
"""

# Holds a page that A aims at, and works on until it is told to stop.
SCRIPT_B = COMMON + r"""
guestio verify $d 4 150 65536 2
guestio bench $d read 8 1
mkfifo /tmp/hold
memhold FLOOR < /tmp/hold &
exec 3> /tmp/hold
n=0
while ! read -t 0 go; do
	guestio verify $d 2 40 32768 $((100 + n)) | sed "s/@@verify/@@loop/"
	n=$((n + 1)); say loops $n
done
read go
echo look >&3
wait
"""

# Gets the function that A had.
SCRIPT_C = COMMON + r"""
guestio verify $d 4 150 65536 3
"""


class Show:
    def __init__(self, ui, place):
        self.ui = ui
        self.place = place
        self.env = dict(os.environ, **place.env)
        self.helpers = [os.path.join(BUILD, "tests", "guest", h)
                        for h in ("guestio", "nvmetool", "memhold")]

    def ask(self, *argv, as_json=False):
        out = subprocess.run([*self.place.plain_prefix, self.place.uvfio, *argv,
                              *(["--json"] if as_json else [])], env=self.env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        if out.returncode:
            raise Failure(f"uvfio {' '.join(argv)}: {out.stderr.strip() or out.stdout.strip()}")
        return json.loads(out.stdout) if as_json else out.stdout

    def device(self, bdf):
        return next(d for d in self.ask("list", as_json=True) if d["bdf"] == bdf)

    def guest(self, name, script, vf, memory, **more):
        self.ui.note(f"$ uvfio run --join {NAME} -- qemu-system-x86_64 ... "
                     f"-device vfio-pci,host={vf}    (VM {name})")
        return Guest(script, self.place, join=NAME, passthrough=(vf,), memory=memory, smp=1,
                     helpers=self.helpers, timeout=240, name=f"vm-{name}", **more)


def start_machine(show):
    ui, place = show.ui, show.place
    for number in range(VFS):
        with open(place.path(f"vf-{number}.img"), "wb") as f:
            f.truncate(SIZE)
        place.own(f.name)
    path = place.path(f"{NAME}.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"devices": [{"model": "nvme", "bdf": PF, "mem": "64M", "vfs": VFS,
                                "vf_disk": place.path("vf-%d.img")}]}, f)
    place.own(path)
    ui.note(f"$ uvfio up {NAME}.json")
    show.ask("up", path)
    ui.check(show.device(PF)["driver"] == "nvme", "the PF is bound to the host's driver", PF)
    ui.note(f"$ uvfio sriov {PF} {VFS}")
    vfs = show.ask("sriov", PF, str(VFS), as_json=True)["vfs"]
    ui.check(len(vfs) == VFS and len({v["group"] for v in vfs}) == VFS,
             f"{VFS} virtual functions, each in an isolation group of its own",
             ", ".join(f"{v['bdf']} group {v['group']}" for v in vfs))
    for vf in vfs[:2]:
        ui.note(f"$ uvfio bind {vf['bdf']}")
        show.ask("bind", vf["bdf"])
    return [v["bdf"] for v in vfs]


def show_work(ui, name, guest):
    if guest.wait_for("boot") is None:
        raise Failure(f"VM {name} did not boot", guest.tail())
    disk = guest.wait_for("disk")
    if not disk or disk == "none":
        raise Failure(f"VM {name} found no NVMe controller", guest.tail(25))
    said = guest.wait_for("verify") or "nothing"
    ui.check(said.startswith("ok"), f"VM {name} writes and verifies its own namespace",
             f"{disk.split()[0]}, {said}")


def show_rogue(show, a, b, vf_a):
    ui = show.ui
    where = b.wait_for("canary") or "FAIL"
    if not where.startswith("0x"):
        raise Failure(f"VM B has no page above VM A's memory: {where}", b.tail())
    ui.note(f"VM A points PRPs at {where}: memory of VM B, above the end of its own")
    a.send(where)
    for way in ("write", "read"):
        said = a.wait_for(f"rogue-{way}") or "nothing"
        ui.check(said.startswith("status 0x4 "), f"a {way} ends as a data transfer error", said)
    faults = [f for f in show.place.faults(vf_a)]
    ui.check(len(faults) == 2 and all(f["iova"] == where and f["reason"] == "not-mapped"
                                      for f in faults),
             "uvfio events names the function, the address and the reason",
             "; ".join(f"{f['bdf']} {f['access']} {f['iova']} {f['reason']}" for f in faults))


def show_kill(show, a, b, vf_a):
    ui = show.ui
    if a.wait_for("flushed") is None:
        raise Failure("VM A ended too early", a.tail())
    loops = int(b.wait_for("loops") or 0)
    a.kill_qemu()
    status = a.finish()
    flushed = int(a.results["flushed"])
    ui.check(status == 128 + signal.SIGKILL, "VM A is killed in the middle of writing",
             f"exit status {status}")
    with open(show.place.path("vf-0.img"), "rb") as f:
        image = f.read(4096 * (flushed + 1))
    good = all(image[4096 * n:4096 * n + 512] == sector(8 * n, 1, 7)
               for n in range(1, flushed + 1))
    ui.check(good, "whatever a Flush had acknowledged is in the image", f"{flushed} records")
    deadline = time.time() + 60
    while int(b.results.get("loops", 0)) < loops + 2 and time.time() < deadline and b.wait_more():
        pass
    ui.check(int(b.results.get("loops", 0)) >= loops + 2 and
             b.results.get("loop", "").startswith("ok"),
             "VM B's verified reads and writes go on",
             f"{b.results.get('loops')} rounds, {b.results.get('loop', 'nothing')}")
    device = show.device(vf_a)
    ui.check(not device["open"] and not device["mappings"],
             "what VM A had of its function is free", f"open {device['open']}, "
             f"{device['mappings']} mappings")


def run(ui):
    ui.step("Debian's cloud kernel for the guests")
    _, release = kernel.ensure_kernel(ui)
    ui.note(f"{release}, unpacked in .cache, not installed")
    ui.step("Build")
    build(BUILD, only="show")
    place = Place(os.path.join(BUILD, "src", "cli", "uvfio"))
    show = Show(ui, place)
    guests = []
    up = False
    try:
        ui.step(f"One machine, one NVMe controller with {VFS} virtual functions, as {place.who}")
        vfs = start_machine(show)
        up = True
        ui.step("Two VMs at once")
        a = show.guest("A", SCRIPT_A, vfs[0], MEMORY_A)
        b = show.guest("B", SCRIPT_B.replace("FLOOR", hex(MEMORY_A * MIB)), vfs[1], MEMORY_B)
        guests += [a.start(), b.start()]
        for name, guest in (("A", a), ("B", b)):
            show_work(ui, name, guest)
        ui.check(a.results["disk"].split()[-1] != b.results["disk"].split()[-1],
                 "two controllers, two serial numbers",
                 f"{a.results['disk'].split()[-1]}, {b.results['disk'].split()[-1]}")
        for name, guest in (("A", a), ("B", b)):
            said = guest.wait_for("bench8") or "nothing"
            ui.check(re.match(r"[1-9]", said) is not None,
                     f"VM {name}: random 4 KiB read, queue depth 8, both at once", said)
        ui.step("A rogue")
        show_rogue(show, a, b, vfs[0])
        ui.step("A crash")
        show_kill(show, a, b, vfs[0])
        ui.step("The next owner")
        c = show.guest("C", SCRIPT_C, vfs[0], MEMORY_A)
        guests.append(c.start())
        show_work(ui, "C", c)
        ui.check(c.results["disk"].split()[-1] == a.results["disk"].split()[-1],
                 "VM C has the function that was VM A's, reset", c.results["disk"])
        ui.check(c.finish() == 0, "VM C powered off")
        b.send("stop")
        kept = b.wait_for("canary-kept", timeout=60)
        ui.check(kept == "ok", "VM B's page is as it was", str(kept))
        ui.check(b.finish() == 0 and b.results.get("loop", "").startswith("ok"),
                 "VM B powered off, without one error", b.results.get("loop", "nothing"))
        ui.step("The end")
        ui.note("$ uvfio down")
        show.ask("down", NAME)
        up = False
        ui.check(not show.ask("list", as_json=True), "nothing is left")
    finally:
        for guest in guests:
            guest.kill()
        if up:
            subprocess.run([*place.plain_prefix, place.uvfio, "down", NAME], env=show.env,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        place.close()


def main():
    ui = Ui("make run-vfs", int(os.environ.get("UVFIO_STEPS", 9)), first=2)
    try:
        run(ui)
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
