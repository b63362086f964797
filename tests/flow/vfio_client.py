# SPDX-License-Identifier: BSD-3-Clause
"""A VFIO client for the command of `uvfio run`: owns a testdev and does what standard input says.

usage: vfio_client.py BDF. Each line of standard input is a command, each gets one line back:
    open                container, group, device, memory of 64 KiB at IOVA 0x100000, bus master on
    own                 the same by the device's own file and an iommufd
    dma OP ADDR LEN     testdev's DMA command (1 write, 2 read); answers DMA_STATUS
    storm COUNT         so many DMAs to as many pages that nobody mapped
    reset               resets the device
    asked               has the REQ eventfd wired, if it was not; how often it was signalled since
    close               closes everything
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys

SET_IOMMU, GROUP_SET_CONTAINER, GET_DEVICE_FD = 0x3B66, 0x3B68, 0x3B6A
BIND_IOMMUFD, ATTACH_PT, IOAS_ALLOC, IOAS_MAP = 0x3B76, 0x3B77, 0x3B81, 0x3B85
DEVICE_RESET, MAP_DMA, GET_REGION_INFO, SET_IRQS = 0x3B6F, 0x3B71, 0x3B6C, 0x3B6E
CONFIG = 7 << 40
IOVA, SIZE = 0x100000, 0x10000
bdf = sys.argv[1]
fds, memory, asked = [], [], []
bar0 = 0


def do_open():
    group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{bdf}/iommu_group"))
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    group = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    fds.extend([container, group])
    fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, SET_IOMMU, 3)
    fcntl.ioctl(container, MAP_DMA, struct.pack("IIQQQ", 32, 3, new_memory(), IOVA, SIZE))
    fds.insert(0, fcntl.ioctl(group, GET_DEVICE_FD, bytearray(bdf.encode() + b"\0")))
    return ready()


def do_own():
    name = os.listdir(f"/sys/bus/pci/devices/{bdf}/vfio-dev")[0]
    iommufd = os.open("/dev/iommu", os.O_RDWR)
    device = os.open(f"/dev/vfio/devices/{name}", os.O_RDWR)
    try:
        fcntl.ioctl(device, BIND_IOMMUFD, struct.pack("IIiIQ", 24, 0, iommufd, 0, 0))
    except OSError:
        os.close(device)
        os.close(iommufd)
        raise
    fds.extend([device, iommufd])
    ioas = struct.unpack("III", fcntl.ioctl(iommufd, IOAS_ALLOC, struct.pack("III", 12, 0, 0)))[2]
    fcntl.ioctl(device, ATTACH_PT, struct.pack("III", 12, 0, ioas))
    fcntl.ioctl(iommufd, IOAS_MAP, struct.pack("IIIIQQQ", 40, 7, ioas, 0, new_memory(), SIZE, IOVA))
    return ready()


def new_memory():
    fd = os.memfd_create("client")
    os.ftruncate(fd, SIZE)
    memory.append(mmap.mmap(fd, SIZE))
    os.close(fd)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory[-1]))


def ready():
    global bar0
    bar0 = struct.unpack("IIIIQQ", fcntl.ioctl(fds[0], GET_REGION_INFO,
                                               struct.pack("IIIIQQ", 32, 0, 0, 0, 0, 0)))[5]
    enable()
    return "ok"


def enable():
    os.pwrite(fds[0], struct.pack("H", 7), CONFIG + 4)


def do_dma(op, address, length):
    address = int(address, 0)
    for offset, value in ((0x20, address & 0xFFFFFFFF), (0x24, address >> 32),
                          (0x28, int(length, 0)), (0x2C, int(op))):
        os.pwrite(fds[0], struct.pack("I", value), bar0 + offset)
    return str(struct.unpack("I", os.pread(fds[0], 4, bar0 + 0x30))[0])


def do_storm(count):
    for page in range(int(count)):
        do_dma("1", hex(0x10_0000_0000 + page * 4096), "4")
    return "ok"


def do_reset():
    fcntl.ioctl(fds[0], DEVICE_RESET)
    enable()
    return "ok"


def do_asked():
    if not asked:
        asked.append(os.eventfd(0, os.EFD_NONBLOCK))
        fds.append(asked[0])
        fcntl.ioctl(fds[0], SET_IRQS, struct.pack("IIIIIi", 24, 4 | 32, 4, 0, 1, asked[0]))
    try:
        return str(os.eventfd_read(asked[0]))
    except BlockingIOError:
        return "0"


def do_close():
    asked.clear()
    for fd in fds:
        os.close(fd)
    fds.clear()
    return "ok"


commands = {"open": do_open, "own": do_own, "dma": do_dma, "storm": do_storm, "reset": do_reset,
            "asked": do_asked, "close": do_close}
print("ready", flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    try:
        answer = commands[word](*rest)
    except OSError as e:
        answer = f"error {e}"
    print(answer, flush=True)
