#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two machines, a VF of one network card each, Debian's igbvf: frames between them, whole and right."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

PF = "0000:66:00.0"
NAME = "igbvf-test"
COMMON = r"""
net_modules
say mac $(cat /sys/class/net/eth0/address)
ip link set eth0 up
ip addr add 10.0.0.SELF/24 dev eth0
net_wait
counts() { cat /proc/net/dev | sed -n 's/.*eth0: *//p' | awk '{ print $3 + $4 + $11 + $12 }'; }
"""
# Sends what B then has to have, to the byte.
SCRIPT_A = COMMON + r"""
n=0; while ! ping -c 1 -W 1 10.0.0.2 >/dev/null && [ $n -lt 60 ]; do n=$((n + 1)); done
say ping $(ping -c 20 -i 0.1 -W 1 10.0.0.2 | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p')
say fragments $(ping -c 5 -s 8000 -W 1 10.0.0.2 | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p')
dd if=/dev/urandom of=/tmp/f bs=64k count=128 2>/dev/null
nc 10.0.0.2 5000 < /tmp/f
say sum $(md5sum < /tmp/f)
say errors $(counts)
read go
"""
SCRIPT_B = COMMON + r"""
sleep 100 | nc -l -p 5000 > /tmp/f &
say ready
n=0; while [ "$(stat -c %s /tmp/f)" != 8388608 ] && [ $n -lt 300 ]; do n=$((n + 1)); usleep 200000; done
say sum $(md5sum < /tmp/f)
ip link set eth0 address 52:54:00:99:99:99
say own-mac $(cat /sys/class/net/eth0/address)
ip link set eth0 down; ip link set eth0 up; net_wait
say again $(ping -c 3 -W 1 10.0.0.1 | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p')
say errors $(counts)
"""


def ask(place, *argv):
    out = place.run([place.uvfio, *argv], timeout=60)
    if out.returncode:
        raise Failure(f"uvfio {' '.join(argv)}: {out.stdout.strip()}")
    return out.stdout


def body(tap, args, place):
    keys = f",{args.device_keys}" if args.device_keys else ""
    ask(place, "up", "--name", NAME, "--device",
        f"igb,bdf={PF},mac=52:54:00:12:34:50,vfs=3{keys}")
    guests = []
    try:
        vfs = [vf["bdf"] for vf in
               json.loads(ask(place, "sriov", "--name", NAME, PF, "2", "--json"))["vfs"]]
        for number, script in ((1, SCRIPT_B.replace("SELF", "2")), (0, SCRIPT_A.replace("SELF", "1"))):
            ask(place, "bind", "--name", NAME, vfs[number])
            guests.append(Guest(script, place, join=NAME, passthrough=(vfs[number],), smp=1,
                                memory=192, hardware=True, name=f"vm-{number}", timeout=200,
                                shared_memory=not args.anonymous_memory or number == 1).start())
        b, a = guests
        status = b.finish()
        a.send("go")
        tap.equal((a.finish(), status), (0, 0), "both end well")
    finally:
        for guest in guests:
            guest.kill()
        place.run([place.uvfio, "down", NAME], timeout=60)
    tap.equal((a.results.get("mac"), b.results.get("mac")),
              ("52:54:00:12:34:51", "52:54:00:12:34:52"), "addresses of the VFs")
    tap.equal(a.results.get("ping"), "20", "ping")
    tap.equal(a.results.get("fragments"), "5", "ping with fragments")
    tap.ok(a.results.get("sum") and a.results.get("sum") == b.results.get("sum"),
           "8 MiB arrive as they were sent", f"{a.results.get('sum')}, {b.results.get('sum')}")
    tap.ok(b.results.get("own-mac") == "52:54:00:99:99:99", "B changes its address",
           b.results.get("own-mac"))
    tap.equal(b.results.get("again"), "3", "and is reached at it after down and up")
    tap.equal((a.results.get("errors"), b.results.get("errors")), ("0", "0"),
              "nothing was dropped or wrong")
    if tap.bad:
        for guest in guests:
            print("# " + guest.tail(30).replace("\n", "\n# "))


run_test(body)
