#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Linux's igb and igbvf in one guest, a PF and a VF of one card, each in a network namespace of its own: iperf3,
frames of 9,000 bytes, VLANs, offloads off and on, what ethtool can ask for, reload and reboot. Each frame that one
side sends is one that the other has, by the counters of both."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403
from stock import newer_qemu  # noqa: E402

PF, VF = "0000:66:00.0", "0000:66:00.1"
TOKEN = "00112233-4455-6677-8899-aabbccddeeff"
PROGRAMS = ("/usr/sbin/ethtool", "/usr/sbin/ip", "/usr/bin/iperf3")
SUITES = {"6.1": None, "7.3": "trixie-backports"}  # of Debian, which have the guest's kernel
# $1 is the program that would have been run.
HOST = f'echo 1 > /sys/bus/pci/devices/{PF}/sriov_numvfs && shift && exec QEMU "$@"'

# b: a command in the VF's namespace; the PF is in the first one.
SCRIPT = r"""
export PATH=/usr/sbin:/usr/bin:$PATH
mkdir -p /run /var/run /var/tmp
net_modules
# busybox's shell takes its own program before any other.
ip() { /usr/sbin/ip "$@"; }
b() { ip netns exec b "$@"; }
interface() { for d in /sys/class/net/*; do
	case "$(readlink $d/device/driver)" in */$1) basename $d; return ;; esac; done; }
# What Linux says by itself, by IPv6 or ARP, is not to be counted in between.
quiet() { for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done 2>/dev/null; }
# wires: both have an address and a carrier; vlan: the same on VLAN 5
wires() {
	pf=$(interface igb); vf=$(interface igbvf)
	quiet
	ip netns list | grep -q b || ip netns add b
	[ -n "$vf" ] && ip link set $vf netns b
	vf=$(b ls /sys/class/net | grep eth | head -1)
	b sh -c 'for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done; ip link set lo up'
	ip link set $pf up; ip addr add 10.0.0.1/24 dev $pf
	b ip link set $vf up; b ip addr add 10.0.0.2/24 dev $vf
	up
}
up() { net_wait $pf
	n=0; while [ "$(b cat /sys/class/net/$vf/carrier 2>/dev/null)" != 1 ] && [ $n -lt 100 ]; do n=$((n + 1)); usleep 100000; done
	n=0; while ! ping -c 1 -W 1 10.0.0.2 > /dev/null && [ $n -lt 30 ]; do n=$((n + 1)); done; }
vlan() {
	ip link add link $pf name v5 type vlan id 5; ip addr add 10.0.5.1/24 dev v5; ip link set v5 up
	b ip link add link $vf name v5 type vlan id 5; b ip addr add 10.0.5.2/24 dev v5; b ip link set v5 up
	n=0; while ! ping -c 1 -W 1 10.0.5.2 > /dev/null && [ $n -lt 10 ]; do n=$((n + 1)); done
}
pings() { ping -c 5 -i 0.05 -W 2 "$@" | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p'; }
# iperf ARGS: "ok", or what was wrong
iperf() { iperf3 -c "$@" > /tmp/i 2>&1 && echo ok || echo $(tail -3 /tmp/i); }
stat() { awk -v k="$2:" '$1 == k { print $2 }' $1; }
# take N: a set of statistics; diff_of WHO KEY: what was counted between sets 1 and 2
take() { sleep 1; ethtool -S $pf > /tmp/pf.$1; b ethtool -S $vf > /tmp/vf.$1; }
diff_of() { echo $(($(stat /tmp/$1.2 $2) - $(stat /tmp/$1.1 $2))); }
bad_sums() { for n in "" b; do $n cat /proc/net/snmp; done | awk '/^Tcp: [0-9]/ { s += $NF } /^Udp: [0-9]/ { s += $8 } END { print s + 0 }'; }
ask() { say ask yes; read stage; }

ask
wires
say interrupts $(dmesg | grep -c 'Using MSI-X')
say ping $(pings 10.0.0.2) $(b sh -c 'ping -c 5 -i 0.05 -W 2 10.0.0.1' | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p')
if [ "$stage" = again ]; then
	# The second boot.
	vlan
	say again-vlan $(pings 10.0.5.2)
	say again-trouble $(dmesg | grep -c 'WARNING:\|BUG:\|Tx Unit Hang\|NETDEV WATCHDOG\|transmit queue')
else
	b iperf3 -s -D > /dev/null
	take 1
	say tcp $(iperf 10.0.0.2 -n 16M)
	say tcp-back $(iperf 10.0.0.2 -n 16M -R)
	say streams $(iperf 10.0.0.2 -n 8M -P 4 --bidir)
	say udp $(iperf 10.0.0.2 -u -b 60M -l 1400 -t 1)
	say udp-small $(iperf 10.0.0.2 -u -b 4M -l 18 -t 1 -R)
	take 2
	say pf-to-vf $(diff_of pf tx_packets) $(diff_of vf rx_packets)
	say vf-to-pf $(diff_of vf tx_packets) $(($(diff_of pf rx_packets) + $(diff_of pf rx_missed_errors)))
	say octets $(diff_of pf tx_bytes) $(diff_of vf rx_bytes)
	say wrong $(for k in rx_crc_errors tx_errors rx_errors rx_length_errors rx_over_errors rx_frame_errors tx_dropped; do n=$(diff_of pf $k); [ $n = 0 ] || echo $k $n; done)
	# 9,000 bytes, in one frame each.
	ip link set $pf mtu 9000; b ip link set $vf mtu 9000; up
	say jumbo-mtu $(cat /sys/class/net/$pf/mtu) $(b cat /sys/class/net/$vf/mtu)
	say jumbo $(pings -s 8972 10.0.0.2) $(awk '/^Ip: [0-9]/ { print $19 }' /proc/net/snmp)
	say jumbo-tcp $(iperf 10.0.0.2 -n 16M)
	say jumbo-back $(iperf 10.0.0.2 -n 16M -R)
	say jumbo-udp $(iperf 10.0.0.2 -u -b 60M -l 8900 -t 1)
	vlan
	say jumbo-vlan $(pings -s 8972 10.0.5.2) $(iperf 10.0.5.2 -n 8M)
	ip link set v5 mtu 1500; b ip link set v5 mtu 1500
	ip link set $pf mtu 1500; b ip link set $vf mtu 1500; up
	say vlan $(pings 10.0.5.2) $(iperf 10.0.5.2 -n 8M) $(iperf 10.0.5.2 -n 8M -R)
	# Offloads, one after the other, and both of a VLAN's ways.
	for k in tso gso rx tx sg rxvlan txvlan gro rxhash ntuple; do ethtool -K $pf $k off > /dev/null 2>&1; done
	for k in tso gso rx tx sg gro; do b ethtool -K $vf $k off > /dev/null 2>&1; done
	up
	say off $(ethtool -k $pf | grep -c '^\(rx-checksumming\|tx-checksumming\|tcp-segmentation-offload\|rx-vlan-offload\): off')
	say off-tcp $(iperf 10.0.0.2 -n 4M) $(iperf 10.0.0.2 -n 4M -R) $(pings 10.0.5.2) $(iperf 10.0.5.2 -n 4M)
	for k in rx tx sg tso gso rxvlan txvlan gro rxhash; do ethtool -K $pf $k on > /dev/null 2>&1; done
	for k in rx tx sg tso gso gro; do b ethtool -K $vf $k on > /dev/null 2>&1; done
	up
	say on-tcp $(iperf 10.0.0.2 -n 4M) $(iperf 10.0.0.2 -n 4M -R) $(pings 10.0.5.2)
	say sums $(bad_sums)
	# Rings, channels, interrupt moderation.
	ethtool -G $pf rx 128 tx 4096; b ethtool -G $vf rx 4096 tx 128; up
	say rings $(ethtool -g $pf | awk '/^[RT]X:/ { print $2 }' | tail -2) $(b ethtool -g $vf | awk '/^[RT]X:/ { print $2 }' | tail -2)
	say rings-tcp $(iperf 10.0.0.2 -n 4M) $(iperf 10.0.0.2 -n 4M -R)
	for c in 1 2; do
		ethtool -L $pf combined $c; up
		say channels$c $(ethtool -l $pf | awk '/^Combined:/ { print $2 }' | tail -1) $(iperf 10.0.0.2 -n 4M -P 4)
	done
	ethtool -C $pf rx-usecs 100; b ethtool -C $vf rx-usecs 100
	say moderation $(ethtool -c $pf | sed -n 's/^rx-usecs:[	 ]*//p') $(b ethtool -c $vf | sed -n 's/^rx-usecs:[	 ]*//p') $(iperf 10.0.0.2 -n 4M)
	ethtool -X $pf equal 1; say rss $? $(iperf 10.0.0.2 -n 4M -P 4 -R); ethtool -X $pf default
	# Self tests and dumps.
	ethtool -t $pf online > /tmp/t; say online $? $(grep -c '	 0$' /tmp/t)
	ethtool -t $pf offline > /tmp/t; say offline $? $(grep -c '	 0$' /tmp/t)
	up
	b ethtool -t $vf online > /tmp/t; say vf-online $? $(grep -c '	 0$' /tmp/t)
	b ethtool -t $vf offline > /tmp/t; say vf-offline $? $(grep -c '	 0$' /tmp/t)
	up
	say dump $(ethtool -d $pf | grep -c 0x) $(b ethtool -d $vf | wc -l)
	say nway $(ethtool -r $pf && up; ethtool $pf | sed -n 's/.*Speed: //p') $(b ethtool $vf | sed -n 's/.*Speed: //p')
	say tested $(pings 10.0.0.2) $(iperf 10.0.0.2 -n 4M)
	ethtool -p $pf 1; say blink $?
	# Down and up while frames are under way.
	iperf3 -c 10.0.0.2 -u -b 40M -t 2 > /dev/null 2>&1 &
	for n in 1 2 3; do ip link set $pf down; ip link set $pf up; usleep 200000; b ip link set $vf down; b ip link set $vf up; usleep 200000; done
	up; wait $!
	say down-up $(pings 10.0.0.2)
	b killall iperf3
	ip netns del b; usleep 500000
	rmmod igbvf; rmmod igb; load igb igbvf
	usleep 500000
	wires
	say reload $(pings 10.0.0.2)
	say trouble $(dmesg | grep -c 'WARNING:\|BUG:\|Tx Unit Hang\|NETDEV WATCHDOG\|transmit queue')
	dmesg | grep 'WARNING:\|BUG:\|Tx Unit Hang\|NETDEV WATCHDOG\|transmit queue\|igb.*ail'
	say rebooting yes
	reboot -f; sleep 60
fi
"""

WANT = {
    "ping": ("5 5", "ping, both ways"),
    "tcp": ("ok", "iperf3: TCP from PF to VF"),
    "tcp-back": ("ok", "iperf3: TCP from VF to PF"),
    "streams": ("ok", "iperf3: four streams, both ways at once"),
    "udp": ("ok", "iperf3: UDP"),
    "udp-small": ("ok", "iperf3: UDP in frames of 60 bytes"),
    "wrong": ("", "ethtool -S: no error on the PF"),
    "jumbo-mtu": ("9000 9000", "MTU 9000"),
    "jumbo": ("5 0", "ping of 9,000 bytes, without fragments"),
    "jumbo-tcp": ("ok", "iperf3 at MTU 9000"),
    "jumbo-back": ("ok", "iperf3 at MTU 9000, from VF to PF"),
    "jumbo-udp": ("ok", "iperf3 at MTU 9000: UDP"),
    "jumbo-vlan": ("5 ok", "9,000 bytes and a tag"),
    "vlan": ("5 ok ok", "VLAN 5: ping, iperf3 both ways"),
    "off": ("4", "ethtool -K: offloads off"),
    "off-tcp": ("ok ok 5 ok", "iperf3 without offloads, with a VLAN tag too"),
    "on-tcp": ("ok ok 5", "and with them again"),
    "sums": ("0", "no packet had a wrong checksum"),
    "rings": ("128 4096 4096 128", "ethtool -G, -g"),
    "rings-tcp": ("ok ok", "iperf3 with other rings"),
    "channels1": ("1 ok", "ethtool -L: one channel"),
    "channels2": ("2 ok", "ethtool -L: two"),
    "moderation": ("100 100 ok", "ethtool -C"),
    "rss": ("0 ok", "ethtool -X: all to one queue"),
    "online": ("0 5", "ethtool -t online"),
    "offline": ("0 5", "ethtool -t offline"),
    "vf-online": ("0 1", "ethtool -t online of the VF"),
    "vf-offline": ("0 1", "ethtool -t offline of the VF"),
    "nway": ("1000Mb/s 1000Mb/s", "ethtool -r, and the speed"),
    "tested": ("5 ok", "ping and iperf3 after the tests"),
    "blink": ("0", "ethtool -p"),
    "down-up": ("5", "down and up under load"),
    "reload": ("5", "both drivers loaded again"),
    "trouble": ("0", "the guest's kernel has nothing to complain of"),
    "again-vlan": ("5", "after a reboot"),
    "again-trouble": ("0", "and nothing to complain of"),
}


def drive(g):
    """Tells each boot which it is."""
    g.start()
    if g.wait_for("ask"):
        del g.results["ask"]
        g.send("first")
        if g.wait_for("ask"):
            g.send("again")
    return g.finish()


def pairs(tap, said):
    for key, name in (("octets", "octets that the PF sent, and the VF has"),
                      ("pf-to-vf", "frames that the PF sent, and the VF has"),
                      ("vf-to-pf", "frames that the VF sent, and the PF has, or counted as missed")):
        sent, got = (said.get(key, "") + " - -").split()[:2]
        tap.ok(sent == got and sent.isdigit() and int(sent) > 1000, name, f"{sent}, {got}")
    dump = said.get("dump", "0 0").split()
    tap.ok(int(dump[0]) > 40 and int(dump[1]) > 2, "ethtool -d of both", " ".join(dump))


def body(tap, args, place):
    for program in PROGRAMS:
        if not os.path.exists(program):
            skip_all(f"{program} is not installed (tools/packages)")
    keys = f",{args.device_keys}" if args.device_keys else ""
    qemu = newer_qemu(place, 9)
    devices = [w for bdf in (PF, VF) for w in ("-device", f"vfio-pci,host={bdf},vf-token={TOKEN}")]
    g = Guest(SCRIPT, place, devices=[f"igb,bdf={PF},mac=52:54:00:12:34:56,vfs=2{keys}"], passthrough=(),
              shared_memory=not args.anonymous_memory, programs=PROGRAMS, hardware=True, reboot=True,
              suite=SUITES[args.kernel], timeout=280, memory=384, qemu=devices,
              wrap=["sh", "-c", HOST.replace("QEMU", " ".join(qemu)), "sh"])
    tap.ok(g.release.startswith(args.kernel + "."), f"the guest's kernel is {g.release}")
    tap.equal(drive(g), 0, "uvfio run ends with QEMU's status 0")
    for key, (want, name) in WANT.items():
        tap.equal(g.results.get(key), want, name)
    pairs(tap, g.results)
    if tap.bad:
        print("# " + g.tail(100).replace("\n", "\n# "))


run_test(body)
