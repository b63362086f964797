#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The NVMe controller judged by Debian's nvme-cli in a guest: exit status and decoded text.

The text that nvme-cli prints for a status, a field or a bit is its own reading of the specification,
so a wrong number of ours shows as a wrong word.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

CLI = "/usr/sbin/nvme"
CTRL, DISK = "/dev/nvme0", "/dev/nvme0n1"
BLOCKS = 64 * MIB // 512

OPCODE = "Invalid Command Opcode"
FIELD = "Invalid Field in Command"
NAMESPACE = "Invalid Namespace or Format"
RANGE = "LBA Out of Range"
LOG = "Invalid Log Page"
QUEUE = "Invalid Queue Identifier"

# name, arguments, exit status, words of the output
RUNS = [
    ("list", "list", 0, [DISK, "uvfio NVMe Controller", "512   B +  0 B", "67.11  MB"]),
    ("subsystem", "list-subsys", 0, ["nvme0 pcie", "live"]),
    ("namespaces", f"list-ns {CTRL}", 0, ["0]:0x1"]),
    ("allocated", f"list-ns -a {CTRL}", 0, ["0]:0x1"]),
    ("controllers", f"list-ctrl {CTRL}", 0, ["num of ctrls present: 1", "0]:0x1"]),
    ("attached", f"list-ctrl {CTRL} -n 1", 0, ["num of ctrls present: 1", "0]:0x1"]),
    ("descriptors", f"ns-descs {DISK}", 0, ["eui64", "nguid", "uuid"]),
    ("id-ctrl", f"id-ctrl {CTRL} -H", 0, [
        "Format NVM Not Supported", "0x1\tVerify Supported", "0x1\tWrite Zeroes Supported",
        "0x1\tData Set Management Supported", "0x1\tCompare Supported", "Timestamp Not Supported",
        "0x1\tVolatile Write Cache Present", "0x1\tFirmware Slot 1 Read-Only", "I/O Controller",
        "The Flush command supports NSID set to FFFFFFFFh", "Command Effects Log Page Supported"]),
    ("id-ns", f"id-ns {DISK} -H", 0, [
        "Data Size: 512 bytes", "0x1\tNPWG, NPWA, NPDG, NPDA, and NOWS are Supported",
        "Bytes Read From a Deallocated Logical Block and its Metadata are 0x00",
        "0x1\tDeallocate Bit in the Write Zeroes Command is Supported"]),
    ("id-ns-allocated", f"id-ns -f {DISK}", 0, [f"nsze    : {BLOCKS:#x}"]),
    ("id-ns-2", f"id-ns {DISK} -n 2", 1, [NAMESPACE]),
    ("registers", f"show-regs {CTRL} -H", 0, [
        "NVMe specification 1.4", "65536 bytes", "(NSSRS): Yes", "30000 ms", "(MQES): 1024",
        "(CQR): Yes", "I/O Completion Queue Entry Size (IOCQES): 16 bytes", "(RDY): Yes",
        "(CFS): False", "(NSSRO): No", "Controller Memory Buffer feature is not supported",
        "The Persistent Memory Region is Not Supported"]),
    ("smart-of-namespace", f"smart-log {DISK} -n 1", 1, [FIELD]),
    ("changed", f"changed-ns-list-log {CTRL}", 1, [LOG]),
    ("self-test-log", f"self-test-log {CTRL}", 1, [LOG]),
    ("log-70", f"get-log {CTRL} -i 0x70 -l 512", 1, [LOG]),
    ("log-past-end", f"get-log {CTRL} -i 2 -l 512 -o 516", 1, [FIELD]),
    ("log-unaligned", f"get-log {CTRL} -i 2 -l 512 -o 2", 1, [FIELD]),
    ("log-longer", f"get-log {CTRL} -i 2 -l 1024", 0, ["0000: 00 36 01 64 0a 00"]),
    ("log-from", f"get-log {CTRL} -i 2 -l 16 -o 192", 0, ["0000: 00 00 00 00 00 00 00 00 36 01"]),
    ("default", f"get-feature {CTRL} -f 4 -s 1", 0, ["Default value:0x00000157"]),
    ("saved", f"get-feature {CTRL} -f 4 -s 2", 0, ["Saved value:0x00000157"]),
    ("capabilities", f"get-feature {CTRL} -f 4 -s 3", 0, ["Feature is changeable"]),
    ("select-4", f"get-feature {CTRL} -f 4 -s 4", 1, [FIELD]),
    ("no-sensor", f"get-feature {CTRL} -f 4 --cdw11=0x20000", 1, [FIELD]),
    ("cache-off", f"set-feature {CTRL} -f 6 -v 0", 0, ["value:00000000"]),
    ("cache-is-off", f"get-feature {CTRL} -f 6 -H", 0, ["(WCE): Disabled"]),
    ("not-saveable", f"set-feature {CTRL} -f 6 -v 1 --save", 1, ["Feature Identifier Not Saveable"]),
    ("queues-late", f"set-feature {CTRL} -f 7 -v 0x10001", 1, ["Command Sequence Error"]),
    ("power-1", f"set-feature {CTRL} -f 2 -v 1", 1, [FIELD]),
    ("reset", f"reset {CTRL}", 0, []),
    ("cache-is-on", f"get-feature {DISK} -f 6 -H", 0, ["(WCE): Enabled"]),
    ("flush", f"flush {DISK}", 0, ["success"]),
    ("verify-past-end", f"verify {DISK} -s {BLOCKS} -c 0", 1, [RANGE]),
    ("read-past-end", f"read {DISK} -s {BLOCKS} -c 0 -z 512", 1, [RANGE]),
    ("zero-past-end", f"write-zeroes {DISK} -s {BLOCKS - 2} -c 2", 1, [RANGE]),
    ("dsm-past-end", f"dsm {DISK} -d -s {BLOCKS - 2} -b 3", 1, [RANGE]),
    ("write-uncor", f"write-uncor {DISK} -s 8 -c 0", 1, [OPCODE]),
    ("io-55", f"io-passthru {DISK} --opcode=0x55 -n 1", 1, [OPCODE]),
    ("io-too-long", f"io-passthru {DISK} --opcode=2 -n 1 -l 512 -r --cdw12=0x1000", 1, [FIELD]),
    ("admin-7f", f"admin-passthru {CTRL} --opcode=0x7f", 1, [OPCODE]),
    ("keep-alive", f"admin-passthru {CTRL} --opcode=0x18", 1, [OPCODE]),
    ("identify-55", f"admin-passthru {CTRL} --opcode=6 -l 4096 -r --cdw10=0x55", 1, [FIELD]),
    ("delete-sq-99", f"admin-passthru {CTRL} --opcode=0 --cdw10=99", 1, [QUEUE]),
    ("delete-cq-1", f"admin-passthru {CTRL} --opcode=4 --cdw10=1", 1, ["Invalid Queue Deletion"]),
    ("create-cq-99", f"admin-passthru {CTRL} --opcode=5 --cdw10=0xf0063 --cdw11=1", 1, [QUEUE]),
    ("create-cq-size", f"admin-passthru {CTRL} --opcode=5 --cdw10=0x4000009 --cdw11=1", 1,
     ["Invalid Queue Size"]),
    ("create-cq-vector", f"admin-passthru {CTRL} --opcode=5 --cdw10=0xf0009 --cdw11=0x110003", 1,
     ["Invalid Interrupt Vector"]),
    ("create-sq-no-cq", f"admin-passthru {CTRL} --opcode=1 --cdw10=0xf0009 --cdw11=0x90001", 1,
     ["Completion Queue Invalid"]),
    ("abort-99", f"admin-passthru {CTRL} --opcode=8 --cdw10=0x630063", 1, [FIELD]),
    ("format", f"format {DISK} -f -l 0", 1, [OPCODE]),
    ("sanitize", f"sanitize {CTRL} -a 2", 1, [OPCODE]),
    ("self-test", f"device-self-test {CTRL} -s 1", 1, [OPCODE]),
    ("firmware", f"fw-commit {CTRL} -s 1 -a 1", 1, [OPCODE]),
    ("security", f"security-recv {CTRL} -x 64 -t 64 -p 0", 1, [OPCODE]),
    # A reset that the driver does not know of, until it resets the controller itself.
    ("subsystem-reset", f"subsystem-reset {CTRL}", 0, []),
    ("reset-again", f"reset {CTRL}", 0, []),
    ("reset-seen", f"show-regs {CTRL} -H", 0, ["(NSSRO): Yes", "(RDY): Yes", "(CFS): False"]),
    ("reads-again", f"read {DISK} -s 0 -c 7 -z 4096", 0, ["Success"]),
]

FEATURES = [*range(0x18), *range(0x80, 0x85)]
KNOWN = {1: "Arbitration", 2: "Power Management", 4: "Temperature Threshold", 5: "Error Recovery",
         6: "Volatile Write Cache", 7: "Number of Queues", 8: "Interrupt Coalescing",
         9: "Interrupt Vector Configuration", 10: "Write Atomicity Normal",
         11: "Async Event Configuration"}

# What counts, between two looks at the counters.
TRAFFIC = f"""
dd if=/dev/urandom of=/tmp/data bs=4096 count=1 2>/dev/null
dd if=/dev/urandom of=/tmp/other bs=4096 count=1 2>/dev/null
t smart-before {CLI} smart-log {CTRL} -o json
t write {CLI} write {DISK} -s 16 -c 7 -z 4096 -d /tmp/data
t read {CLI} read {DISK} -s 16 -c 7 -z 4096 -d /tmp/back
t same cmp /tmp/data /tmp/back
t compare {CLI} compare {DISK} -s 16 -c 7 -z 4096 -d /tmp/data
t verify {CLI} verify {DISK} -s 16 -c 7
t zero {CLI} write-zeroes {DISK} -s 16 -c 3
t deallocate {CLI} dsm {DISK} -d -s 24 -b 8
t miscompare {CLI} compare {DISK} -s 16 -c 7 -z 4096 -d /tmp/other
t errors {CLI} error-log {CTRL} -e 2 -o json
t smart-after {CLI} smart-log {CTRL} -o json
"""

SCRIPT = f"""
d=$(nvme_wait) || say disk none
dmesg -n 1
t() {{ k=$1; shift; "$@" >/tmp/out 2>&1; say $k $?
	awk -v k=$k '{{ print "@@" k "." NR " " $0 }}' /tmp/out; }}
t id-ctrl-json {CLI} id-ctrl {CTRL} -o json
t id-ns-json {CLI} id-ns {DISK} -o json
t fw-json {CLI} fw-log {CTRL} -o json
t effects-text {CLI} effects-log {CTRL}
for f in {" ".join(str(f) for f in FEATURES)}; do t feature-$f {CLI} get-feature {DISK} -f $f; done
t feature-of-all {CLI} get-feature {CTRL} -f 5
{TRAFFIC}
""" + "".join(f"t {name} {CLI} {arguments}\n" for name, arguments, _, _ in RUNS)

ID_CTRL = {"mdts": 8, "ver": 0x10400, "oacs": 0, "oncs": 0x9D, "vwc": 7, "sqes": 0x66, "cqes": 0x44,
           "nn": 1, "lpa": 6, "elpe": 63, "acl": 3, "aerl": 3, "frmw": 3, "npss": 0, "sgls": 0,
           "fuses": 0, "kas": 0, "cntrltype": 1, "tnvmcap": str(64 * MIB)}
ID_NS = {"nsze": BLOCKS, "ncap": BLOCKS, "nuse": BLOCKS, "nsfeat": 16, "dlfeat": 9, "npwg": 7,
         "lbafs": [{"ms": 0, "ds": 9, "rp": 0}], "nvmcap": str(64 * MIB)}
EFFECTS = """ACS0 Delete I/O Submission Queue 1
ACS1 Create I/O Submission Queue 1
ACS2 Get Log Page 1
ACS4 Delete I/O Completion Queue 1
ACS5 Create I/O Completion Queue 1
ACS6 Identify 1
ACS8 Abort 1
ACS9 Set Features 1
ACS10 Get Features 1
ACS12 Asynchronous Event Request 1
IOCS0 Flush 1
IOCS1 Write 3
IOCS2 Read 1
IOCS5 Compare 1
IOCS8 Write Zeroes 3
IOCS9 Dataset Management 3
IOCS12 Verify 1"""


class Said:
    """What the commands said, by name."""

    def __init__(self, tap, results):
        self.tap, self.results = tap, results

    def text(self, name):
        lines, n = [], 1
        while f"{name}.{n}" in self.results:
            lines.append(self.results[f"{name}.{n}"])
            n += 1
        return "\n".join(lines)

    def check(self, name, status, words):
        text = self.text(name)
        lacks = [word for word in words if word not in text]
        got = self.results.get(name)
        self.tap.ok(got == str(status) and not lacks, name,
                    "" if got == str(status) and not lacks
                    else f"status {got}, want {status}; lacks {lacks}\n{text}")

    def json(self, name):
        try:
            return json.loads(self.text(name))
        except ValueError:
            self.tap.ok(False, f"{name} is JSON", self.text(name))
            return {}


def check_features(said):
    for fid in FEATURES:
        if fid in KNOWN:
            said.check(f"feature-{fid}", 0, [f"({KNOWN[fid]})"])
        else:
            said.check(f"feature-{fid}", 1, [FIELD])
    said.check("feature-of-all", 1, [NAMESPACE])


def check_traffic(tap, said):
    for name in ("write", "read", "compare", "verify", "zero", "deallocate"):
        said.check(name, 0, [])
    said.check("same", 0, [])
    said.check("miscompare", 1, ["Compare Failure"])
    before, after = said.json("smart-before"), said.json("smart-after")
    grown = {key: int(after.get(key, 0)) - int(before.get(key, 0)) for key in (
        "host_read_commands", "host_write_commands", "media_errors", "power_cycles",
        "unsafe_shutdowns")}
    tap.equal(grown, {"host_read_commands": 3, "host_write_commands": 1, "media_errors": 0,
                      "power_cycles": 0, "unsafe_shutdowns": 0},
              "what the traffic added to the counters")
    tap.equal((after.get("temperature"), after.get("critical_warning"), after.get("avail_spare")),
              (310, 0, 100), "health")
    entry = said.json("errors").get("errors", [{}])[0]
    tap.equal(str(entry.get("error_count")), after.get("num_err_log_entries"),
              "the newest error entry is the last one counted")
    tap.ok(entry.get("sqid", 0) > 0, "it names an I/O queue")
    tap.equal((entry.get("status_field", 0) & 0x7FF, entry.get("lba"), entry.get("nsid")),
              (0x285, 16, 1), "its status, block and namespace")


def subset(found, want):
    return {key: found.get(key) for key in want}


def body(tap, args, place):
    if not os.path.exists(CLI):
        skip_all("nvme-cli is not installed")
    image, data = make_image(place)
    # nvme-cli maps the registers, which Linux else keeps to the driver.
    g = guest(SCRIPT, place, args, image, timeout=240, programs=[CLI], append="iomem=relaxed")
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    said = Said(tap, g.results)
    tap.equal(subset(said.json("id-ctrl-json"), ID_CTRL), ID_CTRL, "Identify Controller")
    tap.equal(subset(said.json("id-ns-json"), ID_NS), ID_NS, "Identify Namespace")
    said.check("fw-json", 0, ['"Active Firmware Slot (afi)":1'])
    effects = [line.replace("[", " ").replace("]", " ").split()
               for line in said.text("effects-text").splitlines() if "CS" in line and "[" in line]
    tap.equal("\n".join(" ".join([*words[:-1], str(int(words[-1], 16))]) for words in effects),
              EFFECTS, "commands supported and effects")
    check_features(said)
    check_traffic(tap, said)
    for name, _, status, words in RUNS:
        said.check(name, status, words)
    tap.equal(g.results.get("end"), "0", "the guest powered off by itself")
    want = data[:16 * 512] + bytes(4 * 512)
    tap.ok(content(image, 0, len(want)) == want, "the image holds what the commands wrote")

run_test(body)
