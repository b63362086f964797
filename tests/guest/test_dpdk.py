#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Stock DPDK 22.11: EAL finds, probes and sets up a device, twice; see dpdk_client.py."""

import ctypes
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:66:00.0"
CLIENT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "dpdk_client.py")


def body(tap, args, place):
    try:
        ctypes.CDLL("librte_eal.so.23")
    except OSError:
        skip_all("DPDK 22.11 is not installed (librte-bus-pci23)")
    env = dict(os.environ, **place.env)
    out = subprocess.run(
        [*place.prefix, place.uvfio, "run", "--device", f"testdev,bdf={BDF}", "--",
         "/usr/bin/python3", place.visible(CLIENT), BDF], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=60)
    said = dict((line[2:].split(" ", 1) + [""])[:2] for line in out.stdout.splitlines()
                if line.startswith("@@"))
    tap.equal(out.returncode, 0, "the client ends well")
    tap.ok(int(said.get("eal-init", -1)) >= 0, "rte_eal_init()")
    tap.equal(said.get("vfio-enabled"), "1 1", "EAL takes VFIO for available")
    tap.ok("using IOMMU type 1" in out.stdout.replace("Using", "using"),
           "EAL chose type1 version 1")
    tap.equal(said.get("setup-device"), "0", "rte_vfio_setup_device()")
    tap.equal(said.get("device-info"), "flags 0x3 regions 9 irqs 5", "what EAL was told")
    tap.equal(said.get("id"), "0x75766601 0x50001234", "a register and the configuration space")
    tap.equal(said.get("dma"), "1 5000 True", "a DMA to memory that EAL mapped")
    tap.equal(said.get("beyond"), "2 0 True", "a DMA beyond it moves nothing")
    tap.equal(said.get("dma-unmap"), "0", "rte_vfio_container_dma_unmap()")
    tap.equal(said.get("unmapped"), "2 0", "a DMA after the unmap moves nothing")
    tap.equal(said.get("setup-again"), "0", "released and set up again")
    tap.equal(said.get("cleanup"), "0", "rte_eal_cleanup()")
    if tap.bad:
        print("# " + "\n".join(out.stdout.splitlines()[-40:]).replace("\n", "\n# "))


run_test(body)
