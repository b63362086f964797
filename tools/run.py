#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The main job, `make run`: a stock VM owns an NVMe disk through VFIO, without an IOMMU.

Boots Debian's kernel in stock QEMU under `uvfio run`, and checks from both sides what the guest did
with its disk; then lets a rogue device loose and looks where its DMA went. With SHELL_IN_GUEST=1 the
guest gives a shell on this terminal instead.
"""

import ctypes
import hashlib
import mmap
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from build import build  # noqa: E402
from guest import Guest  # noqa: E402
from ui import Failure, Ui  # noqa: E402
from user import Place  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
MIB = 1 << 20
KNOWN = 64  # MiB of known content
WRITTEN = 8  # MiB that the guest writes after it
NVME = "0000:65:00.0"
ROGUE = "0000:66:00.0"
CANARY = (b"nobody but its owner may touch this page. " * 98)[:4096]

SCRIPT = r"""
d=$(nvme_wait) || { say disk none; poweroff -f; }
bdf=$(nvme_bdf); s=/sys/bus/pci/devices/$bdf
say lspci "${bdf#0000:} NVM Express controller [$(cut -c3-6 $s/class)]:" \
	"[$(cut -c3-6 $s/vendor):$(cut -c3-6 $s/device)] driver $(basename $(readlink $s/driver))"
say disk "$d $(cat /sys/class/nvme/nvme0/model)"
say known $(dd if=$d bs=1M count=KNOWN iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)
dd if=/dev/urandom of=/tmp/new bs=1M count=WRITTEN 2>/dev/null
say wrote $(sha256sum /tmp/new | cut -d' ' -f1)
dd if=/tmp/new of=$d bs=1M seek=KNOWN oflag=direct conv=fsync 2>/dev/null
rm /tmp/new
guestio seq $d read 0 KNOWN
guestio seq $d write $((KNOWN + WRITTEN)) 32
guestio bench $d read 1 1
guestio bench $d read 32 1
say interrupts $(nvme_irqs)
if t=$(testdev_bdf); then
	dmatool $t own 4096
	dmatool $t rogue CANARY 4096
fi
say rogue-done 0
read go
"""

SHELL = r"""
d=$(nvme_wait)
echo; echo "The NVMe disk of uvfio is $d. Helpers: guestio, dmatool. The end: exit (powers off)."
[ -n "$(testdev_bdf)" ] && echo "The test device is $(testdev_bdf)."
setsid cttyhack sh
"""


def make_disk(path, ui):
    """An image with content that the seed alone decides; returns the hash of the known part."""
    digest = hashlib.sha256()
    source = random.Random(20240601)
    with open(path, "wb") as f:
        for done in range(KNOWN):
            block = source.randbytes(MIB)
            digest.update(block)
            f.write(block)
            ui.bar("write", 100 * (done + 1) / KNOWN, "disk.img")
        f.truncate((KNOWN + 2 * WRITTEN + 32) * MIB)
    return digest.hexdigest()


def hash_of(path, offset, size):
    with open(path, "rb") as f:
        f.seek(offset)
        return hashlib.sha256(f.read(size)).hexdigest()


def show_rogue(ui, guest, place, canary, address):
    """The rogue device's part: what the device said, what memory says, what uvfio says."""
    if guest.wait_for("rogue-done") is None:
        raise Failure("the guest ended too early", guest.tail())
    own = guest.results.get("own") or guest.results.get("dmatool", "no such device in the guest")
    ui.check(own.startswith("ok"), "testdev reaches memory that the guest gave it", own)
    for way in ("write", "read"):
        said = " ".join(guest.results.get(f"rogue-{way}", "nothing").split()[:4])
        ui.check(re.match(r"status 2 count 0\b", said) is not None,
                 f"testdev told to {way} 4096 bytes at 0x{address:x}, not mapped", said)
    ui.check(canary[:] == CANARY, "the host's page at that address is untouched")
    faults = place.faults(ROGUE)
    ui.check(len(faults) >= 2, "uvfio events shows the faults", f"{len(faults)} of them")
    text = place.run([place.uvfio, "events"], timeout=20).stdout
    for line in [t for t in text.splitlines() if "fault" in t][:4]:
        ui.note("     " + line)


def show_disk(ui, guest, image, known):
    """The disk's part, as it comes from the guest."""
    if guest.wait_for("boot") is None:
        raise Failure("the guest did not boot", guest.tail())
    ui.note(f"guest's init after {guest.results['boot']} s of its time")
    line = guest.wait_for("lspci")
    if line is None:
        raise Failure("the guest found no NVMe controller", guest.tail(25))
    ui.check("driver nvme" in line, "guest sees", line)
    ui.note(f"     {guest.wait_for('disk')}")
    there = guest.wait_for("known") or "nothing"
    ui.check(there == known, f"{KNOWN} MiB read by the guest are the host's",
             f"sha256 {there[:16]}...")
    wrote = guest.wait_for("wrote")
    guest.wait_for("seqread")
    found = hash_of(image, KNOWN * MIB, WRITTEN * MIB)
    ui.check(wrote == found, f"{WRITTEN} MiB written by the guest are in the image",
             f"sha256 {found[:16]}...")
    for key, what in (("seqread", "sequential read"), ("seqwrite", "sequential write"),
                      ("bench1", "random 4 KiB read, queue depth 1"),
                      ("bench32", "random 4 KiB read, queue depth 32")):
        said = guest.wait_for(key) or "nothing"
        ui.check(re.match(r"[1-9]", said) is not None, what, said)
    count = int(guest.wait_for("interrupts") or 0)
    ui.check(count > 0, "interrupts delivered to the guest's nvme driver", str(count))


def run(ui):
    interactive = os.environ.get("SHELL_IN_GUEST", "") not in ("", "0")
    ui.step("Debian's cloud kernel for the guest")
    _, release = kernel.ensure_kernel(ui)
    ui.note(f"{release}, unpacked in .cache, not installed")

    ui.step("Build")
    build(BUILD, only="show")
    place = Place(os.path.join(BUILD, "src", "cli", "uvfio"))
    try:
        ui.step("Disk image with known content")
        image = place.path("disk.img")
        known = make_disk(image, ui)
        place.own(image)
        ui.note(f"{os.path.getsize(image) // MIB} MiB, the first {KNOWN} sha256 {known[:16]}...")

        canary = mmap.mmap(-1, 4096)  # a page of this process: the rogue's target
        canary[:] = CANARY
        address = ctypes.addressof(ctypes.c_char.from_buffer(canary))
        script = SHELL if interactive else SCRIPT
        for word, value in (("KNOWN", KNOWN), ("WRITTEN", WRITTEN), ("CANARY", hex(address))):
            script = script.replace(word, str(value))
        helpers = [os.path.join(BUILD, "tests", "guest", h) for h in ("guestio", "dmatool")]
        ui.step(f"Guest under uvfio run, as {place.who}")
        guest = Guest(script, place, devices=[f"nvme,disk={image},bdf={NVME}",
                                              f"testdev,bdf={ROGUE}"],
                      passthrough=(NVME, ROGUE), helpers=helpers, timeout=150,
                      interactive=interactive)
        ui.note("$ uvfio run --device nvme,disk=disk.img,bdf=0000:65:00.0 "
                f"--device testdev,bdf={ROGUE} -- \\")
        ui.note("      qemu-system-x86_64 ... -device vfio-pci,host=0000:65:00.0 "
                "-device vfio-pci,host=0000:66:00.0")
        guest.start()
        try:
            if interactive:
                status = guest.finish()
                ui.check(status == 0, "the guest powered off", f"exit status {status}")
                return
            show_disk(ui, guest, image, known)
            ui.step("A rogue device")
            show_rogue(ui, guest, place, canary, address)
            ui.step("The end")
            guest.send("go")
            status = guest.finish()
            ui.check(status == 0, "uvfio run ended with QEMU's exit status", str(status))
        finally:
            guest.kill()
    finally:
        place.close()


def main():
    ui = Ui("make run", int(os.environ.get("UVFIO_STEPS", 7)), first=2)
    try:
        run(ui)
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
