#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's own user-space NVMe driver (nvme://, type1 version 1) by qemu-img and qemu-io."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

URL = f"nvme://{NVME}/1"


def body(tap, args, place):
    image, data = make_image(place, mib=16)
    keys = f",{args.device_keys}" if args.device_keys else ""
    run = [*place.prefix, place.uvfio, "run", "--device", f"nvme,disk={image},bdf={NVME}{keys}",
           "--"]

    def client(*argv):
        env = dict(os.environ, **place.env)
        out = subprocess.run([*run, *argv], env=env, text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=120)
        return out.returncode, out.stdout

    def check(name, *argv, expect=0):
        status, text = client(*argv)
        return tap.ok(status == expect, name, "" if status == expect else f"status {status}\n{text}")

    check("qemu-img info", "qemu-img", "info", URL)
    copy = place.path("copy.img")
    check("qemu-img convert reads the disk", "qemu-img", "convert", "-O", "raw", URL, copy)
    tap.ok(os.path.exists(copy) and content(copy, 0, len(data)) == data, "the copy is the image")
    check("qemu-img compare", "qemu-img", "compare", "-f", "raw", "-F", "raw", URL, copy)
    status, text = client(
        "qemu-io", "-f", "raw", URL, "-c", "write -P 0x5a 0 1M", "-c", "write -P 0xa5 4097536 12k",
        "-c", "aio_write -P 0x11 8M 512k", "-c", "aio_write -P 0x22 9M 4k", "-c", "aio_flush",
        "-c", "flush", "-c", "read -P 0x5a 0 1M", "-c", "read -P 0xa5 4097536 12k",
        "-c", "read -P 0x11 8M 512k", "-c", "write -z 2M 64k", "-c", "read -P 0 2M 64k", "-c",
        "flush")
    tap.ok(status == 0 and "Pattern verification failed" not in text and "error" not in text,
           "qemu-io writes and verifies patterns", text)
    want = bytearray(data)
    for offset, size, value in ((0, MIB, 0x5A), (4097536, 12288, 0xA5), (8 * MIB, 512 * 1024, 0x11),
                                (9 * MIB, 4096, 0x22), (2 * MIB, 65536, 0)):
        want[offset:offset + size] = bytes([value]) * size
    tap.ok(content(image, 0, len(want)) == bytes(want), "the image holds exactly what was written")
    check("qemu-img bench, 32 requests at a time", "qemu-img", "bench", "-c", "2000", "-d", "32",
          "-f", "raw", "-t", "none", "-s", "4096", URL)
    check("two clients one after the other", "sh", "-c",
          f"qemu-img info {URL} && qemu-img info {URL}")
    check("a wrong namespace is an error", "qemu-img", "info", f"nvme://{NVME}/7", expect=1)

run_test(body)
