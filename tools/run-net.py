#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A network, `make run-net`: two stock VMs, each with a virtual function of one network card and of one NVMe.

Debian's igbvf and nvme drive them. A file of 100 MiB goes from A's disk over the card's switch to B's;
VLANs keep them apart; B sends under an address that is not its own, and is stopped; A reaches a server
on the host's loopback through passt. Everything that the switch carried is in a capture that tshark
reads. Everything runs as an unprivileged user.
"""

import hashlib
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from build import build  # noqa: E402
from guest import Guest  # noqa: E402
from ui import Failure, Ui  # noqa: E402
from user import Place  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
MIB = 1 << 20
NVME, IGB = "0000:65:00.0", "0000:66:00.0"
NAME = "network"
VFS = 4
FILE = 100 * MIB
IMAGE = 128 * MIB
DOWNLOAD = 4 * MIB
FRAMES = 10
MAC = "52:54:00:12:34:50"  # of the PF; VF k has the one k + 1 after it
STRANGER = "52:54:00:66:66:66"
MEMORY = {"A": 448, "B": 256}  # MiB: A has the file in memory, to serve it

COMMON = r"""
nvme_modules; net_modules
say mac $(cat /sys/class/net/eth0/address)
d=$(nvme_wait) || d=none
say disk $d $(cat /sys/class/nvme/nvme0/model)
ip link set lo up
ip link set eth0 up
ip addr add 10.9.0.SELF/24 dev eth0
arp -s 10.9.0.PEER PEER_MAC # passt answers for every address
net_wait
say link $(cat /sys/class/net/eth0/carrier)
received() { ping -c $2 -W 2 $1 | sed -n 's/.*transmitted, \(.*\) packets rec.*/\1/p'; }
tagged() { vconfig add eth0 $1 > /dev/null; ip link set eth0.$1 up; ip addr add $2/24 dev eth0.$1; }
"""

SCRIPT_A = COMMON + r"""
mkdir /srv
dd if=$d of=/srv/file bs=1M count=COUNT 2>/dev/null
httpd -p 80 -h /srv
say serves yes
read go
n=0; while ! ping -c 1 -W 1 10.9.0.2 > /dev/null && [ $n -lt 30 ]; do n=$((n + 1)); done
say ping $(received 10.9.0.2 10)
read go
tagged 5 10.5.0.1
say apart $(received 10.5.0.2 3)
read go
say together $(received 10.5.0.2 3)
read go
nettool count eth0 3
read ip port
cat > /tmp/dhcp.sh << 'EOF'
#!/bin/sh
[ "$1" != bound ] || { ip addr add $ip/${mask:-24} dev eth0; ip route add default via ${router%% *}; }
EOF
chmod +x /tmp/dhcp.sh
udhcpc -i eth0 -n -q -t 10 -s /tmp/dhcp.sh > /tmp/dhcp.log 2>&1
say address $(ip -4 addr show dev eth0 | sed -n 's/.*inet \(10\.0\.2\.[^ ]*\).*/\1/p')
nettool fetch $ip $port > /tmp/download
say download $(sha256sum < /tmp/download)
read go
"""

SCRIPT_B = COMMON + r"""
read go
wget -q -O - http://10.9.0.1/file > $d
sync
say stored $?
read go
tagged 6 10.5.0.2
say tagged yes
read go
ip link set eth0.6 down; vconfig rem eth0.6 > /dev/null
tagged 5 10.5.0.2
say moved yes
read to own stranger n
nettool send eth0 $to $own $n && nettool send eth0 $to $stranger $n && say frames-sent yes
read go
"""


class Show:
    def __init__(self, ui, place):
        self.ui = ui
        self.place = place
        self.env = dict(os.environ, **place.env)
        self.pcap = place.path("switch.pcap")
        self.port = 0  # of the server on the host
        self.helper = os.path.join(BUILD, "tests", "guest", "nettool")

    def ask(self, *argv, as_json=False):
        out = subprocess.run([*self.place.plain_prefix, self.place.uvfio, *argv,
                              *(["--json"] if as_json else [])], env=self.env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        if out.returncode:
            raise Failure(f"uvfio {' '.join(argv)}: {out.stderr.strip() or out.stdout.strip()}")
        return json.loads(out.stdout) if as_json else out.stdout

    def device(self, bdf):
        return next(d for d in self.ask("list", as_json=True) if d["bdf"] == bdf)

    def image(self, number):
        return self.place.path(f"vf-{number}.img")

    def guest(self, name, script, vfs):
        self.ui.note(f"$ uvfio run --join {NAME} -- qemu-system-x86_64 ... "
                     + " ".join(f"-device vfio-pci,host={vf}" for vf in vfs) + f"    (VM {name})")
        return Guest(script, self.place, join=NAME, passthrough=vfs, memory=MEMORY[name], smp=1,
                     helpers=[self.helper], hardware=True, timeout=420, name=f"vm-{name}")


def start_machine(show):
    ui, place = show.ui, show.place
    with open(show.image(0), "wb") as f:
        for _ in range(FILE // MIB):
            f.write(os.urandom(MIB))
        f.truncate(IMAGE)
    for number in range(1, VFS):
        with open(show.image(number), "wb") as f:
            f.truncate(IMAGE)
    for number in range(VFS):
        place.own(show.image(number))
    path = place.path(f"{NAME}.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"devices": [
            {"model": "nvme", "bdf": NVME, "mem": "64M", "vfs": VFS,
             "vf_disk": place.path("vf-%d.img")},
            {"model": "igb", "bdf": IGB, "mac": MAC, "vfs": VFS, "uplink": "user",
             "pcap": show.pcap}]}, f)
    place.own(path)
    ui.note(f"$ uvfio up {NAME}.json    (igb: uplink=user,pcap=switch.pcap)")
    show.ask("up", path)


def make_vfs(show):
    """The VFs of both cards; binds two of each. A pair for each VM, the network card's first."""
    ui = show.ui
    pairs = []
    for pf in (IGB, NVME):
        ui.note(f"$ uvfio sriov {pf} {VFS}")
        vfs = show.ask("sriov", pf, str(VFS), as_json=True)["vfs"]
        ui.check(len({vf["group"] for vf in vfs}) == VFS,
                 f"{VFS} virtual functions of the {show.device(pf)['model']}, each in a group of "
                 "its own", ", ".join(f"{vf['bdf']} group {vf['group']}" for vf in vfs))
        for vf in vfs[:2]:
            show.ask("bind", vf["bdf"])
        pairs.append([vf["bdf"] for vf in vfs[:2]])
    return list(zip(*pairs))


def mac_of(number):
    return f"{MAC[:-2]}{int(MAC[-2:], 16) + number + 1:02x}"


def script(text, number):
    for word, value in (("SELF", number + 1), ("PEER_MAC", mac_of(1 - number)), ("PEER", 2 - number),
                        ("COUNT", FILE // MIB)):
        text = text.replace(word, str(value))
    return text


def show_boot(show, name, number, guest):
    for key in ("boot", "mac", "disk", "link"):
        if guest.wait_for(key) is None:
            raise Failure(f"VM {name} ended before it said '{key}'", guest.tail(25))
    said = guest.results
    show.ui.check(said["mac"] == mac_of(number) and said["link"] == "1" and
                  said["disk"].startswith("/dev/nvme0n1"),
                  f"VM {name}: igbvf and nvme of Debian's kernel",
                  f"{said['mac']}, link {said['link']}, {said['disk']}")


def show_file(show, a, b):
    ui = show.ui
    if a.wait_for("serves") is None:
        raise Failure("VM A does not serve the file", a.tail())
    a.send("go")
    said = a.wait_for("ping")
    ui.check(said == "10", "ping from VM A to VM B", f"{said} of 10 answered")
    b.send("go")
    ui.check(b.wait_for("stored") == "0", f"VM B fetches {FILE // MIB} MiB from VM A")
    sums = []
    for number in (0, 1):
        digest = hashlib.sha256()
        with open(show.image(number), "rb") as f:
            for _ in range(FILE // MIB):
                digest.update(f.read(MIB))
        sums.append(digest.hexdigest())
    ui.check(sums[0] == sums[1], "equal checksums of A's disk and B's",
             " ".join(s[:16] for s in sums))


def show_vlans(show, a, b):
    ui = show.ui
    b.send("go")
    b.wait_for("tagged")
    a.send("go")
    said = a.wait_for("apart")
    ui.check(said == "0", "VM A on VLAN 5 and VM B on VLAN 6 do not reach each other",
             f"{said} of 3 answered")
    b.send("go")
    b.wait_for("moved")
    a.send("go")
    said = a.wait_for("together")
    ui.check(said == "3", "on one VLAN they do", f"{said} of 3 answered")


def show_spoof(show, a, b, vf):
    ui = show.ui
    a.send("go")
    a.wait_for("counts")
    ui.note(f"VM B sends {FRAMES} frames as {mac_of(1)}, then {FRAMES} as {STRANGER}")
    b.send(f"{mac_of(0)} {mac_of(1)} {STRANGER} {FRAMES}")
    ui.check(b.wait_for("frames-sent") == "yes", "VM B sends")
    said = a.wait_for("frames")
    ui.check(said == str(FRAMES), "VM A gets those of B's own address, no other", f"{said} came")
    counted = show.device(vf)["counters"]["spoofed"]
    ui.check(counted == FRAMES, "uvfio list counts the others", f"spoofed {counted}")


class Server:
    """A TCP server on the host's loopback: each connection gets the document, then its end."""

    def __init__(self):
        document = os.urandom(DOWNLOAD)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(document)

        self.digest = hashlib.sha256(document).hexdigest()
        self.tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.tcp.server_address[1]
        threading.Thread(target=self.tcp.serve_forever, daemon=True).start()

    def close(self):
        self.tcp.shutdown()
        self.tcp.server_close()


def show_uplink(show, a):
    ui = show.ui
    server = Server()
    try:
        ui.note(f"a server on 127.0.0.1:{server.port} of the host, which guests know as 10.0.2.2")
        show.port = server.port
        a.send(f"10.0.2.2 {server.port}")
        address = a.wait_for("address")
        ui.check(str(address).startswith("10.0.2."), "VM A has an address by DHCP, from passt",
                 str(address))
        got = (a.wait_for("download") or "nothing").split()[0]
        ui.check(got == server.digest, f"VM A fetches {DOWNLOAD // MIB} MiB from it",
                 f"{got[:16]} {server.digest[:16]}")
    finally:
        server.close()


FIELDS = ("frame.len", "frame.protocols", "eth.type", "eth.src", "_ws.malformed")


def tshark(show):
    """What tshark finds in each frame of the capture: FIELDS, in one go."""
    # The files' own bytes are random: they are no protocol, whatever they look like.
    argv = ["tshark", "-n", "-r", show.pcap, "-d", "tcp.port==80,data",
            "-d", f"tcp.port=={show.port},data", "-T", "fields"]
    for field in FIELDS:
        argv += ["-e", field]
    show.ui.note("$ tshark -r switch.pcap -T fields -e " + " -e ".join(FIELDS))
    size = os.path.getsize(show.pcap)
    done, rows = 24, []  # bytes of the file's header
    with tempfile.TemporaryFile("w+") as errors:
        proc = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=errors)
        watchdog = threading.Timer(300, proc.kill)
        watchdog.start()
        for line in proc.stdout:
            rows.append(line.rstrip("\n").split("\t"))
            done += 16 + int(rows[-1][0])
            if len(rows) % 5000 == 0:
                show.ui.bar("tshark", 100 * done / size, f"{len(rows)} frames")
        proc.wait()
        watchdog.cancel()
        errors.seek(0)
        if proc.returncode:
            raise Failure(f"tshark cannot read the capture: {errors.read().strip()[-300:]}")
    if done != size:
        raise Failure(f"tshark read {done} bytes of the capture, which has {size}")
    return rows


def show_capture(show):
    ui = show.ui
    rows = tshark(show)
    total = sum(int(row[0]) for row in rows)
    ui.check(FILE < total < FILE * 1.25, "tshark reads the capture of the switch: the file, once",
             f"{len(rows)} frames, {total // MIB} MiB")
    bad = [f"frame {n + 1} {row[4]}" for n, row in enumerate(rows) if row[4]]
    ui.check(not bad, "no malformed frame in it", ", ".join(bad[:3]))
    seen = {word for row in rows for word in row[1].split(":")}
    missing = {"arp", "icmp", "tcp", "dhcp", "vlan"} - seen
    ui.check(not missing, "ARP, ICMP, TCP, DHCP and VLAN tags in it", " ".join(sorted(missing)))
    mine = [row[3] for row in rows if row[2] == "0x88b5"]
    ui.check(mine == [mac_of(1)] * FRAMES, "of VM B's frames those of its own address only",
             f"{len(mine)}")


def run(ui):
    ui.step("Debian's kernel for the guests")
    _, release, _ = kernel.ensure_full_kernel(ui)
    ui.note(f"{release}, unpacked in .cache, not installed")
    ui.step("Build")
    build(BUILD, only="show")
    place = Place(os.path.join(BUILD, "src", "cli", "uvfio"))
    show = Show(ui, place)
    guests = []
    up = False
    try:
        ui.step(f"One machine: a network card and an NVMe controller, as {place.who}")
        start_machine(show)
        up = True
        vfs = make_vfs(show)
        ui.step("Two VMs")
        a = show.guest("A", script(SCRIPT_A, 0), vfs[0])
        b = show.guest("B", script(SCRIPT_B, 1), vfs[1])
        guests += [a.start(), b.start()]
        for number, (name, guest) in enumerate((("A", a), ("B", b))):
            show_boot(show, name, number, guest)
        ui.step("A file")
        show_file(show, a, b)
        ui.step("VLANs")
        show_vlans(show, a, b)
        ui.step("A false address")
        show_spoof(show, a, b, vfs[1][0])
        ui.step("Out through passt")
        show_uplink(show, a)
        for name, guest in (("A", a), ("B", b)):
            guest.send("end")
            ui.check(guest.finish() == 0, f"VM {name} powered off")
        ui.step("The capture")
        ui.note("$ uvfio down")
        show.ask("down", NAME)
        up = False
        ui.check(not show.ask("list", as_json=True), "nothing is left")
        show_capture(show)
    finally:
        for guest in guests:
            guest.kill()
        if up:
            subprocess.run([*place.plain_prefix, place.uvfio, "down", NAME], env=show.env,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        place.close()


def main():
    ui = Ui("make run-net", int(os.environ.get("UVFIO_STEPS", 10)), first=2)
    try:
        run(ui)
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
