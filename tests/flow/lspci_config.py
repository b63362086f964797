#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""lspci as an independent judge of configuration space: it must read our dump without complaint."""
import re
import shutil
import subprocess
import sys
import tempfile

WANTED = [
    r"^00:00\.0 Non-Volatile memory controller",
    r"^00:01\.0 PCI bridge: Device 1234:5001",
    r"Bus: primary=00, secondary=01, subordinate=05",
    r"Express \(v2\) Root Port \(Slot\+\)",
    r"Slot #5, PowerLimit 0W",
    r"SltSta:.*PresDet\+",
    r"Express \(v2\) Root Complex Integrated Endpoint",
    r"ACSCtl:\tSrcValid- TransBlk- ReqRedir\+ CmpltRedir\+ UpstreamFwd-",
    r"^01:00\.0 PCI bridge: Device 1234:5002",
    r"Bus: primary=01, secondary=02, subordinate=05",
    r"Express \(v2\) Upstream Port",
    r"^02:00\.0 PCI bridge: Device 1234:5003",
    r"Express \(v2\) Downstream Port \(Slot-\)",
    r"Express \(v2\) Downstream Port \(Slot\+\)",
    r"^04:00\.0 PCI bridge: Device 1234:5004",
    r"Express \(v2\) PCI-Express to PCI/PCI-X Bridge",
    r"^00:1e\.0 PCI bridge: Device 1234:5005",
    r"Bus: primary=00, secondary=06, subordinate=06",
    r"^64:00\.0 PCI bridge: Device 1234:5001",
    r"Bus: primary=64, secondary=65, subordinate=65",
    r"Memory behind bridge: 80400000-804fffff",
    r"Prefetchable memory behind bridge: 000038001c000000-000038001fffffff",
    r"Express \(v2\) Root Port \(Slot-\)",
    r"ACSCtl:\tSrcValid\+ TransBlk- ReqRedir\+ CmpltRedir\+ UpstreamFwd\+",
    r"^65:00\.0 Non-Volatile memory controller: Device 1234:5004",
    r"Region 0: Memory at 80400000 \(64-bit, non-prefetchable\)",
    r"Region 2: Memory at 38001c000000 \(64-bit, prefetchable\)",
    r"Region 5: I/O ports at 5000",
    r"MSI: Enable- Count=1/16 Maskable\+ 64bit\+",
    r"MSI-X: Enable- Count=33 Masked-",
    r"Express \(v2\) Endpoint",
    r"FLReset\+",
    r"LnkSta:\tSpeed 8GT/s, Width x4$",
    r"Advanced Error Reporting",
    r"Device Serial Number 11-22-33-44-55-66-77-88",
    r"^66:00\.0 Non-Volatile memory controller",
    r"Bus: primary=6f, secondary=70, subordinate=71",
    r"Alternative Routing-ID Interpretation \(ARI\)",
    r"ARICap:\tMFVC- ACS-, Next Function: 0",
    r"Single Root I/O Virtualization \(SR-IOV\)",
    r"IOVCap:\tMigration- 10BitTagReq- Interrupt Message Number: 000",
    r"IOVCtl:\tEnable\+ Migration- Interrupt- MSE\+ ARIHierarchy\+ 10BitTagReq-",
    r"IOVSta:\tMigration-",
    r"Initial VFs: 75, Total VFs: 75, Number of VFs: 3, Function Dependency Link: 00",
    r"VF offset: 128, stride: 2, Device ID: 5008",
    r"Supported Page Size: 00000553, System Page Size: 00000001",
    r"Region 0: Memory at 0000380024000000 \(64-bit, prefetchable\)",
    r"Region 4: Memory at 80605000 \(32-bit, non-prefetchable\)",
    r"VF Migration: offset: 00000000, BIR: 0",
    r"^70:10\.4 Non-Volatile memory controller: Device 1234:5008",
    r"MSI-X: Enable- Count=3 Masked-",
]
TREE = r"""
-+-[0000:00]-+-00.0
 |           +-01.0-[01-05]----00.0-[02-05]--+-00.0-[03]----00.0
 |           |                               \-01.0-[04-05]----00.0-[05]----01.0
 |           +-02.0
 |           +-03.0
 |           +-03.1
 |           \-1e.0-[06]----00.0
 +-[0000:64]-+-00.0-[65]----00.0
 |           \-01.0-[66]----00.0
 \-[0000:6f]---00.0-[70-71]--+-00.0
                             +-10.0
                             +-10.2
                             \-10.4
"""
# The link is the PF's: what a VF's registers say of its state is 0, and lspci knows no such speed.
VF_LINK = r"\tLnkSta:\tSpeed unknown \(downgraded\), Width x0 \(downgraded\)$"
VFS = 3
COMPLAINTS = r"!!!|unknown|invalid|broken|corrupt|denied|loop|truncated|downgraded|overdriven"


def lspci(*args):
    return subprocess.run(["lspci", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=True, timeout=30)


def main():
    if not shutil.which("lspci"):
        print("lspci is not installed (package pciutils)")
        return 77
    dump = subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, check=True, timeout=30).stdout
    with tempfile.NamedTemporaryFile() as file:
        file.write(dump)
        file.flush()
        run = lspci("-vvv", "-F", file.name)
        tree = lspci("-t", "-F", file.name)
    bad = 0
    if tree.stdout.strip() != TREE.strip():
        print("another tree:", tree.stdout, sep="\n")
        bad = 1
    for pattern in WANTED:
        if not re.search(pattern, run.stdout, re.M):
            print("missing:", pattern)
            bad = 1
    lines = run.stdout.splitlines()
    if sum(bool(re.search(VF_LINK, line)) for line in lines) != VFS:
        print("not", VFS, "virtual functions")
        bad = 1
    for line in lines:
        if re.search(COMPLAINTS, line, re.I) and not re.search(VF_LINK, line):
            print("complaint:", line)
            bad = 1
    return bad


sys.exit(main())
