#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Debian's igb on the network card's PF: probe, link, the driver's own self tests, reload."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:66:00.0"
ETHTOOL = "/usr/sbin/ethtool"
SCRIPT = r"""
export PATH=$PATH:/usr/sbin
net_modules
say mac $(cat /sys/class/net/eth0/address)
say interrupts $(dmesg | sed -n 's/.*igb.*Using \(.*\) interrupts.*/\1/p')
ip link set eth0 up; net_wait
say link $(cat /sys/class/net/eth0/carrier) $(cat /sys/class/net/eth0/speed) $(cat /sys/class/net/eth0/duplex)
ip link set eth0 down
ip link set eth0 up; net_wait; say again $(cat /sys/class/net/eth0/carrier)
ethtool -t eth0 offline > /tmp/t
say self-test $? $(grep -c '	 0$' /tmp/t) $(sed -n 's/ *(\?o[fn/]*line)\? *	 [1-9].*//p' /tmp/t)
dmesg | grep 'igb ' | sed -n 's/.*failed/@@failed/p; s/.*pattern test/@@pattern/p; s/.*set.check/@@check/p'
net_wait
ethtool -d eth0 > /tmp/d && say dump $(grep -c 0x /tmp/d)
say eeprom $(ethtool -e eth0 length 6 | tail -1)
ethtool -G eth0 rx 1024 tx 1024 && net_wait && say rings $(cat /sys/class/net/eth0/carrier)
ethtool -K eth0 tx off rx off tso off && ethtool -K eth0 tx on rx on tso on && say features ok
ip link set eth0 mtu 9000 && net_wait && say mtu $(cat /sys/class/net/eth0/mtu)
ip link add link eth0 name eth0.5 type vlan id 5 2>/dev/null || vconfig add eth0 5 >/dev/null
[ -e /sys/class/net/eth0.5 ] && say vlan ok
arping -c 3 -w 3 -I eth0 10.0.0.9 > /dev/null
ethtool -S eth0 > /tmp/s
say sent $(sed -n 's/ *tx_broadcast: //p' /tmp/s) dropped $(sed -n 's/ *tx_dropped: //p' /tmp/s)
rmmod igb && insmod /mod/igb.ko && ip link set eth0 up; net_wait
say reload $(cat /sys/class/net/eth0/carrier)
say vfs $(cat /sys/class/net/eth0/device/sriov_totalvfs 2>/dev/null || echo none)
"""


def body(tap, args, place):
    if not os.path.exists(ETHTOOL):
        skip_all("ethtool is not installed (package ethtool)")
    keys = f",{args.device_keys}" if args.device_keys else ""
    legacy = args.device_keys == "mmio=trap"
    g = Guest(SCRIPT, place, devices=[f"igb,bdf={BDF},mac=52:54:00:12:34:56,vfs=2{keys}"],
              passthrough=(BDF,), shared_memory=not args.anonymous_memory, programs=(ETHTOOL,),
              hardware=True, smp=1, append="pci=nomsi" if legacy else "")
    tap.equal(g.run(), 0, "uvfio run ends with QEMU's status 0")
    said = g.results
    tap.equal(said.get("mac"), "52:54:00:12:34:56", "the address is the one that was given")
    tap.equal(said.get("interrupts"), "legacy" if legacy else "MSI-X", "kind of interrupts")
    tap.equal(said.get("link"), "1 1000 full", "the link is up")
    tap.equal(said.get("again"), "1", "down and up again")
    tap.equal(said.get("self-test"), "0 5", "ethtool's offline test: five parts, none failed")
    for word in ("failed", "pattern", "check"):
        tap.equal(said.get(word), None, f"no register test says '{word}'")
    tap.ok(int(said.get("dump", 0)) > 40, "registers dumped", said.get("dump"))
    tap.equal(said.get("eeprom"), "0x0000: 52 54 00 12 34 56", "EEPROM")
    tap.equal(said.get("rings"), "1", "other ring sizes")
    tap.equal(said.get("features"), "ok", "offloads off and on")
    tap.equal(said.get("mtu"), "9000", "MTU 9000")
    tap.equal(said.get("vlan"), "ok", "a VLAN on it")
    tap.equal(said.get("sent"), "3 dropped 0", "three ARP requests, counted by the card")
    tap.equal(said.get("reload"), "1", "the driver unloaded and loaded")
    tap.equal(said.get("vfs"), "none", "a guest sees nothing of the card's VFs")
    if tap.bad:
        print("# " + g.tail(40).replace("\n", "\n# "))


run_test(body)
