# SPDX-License-Identifier: BSD-3-Clause
"""Rows of `make bench`: a guest's network card under iperf3, beside QEMU's own e1000e.

One guest has both cards: igb by vfio-pci, and e1000e. Each has a tap of its own at the other end of
its cable, in a network namespace where the server is: the same guest, kernel, program and peer for
both, measured in turns.
"""

import re
import shutil
import statistics

import kernel
from guest import Guest
from ui import Failure

IGB = "0000:66:00.0"
GOAL = 1.5
ROUNDS = 3
SECONDS = 3
TAPS = ("uvfio0", "uvfio1")  # ours, theirs; 10.0.N.2 is the host's end

SCRIPT = r"""
net_modules; load e1000e
ip link set lo up
for d in /sys/class/net/eth*; do
	case "$(readlink $d/device/driver)" in *igb) ours=${d##*/} ;; *e1000e) theirs=${d##*/} ;; esac
done
ip link set $ours up; ip addr add 10.0.0.15/24 dev $ours
ip link set $theirs up; ip addr add 10.0.1.15/24 dev $theirs
net_wait $ours; net_wait $theirs
sleep 1
say ready $ours $theirs
while read what server direction; do
	[ "$what" = end ] && break
	IPERF -c $server $direction -t SECONDS -f m > /tmp/out 2>&1
	say $what $(grep -E 'receiver|error|not found' /tmp/out)
done
""".replace("SECONDS", str(SECONDS))

# In a user namespace of its own, so that anybody may make a tap.
NETWORK = """
ip link set lo up
for n in 0 1; do
	ip tuntap add dev uvfio$n mode tap && ip addr add 10.0.$n.2/24 dev uvfio$n &&
	ip link set uvfio$n up || exit
done
setpriv --pdeathsig KILL iperf3 -s > /dev/null 2>&1 &
exec "$@"
"""


def guest(place):
    inside = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh"]
    program = shutil.which("iperf3")
    g = Guest(SCRIPT.replace("IPERF", program), place, devices=[f"igb,bdf={IGB},uplink=tap:{TAPS[0]}"], passthrough=(IGB,),
              memory=384, smp=1, hardware=True, programs=[program], timeout=240,
              name="iperf", qemu=["-netdev", f"tap,id=n,ifname={TAPS[1]},script=no,downscript=no",
                                  "-device", "e1000e,netdev=n"])
    g.argv[len(place.prefix):len(place.prefix)] = inside
    return g


def measure(ui, g):
    """Mbit/s by (card, direction)."""
    rates = {}
    for number in range(ROUNDS):
        for direction in ("", "-R"):
            for card in (0, 1):
                what = f"rate-{number}-{card}{direction}"
                g.send(f"{what} 10.0.{card}.2 {direction}")
                said = g.wait_for(what) or ""
                found = re.search(r"([\d.]+) Mbits/sec", said)
                if not found:
                    raise Failure(f"iperf3 in the guest: {said}", g.tail())
                rates.setdefault((card, direction), []).append(float(found.group(1)))
        ui.bar("measure", 100 * (number + 1) / ROUNDS)
    return {key: statistics.median(values) for key, values in rates.items()}


def bench_iperf(ui, table, place):
    if not shutil.which("iperf3"):
        ui.note("no iperf3 (Debian's package of that name): left out")
        return
    kernel.ensure_full_kernel(ui)
    g = guest(place).start()
    try:
        if g.wait_for("ready") is None:
            raise Failure("the guest ended too early", g.tail())
        rates = measure(ui, g)
        g.send("end")
        g.finish()
    finally:
        g.kill()
    for direction, what in (("", "from"), ("-R", "to")):
        ours, theirs = rates[0, direction], rates[1, direction]
        table.add(f"iperf3 {what} a guest by igb", f"{ours:.0f} Mb/s",
                  f"{theirs:.0f} Mb/s, QEMU's e1000e", f"{ours / max(theirs, 1):.2f}",
                  f"at least {GOAL}", ours / max(theirs, 1) >= GOAL)
