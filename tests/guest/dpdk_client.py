#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A client made of stock DPDK 22.11: its EAL sets VFIO up, then testdev is driven through the result.

Runs under `uvfio run`, started by test_dpdk.py. DPDK's shared libraries are loaded as they come from
Debian; only functions of their public API are called. No driver of DPDK knows testdev, therefore
rte_vfio_setup_device() is called by its address, the way a driver's mapping would: container, group,
type1 version 1, the maps of all of EAL's memory, and the device come from EAL's own code.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys

BDF = sys.argv[1]
DEFAULT_CONTAINER = -1
SIZE = 8192
IOVA = 0x7_0000_0000
CONFIG = 7 << 40  # Linux places region n at n << 40, and DPDK knows that by heart
GET_REGION_INFO = 0x3B6C
COMMAND, ADDR_LO, ADDR_HI, LEN, CMD, STATUS, COUNT, SEED = 4, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x3C


def say(key, *values):
    print(f"@@{key}", *values, flush=True)


def check(what, rc):
    say(what, rc)
    if rc < 0:
        sys.exit(1)


def main():
    eal = ctypes.CDLL("librte_eal.so.23", mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL("librte_bus_pci.so.23", mode=ctypes.RTLD_GLOBAL)
    argv = ["client", "--no-huge", "-m", "32", "--iova-mode=va", "--no-shconf",
            "--no-telemetry", "-l", "0", "-a", BDF, "--log-level=*:debug"]
    words = (ctypes.c_char_p * (len(argv) + 1))(*[word.encode() for word in argv], None)
    check("eal-init", eal.rte_eal_init(len(argv), words))
    say("vfio-enabled", eal.rte_vfio_is_enabled(b"vfio"), eal.rte_vfio_is_enabled(b"vfio_pci"))

    fd = ctypes.c_int(-1)
    info = (ctypes.c_uint32 * 6)()  # struct vfio_device_info
    base = b"/sys/bus/pci/devices"
    info[0] = ctypes.sizeof(info)
    check("setup-device", eal.rte_vfio_setup_device(base, BDF.encode(), ctypes.byref(fd), info))
    say("device-info", "flags", hex(info[1]), "regions", info[2], "irqs", info[3])

    memory = mmap.mmap(-1, SIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    u64 = ctypes.c_uint64
    check("dma-map", eal.rte_vfio_container_dma_map(DEFAULT_CONTAINER, u64(address), u64(IOVA),
                                                    u64(SIZE)))

    region = bytearray(struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0))
    fcntl.ioctl(fd.value, GET_REGION_INFO, region)
    bar = struct.unpack("<IIIIQQ", region)[5]

    def write(offset, value):
        os.pwrite(fd.value, struct.pack("<I", value), bar + offset)

    def read(offset):
        return struct.unpack("<I", os.pread(fd.value, 4, bar + offset))[0]

    def fill(iova, size):
        for offset, value in ((ADDR_LO, iova & 0xFFFFFFFF), (ADDR_HI, iova >> 32), (LEN, size),
                              (SEED, 0x11), (CMD, 1)):
            write(offset, value)
        return read(STATUS), read(COUNT)

    say("id", hex(read(0)), hex(struct.unpack("<I", os.pread(fd.value, 4, CONFIG))[0]))
    os.pwrite(fd.value, struct.pack("<H", 6), CONFIG + COMMAND)
    moved = fill(IOVA + 100, 5000)
    want = bytes((0x11 + i + i // 256) & 0xFF for i in range(5000))
    say("dma", *moved, memory[100:5100] == want and not any(memory[:100]) and not any(memory[5100:]))
    say("beyond", *fill(IOVA + SIZE - 16, 32), not any(memory[5100:]))

    check("dma-unmap", eal.rte_vfio_container_dma_unmap(DEFAULT_CONTAINER, u64(address), u64(IOVA),
                                                        u64(SIZE)))
    say("unmapped", *fill(IOVA, 64))
    check("release", eal.rte_vfio_release_device(base, BDF.encode(), fd))
    check("setup-again", eal.rte_vfio_setup_device(base, BDF.encode(), ctypes.byref(fd), info))
    check("release-again", eal.rte_vfio_release_device(base, BDF.encode(), fd))
    check("cleanup", eal.rte_eal_cleanup())


if __name__ == "__main__":
    main()
