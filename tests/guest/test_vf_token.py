#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A PF and its VFs in QEMU's hands, with QEMU's vf-token option: who does not know the token gets neither a
VF nor a PF whose VFs are in use; one guest owns a PF and both of its VFs, and each disk works; the guest's
lspci -vvv shows them. The VFs are made as a host makes those of a PF that vfio-pci has."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403
from stock import newer_qemu  # noqa: E402

TOKEN = "00112233-4455-6677-8899-aabbccddeeff"
OTHER = "00112233-4455-6677-8899-aabbccddee00"
VFS = ("0000:65:00.1", "0000:65:00.2")
LSPCI = "/usr/bin/lspci"
SCRIPT = """
n=0; while [ "$(ls /dev/nvme?n1 2>/dev/null | wc -l)" != 3 ] && [ $n -lt 400 ]; do n=$((n + 1)); usleep 50000; done
i=0
for d in /dev/nvme?n1; do
	guestio stamp $d 1048576 262144 $i | sed "s/@@stamp/@@stamp$i/"
	guestio verify $d 4 100 32768 $i | sed "s/@@verify/@@verify$i/"
	i=$((i + 1))
done
say drivers $(for d in /sys/bus/pci/drivers/nvme/0*; do basename $d; done)
say errors $(dmesg | grep -ciE 'nvme.*(timeout, |abort|failed|error)|I/O error')
LSPCI -n -vvv 2>&1 | sed 's/^/@lspci:/'
""".replace("LSPCI", LSPCI)
# Before the guest, in the same run. $1 is the program that would have been run.
HOST = """
shift
cd %(dir)s || exit 90
pf=/sys/bus/pci/devices/%(pf)s
qemu() { %(qemu)s "$@"; }
# Whether QEMU gets the devices.
try() { key=$1; shift; echo quit | qemu -accel tcg -machine q35 -m 64 -nodefaults -display none -S -monitor stdio \
	"$@" >out.$key 2>&1; echo "@@$key $? $(grep -i 'vfio [0-9a-f]*:[0-9a-f]*:\\|error' out.$key | tr '\\r\\n' '  ')"; }
dev() { echo vfio-pci,host=$1${2:+,vf-token=$2}; }
echo N >/sys/module/vfio_pci/parameters/enable_sriov
echo 2 2>/dev/null >$pf/sriov_numvfs; echo "@@forbidden $? $(cat $pf/sriov_numvfs)"
echo Y >/sys/module/vfio_pci/parameters/enable_sriov
echo 2 >$pf/sriov_numvfs
echo "@@made $(basename $(readlink $pf/virtfn0)) $(basename $(readlink $pf/virtfn1/driver))"
try unknown -device $(dev %(vf)s %(token)s)
try known -device $(dev %(pf)s %(token)s)
mkfifo hold
qemu -accel tcg -machine q35 -m 64 -nodefaults -display none -S -monitor stdio \
	-device $(dev %(vf)s %(token)s) <hold >holder 2>&1 &
exec 7>hold
n=0; until grep -q QEMU holder || [ $n -gt 300 ]; do n=$((n + 1)); sleep 0.1; done
try without -device $(dev %(pf)s)
try wrong -device $(dev %(pf)s %(other)s)
try right -device $(dev %(pf)s %(token)s)
try busy -device $(dev %(vf)s %(token)s)
echo quit >&7; exec 7>&-
wait
try free -device $(dev %(pf)s %(token)s) -device $(dev %(vf)s %(token)s)
exec %(qemu)s "$@"
"""


def pci_blocks(g):
    """lspci's text, by function."""
    text = "\n".join(line[7:] for line in g.console if line.startswith("@lspci:"))
    return {block.split()[0]: block for block in text.split("\n\n") if block.strip()}


def check_host(tap, said):
    tap.equal(said.get("forbidden", "")[2:], "0", "no VFs where vfio-pci is told to make none")
    tap.equal(said.get("made"), f"{VFS[0]} vfio-pci", "VFs that vfio-pci has as well")
    for key, good, name in (("unknown", False, "a VF before its PF has the token"),
                            ("known", True, "the PF, which gets a token"),
                            ("without", False, "the PF without the token, a VF in use"),
                            ("wrong", False, "the PF with a wrong one"),
                            ("right", True, "the PF with the right one"),
                            ("busy", False, "a VF for the second time"),
                            ("free", True, "PF and VF, when nobody has them")):
        status, _, text = said.get(key, "none").partition(" ")
        tap.ok((status == "0") == good and status != "none", name, f"{status} {text}")
        if not good:
            want = "busy" if key == "busy" else "Permission denied"
            tap.ok(want in text, f"{name}: {want}", text)


def check_lspci(tap, blocks):
    ours = [b for b in blocks.values() if "Kernel driver in use: nvme" in b or " 0108: " in b]
    tap.equal(len(ours), 3, "lspci -vvv shows three controllers")
    # What says that it is a PF, its SR-IOV capability, QEMU keeps from guests.
    tap.equal(sum("MSI: Enable" in b for b in ours), 1, "one of them, the PF, with MSI")
    for block in ours:
        tap.ok(re.search(r"MSI-X: Enable\+", block) and "Region 0: Memory at" in block and
               "Express" in block and not re.search(r"!!!|invalid|<access denied>", block),
               f"lspci -vvv of {block.split()[0]}", block)


def body(tap, args, place):
    image, _ = make_image(place)
    qemu = " ".join(newer_qemu(place, 9))
    host = HOST % {"pf": NVME, "vf": VFS[0], "token": TOKEN, "other": OTHER, "qemu": qemu,
                   "dir": place.path("host")}
    os.mkdir(place.path("host"))
    place.own(place.path("host"))
    args.device_keys = "vfs=2,vf_mem=16M"
    devices = [w for bdf in (NVME, *VFS) for w in ("-device", f"vfio-pci,host={bdf},vf-token={TOKEN}")]
    g = guest(SCRIPT, place, args, image, timeout=270, passthrough=(), programs=(LSPCI,), qemu=devices,
              wrap=["sh", "-c", host, "sh"])
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    check_host(tap, g.results)
    for i in range(3):
        tap.equal(g.results.get(f"stamp{i}"), "ok", f"write to disk {i}")
        tap.ok(g.results.get(f"verify{i}", "").startswith("ok"), f"verified I/O on disk {i}",
               g.results.get(f"verify{i}"))
    tap.equal(len(g.results.get("drivers", "").split()), 3, "the guest's nvme has PF and VFs")
    tap.equal(g.results.get("errors"), "0", "no error in the guest's log")
    check_lspci(tap, pci_blocks(g))
    if tap.bad:
        print("# " + g.tail(40).replace("\n", "\n# "))


run_test(body)
