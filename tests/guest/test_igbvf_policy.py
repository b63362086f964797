#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the owner of a machine lets each VF of a network card do, by a machine file, as Debian's igbvf sees it."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

PF = "0000:66:00.0"
NAME = "igbvf-policy"
MACS = ["02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"]
STRANGER = "52:54:00:66:66:66"
OTHER = "52:54:00:99:99:99"
FRAMES = 10
MANY = 20000  # frames of 200 bytes: 4.5 s at 8 megabits a second
COMMON = r"""
net_modules
received() { ping -c 3 -W 2 $1 | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p'; }
now() { cut -d. -f1 /proc/uptime; }
ip link set eth0 up
ip addr add 10.0.5.SELF/24 dev eth0
net_wait
"""
# On VLAN 5, with a rate and a spoof check, not trusted.
SCRIPT_A = COMMON + r"""
say mac $(cat /sys/class/net/eth0/address)
ip addr add 10.0.6.1/24 dev eth0
ip link set eth0 address OTHER 2>/dev/null; say changed $(cat /sys/class/net/eth0/address)
read go
n=0; while ! ping -c 1 -W 1 10.0.5.2 > /dev/null && [ $n -lt 60 ]; do n=$((n + 1)); done
say port $(received 10.0.5.2)
say apart $(received 10.0.6.2)
nettool count eth0 3
nettool send eth0 MAC_B STRANGER FRAMES
s=$(now); nettool send eth0 MAC_B MAC_A MANY; say seconds $(($(now) - s))
read go
"""
# Two VFs: one like A's, but trusted and without a spoof check; one on VLAN 6.
SCRIPT_B = COMMON + r"""
echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
ip link set eth1 up
ip addr add 10.0.6.2/24 dev eth1
net_wait eth1
say macs $(cat /sys/class/net/eth0/address) $(cat /sys/class/net/eth1/address)
read go
nettool send eth0 MAC_A STRANGER FRAMES && say sent yes
read go
ip link set eth0 address OTHER; say changed $(cat /sys/class/net/eth0/address)
read go
"""


def ask(place, *argv):
    out = place.run([place.uvfio, *argv], timeout=60)
    if out.returncode:
        raise Failure(f"uvfio {' '.join(argv)}: {out.stdout.strip()}")
    return out.stdout


def fill(script, number):
    for word, value in (("MAC_A", MACS[0]), ("MAC_B", MACS[1]), ("SELF", number + 1), ("OTHER", OTHER),
                        ("STRANGER", STRANGER), ("FRAMES", FRAMES), ("MANY", MANY)):
        script = script.replace(word, str(value))
    return script


def start(place):
    path = place.path(NAME + ".json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"devices": [
            {"model": "igb", "bdf": PF, "vfs": 3, "vf_mac": "/".join(MACS), "vf_vlan": "5/5/6",
             "vf_rate": "8/0/0", "vf_spoof_check": "on/off/on", "vf_trust": "off/on/off"}]}, f)
    place.own(path)
    ask(place, "up", "--name", NAME, path)
    vfs = [vf["bdf"] for vf in
           json.loads(ask(place, "sriov", "--name", NAME, PF, "3", "--json"))["vfs"]]
    for vf in vfs:
        ask(place, "bind", "--name", NAME, vf)
    return vfs


def spoofed(place, vf):
    devices = json.loads(ask(place, "list", "--name", NAME, "--json"))
    return next(d for d in devices if d["bdf"] == vf)["counters"]["spoofed"]


def talk(tap, place, vfs, a, b):
    if a.wait_for("changed") is None or b.wait_for("macs") is None:
        raise Failure("the guests do not start", a.tail(20) + b.tail(20))
    tap.equal([a.results["mac"], *b.results["macs"].split()], MACS, "each VF has its address")
    tap.equal(a.results["changed"], MACS[0], "A cannot change it")
    a.send("go")
    tap.equal(a.wait_for("port"), "3", "on one VLAN they reach each other, untagged")
    tap.equal(a.wait_for("apart"), "0", "on two they do not")
    a.wait_for("counts")
    b.send("go")
    tap.equal(a.wait_for("frames"), str(FRAMES), "B may send as somebody else")
    seconds = int(a.wait_for("seconds") or 0)
    tap.ok(seconds >= 4, f"A sends {MANY} frames at its rate", f"{seconds} s")
    tap.equal((spoofed(place, vfs[0]), spoofed(place, vfs[1])), (FRAMES, 0), "A may not, which is counted")
    b.send("go")
    tap.equal(b.wait_for("changed"), OTHER, "B is trusted, and changes its address")
    a.send("end")
    b.send("end")
    tap.equal((a.finish(), b.finish()), (0, 0), "both end well")


def body(tap, args, place):
    guests = []
    helper = os.path.join(args.helpers, "nettool")
    try:
        vfs = start(place)
        for number, (script, mine) in enumerate(((SCRIPT_A, vfs[:1]), (SCRIPT_B, vfs[1:]))):
            guests.append(Guest(fill(script, number), place, join=NAME, passthrough=mine, smp=1,
                                memory=192, hardware=True, helpers=[helper], name=f"vm-{number}",
                                timeout=200).start())
        talk(tap, place, vfs, *guests)
    finally:
        for guest in guests:
            guest.kill()
        place.run([place.uvfio, "down", NAME], timeout=60)
    if tap.bad:
        for guest in guests:
            print("# " + guest.tail(30).replace("\n", "\n# "))


run_test(body)
