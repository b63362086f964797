#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""libuvfio as somebody meets it who writes a device: what is installed, the example built against it
as its own comment says, and that device behind both doors.

Usage: test_library.py SCRATCH SOURCE BUILD [--as-root]; with --inside BDF a client in `scratch run`."""

import array
import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60
BDF = "0000:65:00.0"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
ID, ADDRESS, LENGTH, RING, DONE, ERRORS = 0x00, 0x10, 0x18, 0x1c, 0x20, 0x24
IOVA, SIZE = 0x100000, 0x10000
WORDS = b"what the device is to copy"


class ByFile:
    """A client of /dev/vfio."""

    def __init__(self):
        group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{BDF}/iommu_group"))
        self.container = os.open("/dev/vfio/vfio", os.O_RDWR)
        self.group = os.open(f"/dev/vfio/{group}", os.O_RDWR)
        fcntl.ioctl(self.group, 0x3B68, struct.pack("i", self.container))
        fcntl.ioctl(self.container, 0x3B66, 3)
        self.memory = mmap.mmap(-1, SIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        fcntl.ioctl(self.container, 0x3B71, struct.pack("IIQQQ", 32, 3, address, IOVA, SIZE))
        self.device = fcntl.ioctl(self.group, 0x3B6A, bytearray(BDF.encode() + b"\0"))

    def read(self, region, offset, size):
        return os.pread(self.device, size, (region << 40) + offset)

    def write(self, region, offset, data):
        os.pwrite(self.device, data, (region << 40) + offset)

    def interrupt(self, fd):
        fcntl.ioctl(self.device, 0x3B6E, struct.pack("IIIIIi", 24, 0x24, 1, 0, 1, fd))

    def reset(self):
        fcntl.ioctl(self.device, 0x3B6F)


class BySocket:
    """A vfio-user client."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.ask(1, struct.pack("HH", 0, 0) + json.dumps({"capabilities": {}}).encode() + b"\0")
        fd = os.memfd_create("memory")
        os.ftruncate(fd, SIZE)
        self.memory = mmap.mmap(fd, SIZE)
        self.ask(2, struct.pack("IIQQQ", 32, 3, 0, IOVA, SIZE), [fd])

    def ask(self, command, data=b"", fds=()):
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([struct.pack("HHIII", 7, command, 16 + len(data), 0, 0), data], extra)
        reply = self.socket.recv(1 << 16)
        _, _, size, flags, error = struct.unpack("HHIII", reply[:16])
        if flags & 0x20 or size != len(reply):
            raise OSError(error, f"vfio-user command {command}")
        return reply[16:]

    def read(self, region, offset, size):
        return self.ask(9, struct.pack("QII", offset, region, size))[16:]

    def write(self, region, offset, data):
        self.ask(10, struct.pack("QII", offset, region, len(data)) + data)

    def interrupt(self, fd):
        self.ask(8, struct.pack("IIIII", 20, 0x24, 1, 0, 1), [fd])

    def reset(self):
        self.ask(13)


def drive(client, report):
    def word(offset):
        return struct.unpack("I", client.read(0, offset, 4))[0]

    def ring(address, length):
        client.write(0, ADDRESS, struct.pack("Q", address))
        client.write(0, LENGTH, struct.pack("I", length))
        client.write(0, RING, struct.pack("I", 1))

    client.write(7, 4, struct.pack("H", 6))  # memory, bus master
    told = os.eventfd(0, os.EFD_NONBLOCK)
    client.interrupt(told)
    report(client.read(7, 0, 4) == struct.pack("HH", 0x1234, 0x5020), "its ids")
    report(word(ID) == 0x73637261, "a register of its table")
    client.memory[:len(WORDS)] = WORDS
    ring(IOVA, len(WORDS))
    report(client.read(1, 0, len(WORDS)) == WORDS, "DMA: its memory has what the client's had")
    report(word(DONE) == len(WORDS) and word(ERRORS) == 0, "it counts")
    report(os.eventfd_read(told) == 1, "an interrupt")
    ring(0xdead0000, 64)
    report(word(ERRORS) == 1 and word(DONE) == len(WORDS), "DMA to what is not mapped is an error")
    client.write(1, 100, b"\x01\x02\x03\x04")
    report(client.read(1, 100, 4) == b"\x01\x02\x03\x04", "accesses without a table")
    client.reset()
    client.write(7, 4, struct.pack("H", 6))
    report(client.read(1, 0, 4) == bytes(4) and word(DONE) == 0, "a reset")


def inside():
    def report(good, name):
        print(f"{'ok' if good else 'bad'}\t{name}", flush=True)

    drive(ByFile(), report)
    return 0


def by_file(tap, place, scratch):
    out = subprocess.run([*place.prefix, scratch, "run", "--device", f"scratch,bdf={BDF}", "--",
                          PYTHON, place.visible(os.path.abspath(__file__)), "--inside"],
                         env={**os.environ, **place.env}, cwd=place.dir, text=True, timeout=PATIENCE,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in out.stdout.splitlines():
        good, _, name = line.partition("\t")
        tap.ok(good == "ok", f"/dev/vfio: {name}")
    tap.ok(out.returncode == 0 and not out.stderr, "/dev/vfio: all of it", out.stderr)


def by_socket(tap, place, scratch):
    server = subprocess.Popen([*place.prefix, scratch, "serve", "--quiet", "--device",
                               f"scratch,bdf={BDF}", "--socket-dir", "s"], text=True, cwd=place.dir,
                              env={**os.environ, **place.env}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        name, _, path = server.stdout.readline().strip().partition(" ")
        tap.equal(name, BDF, "vfio-user: the socket is told")
        drive(BySocket(os.path.join(place.dir, path)),
              lambda good, what: tap.ok(good, f"vfio-user: {what}"))
    finally:
        server.send_signal(signal.SIGTERM)
        _, complaints = server.communicate(timeout=PATIENCE)
    tap.ok(server.returncode == 0 and not complaints, "vfio-user: the server ends well", complaints)


def installed(tap, place, source, build):
    """What an author has who installed uvfio, and what the example's comment tells him to do."""
    root = place.path("root")
    out = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root],
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not tap.ok(out.returncode == 0, "meson install", out.stdout[-500:]):
        return
    where = [folder for folder, _, names in os.walk(root) if "uvfio.pc" in names]
    tap.equal(len(where), 1, "a file for pkg-config")
    env = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": root, "PKG_CONFIG_PATH": where[0]}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "uvfio"], env=env, text=True,
                           stdout=subprocess.PIPE).stdout.split()
    out = subprocess.run(["cc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                          os.path.join(source, "examples", "devices", "scratch.c"), *flags, "-o",
                          place.path("scratch")], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    tap.ok(out.returncode == 0, "the example builds as its comment says", out.stdout)
    library = os.path.dirname(where[0])
    symbols = subprocess.run(["nm", "-D", "--defined-only", os.path.join(library, "libuvfio.so.0")],
                             text=True, stdout=subprocess.PIPE).stdout
    names = [line.split()[2] for line in symbols.splitlines() if line.split()[1] == "T"]
    tap.equal([name for name in names if not name.startswith("uvfio_")], [],
              "the library exports uvfio_* and nothing else")
    with open(os.path.join(source, "include", "uvfio", "uvfio.h"), encoding="utf-8") as f:
        header = f.read()
    tap.equal([name for name in (n.split("@")[0] for n in names) if name + "(" not in header], [],
              "what it exports the header declares")
    out = subprocess.run([place.path("scratch"), "models", "--json"], text=True,
                         env={**os.environ, "LD_LIBRARY_PATH": library}, stdout=subprocess.PIPE)
    tap.ok("scratch" in out.stdout and "nvme" in out.stdout, "its models stand beside uvfio's")


def outside():
    sys.path.insert(0, os.path.join(HERE, "..", "lib"))
    from tap import Tap, place_of

    scratch, source, build = sys.argv[1:4]

    class Args:
        uvfio = scratch
        as_root = "--as-root" in sys.argv

    place = place_of(Args())
    tap = Tap()
    try:
        by_file(tap, place, place.uvfio)
        by_socket(tap, place, place.uvfio)
        if "--sanitized" not in sys.argv:
            installed(tap, place, source, build)
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(inside() if sys.argv[1] == "--inside" else outside())
