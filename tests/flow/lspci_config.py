#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""lspci as an independent judge of configuration space: it must read our dump without complaint."""
import re
import shutil
import subprocess
import sys
import tempfile

WANTED = [
    r"^64:00\.0 PCI bridge: Device 1234:5001",
    r"Bus: primary=64, secondary=65, subordinate=65",
    r"Memory behind bridge: 80000000-800fffff",
    r"Prefetchable memory behind bridge: 0000380000000000-0000380003ffffff",
    r"Express \(v2\) Root Port \(Slot-\)",
    r"ACSCtl:\tSrcValid\+ TransBlk- ReqRedir\+ CmpltRedir\+ UpstreamFwd\+",
    r"^65:00\.0 Non-Volatile memory controller: Device 1234:5004",
    r"Region 0: Memory at 80000000 \(64-bit, non-prefetchable\)",
    r"Region 2: Memory at 380000000000 \(64-bit, prefetchable\)",
    r"Region 5: I/O ports at 1000",
    r"MSI: Enable- Count=1/16 Maskable\+ 64bit\+",
    r"MSI-X: Enable- Count=33 Masked-",
    r"Express \(v2\) Endpoint",
    r"FLReset\+",
    r"LnkSta:\tSpeed 8GT/s, Width x4$",
    r"Advanced Error Reporting",
    r"Device Serial Number 11-22-33-44-55-66-77-88",
    r"^66:00\.0 Non-Volatile memory controller",
]
COMPLAINTS = r"!!!|unknown|invalid|broken|corrupt|denied|loop|truncated|downgraded|overdriven"


def main():
    if not shutil.which("lspci"):
        print("lspci is not installed (package pciutils)")
        return 77
    dump = subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, check=True, timeout=30).stdout
    with tempfile.NamedTemporaryFile() as file:
        file.write(dump)
        file.flush()
        run = subprocess.run(["lspci", "-vvv", "-F", file.name], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=True, timeout=30)
    bad = 0
    for pattern in WANTED:
        if not re.search(pattern, run.stdout, re.M):
            print("missing:", pattern)
            bad = 1
    for line in run.stdout.splitlines():
        if re.search(COMPLAINTS, line, re.I):
            print("complaint:", line)
            bad = 1
    return bad


sys.exit(main())
