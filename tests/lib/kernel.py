# SPDX-License-Identifier: BSD-3-Clause
"""The guest's kernel and initial file system, made as an ordinary user inside the checkout.

The kernel is Debian's cloud image: the package is fetched by apt (which checks its signature and
hash), never installed. Of it only the ELF image inside the bzImage is kept, because QEMU enters
that directly (PVH) and it boots a second sooner. The initial file system is a cpio archive written
here: no device node needs privilege that way.
"""

import glob
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile

import debian
from ui import Failure

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CACHE = os.environ.get("UVFIO_CACHE") or os.path.join(ROOT, ".cache")
META = "linux-image-cloud-amd64"
FULL = "linux-image-amd64"  # has the drivers of hardware, which the cloud's leaves out
# Modules that scripts can load from /mod, in the order of what they need, by their place in the package.
NET_MODULES = ["net/llc/llc", "net/802/stp", "net/802/garp", "net/802/mrp", "net/8021q/8021q",
               "drivers/dca/dca", "drivers/i2c/algos/i2c-algo-bit", "drivers/net/ethernet/intel/igb/igb",
               "drivers/net/ethernet/intel/igbvf/igbvf"]
NVME_MODULES = ["crypto/crct10dif_common", "crypto/crct10dif_generic", "lib/crc-t10dif", "lib/crc64",
                "crypto/crc64_rocksoft_generic", "lib/crc64-rocksoft", "block/t10-pi",
                "drivers/nvme/host/nvme-core", "drivers/nvme/host/nvme"]
DMA_MODULES = ["drivers/dma/ioat/ioatdma"]  # after dca
PEER_MODULES = ["drivers/net/ethernet/intel/e1000e/e1000e"]  # of QEMU's own network card
MODULES = NET_MODULES + NVME_MODULES + DMA_MODULES + PEER_MODULES


def extract_vmlinux(bzimage):
    """The ELF kernel inside a bzImage, by the boot protocol's payload fields."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise Failure("the kernel image is no bzImage")
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    data = bzimage[start:start + length]
    # The build appends the unpacked size, which the tools would take for garbage.
    body = data[:-4]
    if data[:2] == b"\x1f\x8b":
        elf = gzip.decompress(body)
    elif data[:6] == b"\xfd7zXZ\x00":
        elf = lzma.decompress(body)
    else:
        tool = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}.get(data[:4])
        if not tool or not shutil.which(tool):
            raise Failure(f"no tool for the kernel's compression (magic {data[:4].hex()})",
                          f"install {tool or 'a newer uvfio'}")
        elf = subprocess.run([tool, "-dc"], input=body, stdout=subprocess.PIPE).stdout
    if elf[:4] != b"\x7fELF":
        raise Failure("the kernel image did not unpack to an ELF file")
    return elf


def ensure_kernel(ui=None):
    """Path of an ELF vmlinux of Debian's cloud kernel and its release, fetched if need be."""
    return _ensure(META, "kernel", (), None, ui)[:2]


def ensure_kernel_with(modules, suite=None):
    """The same and a list of modules' files; suite: of Debian, if not this machine's own."""
    return _ensure(META, f"kernel-{suite}" if suite else "kernel", modules, suite)


def ensure_full_kernel(ui=None, suite=None):
    """The same of Debian's kernel for hardware, with MODULES; of another suite with NET_MODULES."""
    if suite:
        return _ensure(FULL, f"kernel-full-{suite}", NET_MODULES, suite, ui)
    return _ensure(FULL, "kernel-full", MODULES, None, ui)


def _cached(folder, modules):
    """What _ensure() returns, or None where something is missing."""
    have = sorted(f for f in os.listdir(folder) if f.startswith("vmlinux-"))
    if not have:
        return None
    release = have[-1][len("vmlinux-"):]
    files = [os.path.join(folder, f"modules-{release}", os.path.basename(m) + ".ko")
             for m in modules]
    if not all(os.path.exists(f) for f in files):
        return None
    return os.path.join(folder, have[-1]), release, files


def _fetch_kernel(meta, work, suite, ui):
    """The package with the kernel's image and the one with its modules: one and the same until Linux 7."""
    deb = debian.fetch_package(meta, work, ui, suite, follow=r"linux-image-\S+")
    found = []
    for part in ("binary", "modules"):
        name = re.search(rf"linux-{part}-[^ ,]+", debian.field(deb, "Depends"))
        if name:
            folder = os.path.join(work, part)
            os.mkdir(folder)
            found.append(debian.fetch_package(name.group(0), folder, ui, suite))
    return found or [deb]


def _unpack_image(deb, work):
    """Release and path of a package's bzImage."""
    debian.unpack(deb, "*/vmlinuz*", work)
    for image in glob.glob(os.path.join(work, "boot", "vmlinuz-*")):
        return os.path.basename(image)[len("vmlinuz-"):], image
    for image in glob.glob(os.path.join(work, "usr", "lib", "modules", "*", "vmlinuz")):
        return os.path.basename(os.path.dirname(image)), image
    raise Failure(f"{os.path.basename(deb)} has no kernel image")


def _keep_module(found, path):
    """Keeps a module of the package, unpacked, so that any insmod can load it."""
    if not found:
        raise Failure(f"the kernel's package has no {os.path.basename(path)}")
    with (lzma.open if found[0].endswith(".xz") else open)(found[0], "rb") as f:
        data = f.read()
    with open(path + ".part", "wb") as f:
        f.write(data)
    os.rename(path + ".part", path)


def _ensure(meta, name, modules, suite, ui=None):
    folder = os.path.join(CACHE, name)
    os.makedirs(folder, exist_ok=True)
    have = _cached(folder, modules)
    if have:
        return have
    with tempfile.TemporaryDirectory(dir=folder) as work:
        debs = _fetch_kernel(meta, work, suite, ui)
        release, image = _unpack_image(debs[0], work)
        with open(image, "rb") as f:
            elf = extract_vmlinux(f.read())
        kept = os.path.join(folder, f"modules-{release}")
        os.makedirs(kept, exist_ok=True)
        files = [f"lib/modules/{release}/kernel/{module}.ko" for module in modules]
        if files:
            debian.unpack(debs[-1], [f"*/{inside}*" for inside in files], work)
        for inside in files:
            found = glob.glob(os.path.join(work, "**", inside + "*"), recursive=True)
            _keep_module(found, os.path.join(kept, os.path.basename(inside)))
        part = os.path.join(work, "vmlinux")
        with open(part, "wb") as f:
            f.write(elf)
        os.rename(part, os.path.join(folder, "vmlinux-" + release))
    return _cached(folder, modules)


class Cpio:
    """A cpio archive of the "newc" form, the one that the kernel unpacks."""

    def __init__(self):
        self.parts = []
        self.inode = 0

    def add(self, name, mode, data=b"", major=0, minor=0):
        self.inode += 1
        raw = name.encode() + b"\0"
        head = "070701" + "".join(f"{n:08x}" for n in (
            self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(raw), 0))
        for piece in (head.encode() + raw, data):
            self.parts.append(piece + b"\0" * (-len(piece) % 4))

    def folder(self, name):
        self.add(name, 0o040755)

    def file(self, name, data, mode=0o755):
        self.add(name, 0o100000 | mode, data)

    def link(self, name, target):
        self.add(name, 0o120777, target.encode())

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ PS1='guest# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
. /lib.sh
say boot "$(cut -d' ' -f1 /proc/uptime)"
. /script.sh
say end 0
sync
poweroff -f
"""

# Functions for guest scripts. Results are lines "@@key value" on the console.
LIB = r"""
say() { k=$1; shift; echo "@@$k $*"; }
# nvme_bdf: address of the NVMe function; nvme_wait: until its disk is there, prints /dev/nvmeXn1
nvme_bdf() { for d in /sys/bus/pci/devices/*; do
	[ "$(cut -c1-8 $d/class)" = 0x010802 ] && basename $d && return; done; return 1; }
testdev_bdf() { for d in /sys/bus/pci/devices/*; do
	[ "$(cat $d/class)" = 0xff0000 ] && basename $d && return; done; return 1; }
nvme_wait() { n=0; while [ $n -lt 200 ]; do
	for b in /dev/nvme?n1; do [ -b $b ] && { echo $b; return 0; }; done
	n=$((n + 1)); usleep 100000; done; return 1; }
nvme_irqs() { awk '/nvme/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) s += $i } END { print s + 0 }' /proc/interrupts; }
# net_modules, nvme_modules: load drivers from /mod; net_wait: until a network card is there and has a carrier
load() { for m; do insmod /mod/$m.ko || say insmod $m; done; }
net_modules() { load %s; }
nvme_modules() { load %s; }
net_wait() { n=0; while [ "$(cat /sys/class/net/${1:-eth0}/carrier 2>/dev/null)" != 1 ] && [ $n -lt 100 ]; do
	n=$((n + 1)); usleep 100000; done; }
drop() { echo 3 > /proc/sys/vm/drop_caches; }
""" % tuple(" ".join(os.path.basename(module) for module in modules)
           for modules in (NET_MODULES, NVME_MODULES))


def with_libraries(program):
    """A program of this machine, its shared libraries and its loader: the files that it needs."""
    out = subprocess.run(["ldd", program], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    found = re.findall(r"(/\S+) \(0x", out.stdout)
    if out.returncode or not found:
        raise Failure(f"ldd cannot tell the libraries of {program}", out.stdout.strip())
    return [program, *found]


def make_initrd(path, script, helpers=(), programs=(), modules=()):
    """Writes the initial file system that runs @script (a shell text) as the guest's init.

    helpers: static programs, to /bin; programs: those of this machine, to where they are here
    modules: files, to /mod
    """
    archive = Cpio()
    for name in ("bin", "dev", "etc", "mod", "proc", "sys", "tmp", "mnt", "root"):
        archive.folder(name)
    archive.add("dev/console", 0o020600, major=5, minor=1)
    archive.add("dev/null", 0o020666, major=1, minor=3)
    with open("/bin/busybox", "rb") as f:
        archive.file("bin/busybox", f.read())
    archive.file("init", INIT.encode())
    archive.file("lib.sh", LIB.encode())
    archive.file("script.sh", script.encode())
    for helper in helpers:
        with open(helper, "rb") as f:
            archive.file("bin/" + os.path.basename(helper), f.read())
    for module in modules:
        with open(module, "rb") as f:
            archive.file("mod/" + os.path.basename(module), f.read(), 0o644)
    files = [name.strip("/") for program in programs for name in with_libraries(program)]
    folders = {name[:i] for name in files for i, c in enumerate(name) if c == "/"}
    for name in sorted(folders - {"bin", "etc", "tmp", "root"}):
        archive.folder(name)
    for name in dict.fromkeys(files):
        with open("/" + name, "rb") as f:
            archive.file(name, f.read())
    with open(path, "wb") as f:
        f.write(archive.bytes())
