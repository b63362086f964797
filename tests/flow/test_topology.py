#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""test_topology.py UVFIO EXAMPLES: machine files as `uvfio check` shows them and as a command under
`uvfio run` finds them. Every file in EXAMPLES is one; those whose groups were measured on a real
kernel have theirs here."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from tap import Tap, place_of  # noqa: E402

PATIENCE = 60
COMPLAINTS = r"!!!|unknown|invalid|broken|corrupt|denied|loop|truncated|overdriven"

# In order of a scan: bus 0 first, then bus by bus.
MEASURED = {
    "host-bridge": {"00:00.0": 0},
    "port-with-acs": {"00:01.0": 0, "01:00.0": 1},
    "port-without-acs": {"00:01.0": 0, "01:00.0": 0},
    "switch-without-acs": {"00:01.0": 0, "01:00.0": 1, "02:00.0": 2, "02:01.0": 3, "03:00.0": 2,
                           "04:00.0": 3},
    "functions-without-acs": {"00:01.0": 0, "01:00.0": 1, "01:00.1": 1},
    "pcie-to-pci": {"00:01.0": 0, "01:00.0": 1, "02:01.0": 1, "02:02.0": 1},
    "ports-of-one-slot": {"00:01.0": 0, "00:01.1": 1, "01:00.0": 2, "02:00.0": 3},
    "conventional": {"00:04.0": 0},
    "conventional-functions": {"00:04.0": 0, "00:04.1": 0},
    "chipset": {"00:1f.0": 0, "00:1f.2": 0, "00:1f.3": 0},
}

SERVER = """\
0000:00
├─0000:00:00.0
├─0000:00:01.0
│ └─0000:10:00.0
├─0000:00:02.0
│ └─0000:20:00.0
│   ├─0000:21:00.0
│   │ └─0000:22:00.0
│   ├─0000:21:01.0
│   │ └─0000:23:00.0
│   └─0000:21:02.0
├─0000:00:03.0
│ └─0000:30:00.0
│   ├─0000:31:01.0
│   └─0000:31:02.0
├─0000:00:1f.0
└─0000:00:1f.2
0000:80
└─0000:80:01.0
  └─0000:81:00.0
    ├─0000:82:00.0
    │ └─0000:83:00.0
    └─0000:82:00.1
      └─0000:84:00.0
"""


class Args:
    uvfio = sys.argv[1]
    as_root = "--as-root" in sys.argv


def run(place, *argv, **env):
    out = subprocess.run(argv, text=True, cwd=place.dir, timeout=PATIENCE,
                         env={**os.environ, **place.env, **env}, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return out.returncode, out.stdout, out.stderr


def check(place, *argv, **env):
    return run(place, *place.plain_prefix, place.uvfio, "check", *argv, **env)


def under(place, file, script):
    status, out, err = run(place, *place.prefix, place.uvfio, "run", "--machine", file, "--", "sh",
                           "-c", script)
    if status:
        raise SystemExit(f"{file}: {script}: {status}: {err}")
    return out


def flat(devices):
    for device in devices:
        yield device
        yield from flat(device.get("devices", []))


def devices_of(tree):
    for root in tree["root_buses"]:
        yield from flat(root["devices"])


def branches(text):
    """The first column, without the title and what comes behind the table."""
    table = text.split("\n\n")[0].splitlines()[1:]
    return "".join(re.match(r"(.*?\w)(?: {2}|$)", line)[1] + "\n" for line in table)


def examples(tap, place, folder):
    names = sorted(glob.glob(os.path.join(folder, "**", "*.json"), recursive=True))
    seen = set()
    for file in names:
        name = os.path.basename(file).removesuffix(".json")
        seen.add(name)
        status, out, err = check(place, "--json", file)
        tap.ok(status == 0 and not err, f"check {name}", err)
        tree = json.loads(out)
        if name in MEASURED:
            tap.equal({d["bdf"][5:]: d["group"] for d in devices_of(tree)}, MEASURED[name],
                      f"{name}: groups as measured")
    tap.ok(set(MEASURED) <= seen, "every shape that was measured is an example")


def text(tap, place, folder):
    server = os.path.join(folder, "server.json")
    status, out, err = check(place, server, LC_ALL="C.UTF-8")
    tap.ok(status == 0 and not err, "check server", err)
    tap.equal(branches(out), SERVER, "the tree as text")
    tap.ok("warning: the devices of group 12 go to one user together: 0000:31:01.0 0000:31:02.0\n"
           "  PCIe-to-PCI bridge 0000:30:00.0 puts its own id" in out, "a bridge that hides")
    tap.ok("  downstream port 0000:82:00.0 has no access control services" in out,
           "a port without ACS")
    tap.ok("group 1 " not in out.split("\n\n", 1)[1], "no word about who is alone")
    status, out, err = check(place, server, LC_ALL="C")
    tap.ok(out.isascii() and "|-0000:00:00.0" in out and "`-0000:80:01.0" in out, "in ASCII")


def mistakes(tap, place):
    bad = os.path.join(place.dir, "bad.json")
    with open(bad, "w", encoding="utf-8") as f:
        f.write('{ "root_buses": [ { "devices": [\n{ "model": "downstream-port" } ] } ] }\n')
    status, out, err = check(place, bad)
    tap.equal((status, out, err),
              (1, "", f"uvfio check: {bad}:2: downstream-port at 0000:00:00.0: a downstream port "
                      "cannot be on a root bus; put it below an upstream port\n"), "an error")
    tap.equal(check(place)[0], 2, "no file")
    tap.equal(check(place, bad, bad)[0], 2, "two files")
    tap.equal(check(place, "nowhere.json")[0], 1, "a file that is not there")


def inside(tap, place, folder):
    """What a command finds in /sys is what check shows, and lspci has nothing to complain about."""
    for name in ("laptop", "server", "groups/switch-without-acs", "groups/pcie-to-pci"):
        file = os.path.join(folder, name + ".json")
        want = {d["bdf"]: str(d["group"]) for d in
                devices_of(json.loads(check(place, "--json", file)[1]))}
        out = under(place, file, "cd /sys/bus/pci/devices && for d in *; do "
                                 "echo $d $(basename $(readlink $d/iommu_group)); done")
        tap.equal(dict(line.split() for line in out.splitlines()), want,
                  f"{name}: groups in /sys")
        out = under(place, file, "cd /sys/kernel/iommu_groups && ls -d */devices/* | tr / ' '")
        tap.equal({w[2]: w[0] for w in map(str.split, out.splitlines())}, want,
                  f"{name}: members of groups in /sys")
        if not shutil.which("lspci"):
            continue
        out = under(place, file, "lspci -vvv")
        bad = [line for line in out.splitlines() if re.search(COMPLAINTS, line, re.I)]
        tap.ok(not bad, f"{name}: lspci -vvv", "\n".join(bad))
        out = under(place, file, "lspci -D | cut -d' ' -f1")
        tap.equal(out.split(), sorted(want), f"{name}: lspci finds all")
    out = under(place, os.path.join(folder, "groups", "chipset.json"),
                "cat /sys/kernel/iommu_groups/0/reserved_regions")
    tap.equal(out, "0x0000000000000000 0x0000000000ffffff direct-relaxable\n"
                   "0x00000000fee00000 0x00000000feefffff msi\n", "what an ISA bridge reserves")
    server = os.path.join(folder, "server.json")
    out = under(place, server, "cd /sys/bus/pci/devices && cat 0000:10:00.0/numa_node "
                               "0000:84:00.0/numa_node && readlink 0000:84:00.0")
    tap.equal(out.splitlines(),
              ["0", "1", "../../../devices/pci0000:80/0000:80:01.0/0000:81:00.0/0000:82:00.1/"
                         "0000:84:00.0"], "nodes, and the path of a device")
    out = under(place, server, "cat /sys/bus/pci/devices/0000:31:01.0/reset_method "
                               "/sys/bus/pci/devices/0000:22:00.0/reset_method; "
                               "stat -c %s /sys/bus/pci/devices/0000:31:01.0/config")
    tap.equal(out.splitlines(), ["pm", "flr pm bus", "256"], "resets, and a small config")


def running(tap, place, folder):
    """The same of a machine that runs, from outside."""
    server = os.path.join(folder, "server.json")
    with subprocess.Popen([*place.prefix, place.uvfio, "run", "--machine", server, "--", "sh", "-c",
                           "echo ready; read _"], cwd=place.dir, env={**os.environ, **place.env},
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        try:
            machine.stdout.readline()
            listed = run(place, *place.plain_prefix, place.uvfio, "list", "--tree",
                         LC_ALL="C.UTF-8")
            trees = run(place, *place.plain_prefix, place.uvfio, "list", "--tree", "--json")
            bridges = run(place, *place.plain_prefix, place.uvfio, "list", "--all", "--json")
            plain = run(place, *place.plain_prefix, place.uvfio, "list", "--json")
            both = run(place, *place.plain_prefix, place.uvfio, "list", "--tree", "--clients")
            machine.stdin.write("\n")
            machine.stdin.flush()
            tap.equal(machine.wait(PATIENCE), 0, "end of the machine")
        finally:
            machine.kill()
    tap.equal(listed, check(place, server, LC_ALL="C.UTF-8"), "list --tree is what check says")
    want = json.loads(check(place, "--json", server)[1])
    got = json.loads(trees[1])
    tap.equal([len(got), got[0]["root_buses"], got[0]["warnings"]],
              [1, want["root_buses"], want["warnings"]], "list --tree --json")
    tap.equal([d["bdf"] for d in json.loads(bridges[1])],
              sorted(d["bdf"] for d in devices_of(want)), "list --all has the bridges")
    tap.equal([d["bdf"] for d in json.loads(plain[1])],
              sorted(d["bdf"] for d in devices_of(want) if not d["bridge"]), "list has them not")
    tap.equal(both[0], 2, "a tree of clients")


def main():
    tap = Tap()
    place = place_of(Args())
    try:
        folder = os.path.join(place.dir, "machines")
        shutil.copytree(sys.argv[2], folder)
        for top, _, files in os.walk(folder):
            for path in [top] + [os.path.join(top, f) for f in files]:
                place.own(path)
        examples(tap, place, folder)
        text(tap, place, folder)
        mistakes(tap, place)
        inside(tap, place, folder)
        running(tap, place, folder)
    finally:
        place.close()
    return tap.finish()


sys.exit(main())
