#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""uvfio itself on other kernels: in a guest of one of Debian's, `uvfio run` serves a client of ours
(tests/flow/client.c), as root and as an ordinary user."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from tap import *  # noqa: E402,F403

BDF = "0000:65:00.0"
TIMEOUT = 800
COMMANDS = ["regs", "mmap", "dma", "irq", "errors", "busy", "unknown", "compat", "pass", "order",
            "fork", "exec", "threads", "signals", "siblings", "exit"]


class Kernel:
    """suite: of Debian (None: the machine's); modules: that are not built in; missing: how many lines
    --explain has on what newer ones have; without: commands that are not for it"""

    def __init__(self, suite, modules, missing, qemu=(), without=()):
        self.suite, self.modules, self.missing, self.qemu = suite, modules, missing, qemu
        self.commands = [c for c in COMMANDS if c not in without]


KERNELS = {
    # For trying by hand. Its seccomp can take a call back that was answered: docs/door-dev.md.
    "5.10": Kernel("bullseye", ["fs/fuse/fuse"], 4, without=["signals"]),
    "6.1": Kernel(None, ["fs/fuse/fuse"], 3),
    # QEMU 7.2's emulation of CMPXCHG16B makes it fall over in its allocator.
    "6.12": Kernel("bookworm-backports", [], 0, qemu=["-cpu", "qemu64,-cx16"]),
}

SCRIPT = r"""
[ -e /mod/fuse.ko ] && insmod /mod/fuse.ko
ln -s /proc/self/fd /dev/fd
chmod 666 /dev/fuse /dev/null
chmod 1777 /tmp
echo 'root:x:0:0::/:/bin/sh' > /etc/passwd
echo 'user:x:1000:1000::/tmp:/bin/sh' >> /etc/passwd
cat > /inside.sh <<'END'
. /lib.sh
client() { command=$1; shift; door_client $command @BDF@ 1 "$@"; }
# Descriptors of the server, but for those by which it remembers clients. Not to be seen out of a
# user namespace.
fds() { [ $who = user ] && echo 0 || ls -l /proc/$PPID/fd | grep -v -c '/proc/\|pidfd'; }
step() { name=$1; shift; "$@" > /tmp/$who.out 2>&1; s=$?; [ $s = 0 ] || cat /tmp/$who.out
	say $who-$name $s; }
killed() { : > /tmp/$who.ready; door_client $1 @BDF@ 1 > /tmp/$who.ready & pid=$!
	n=0; until grep -q ready /tmp/$who.ready || [ $n = 600 ]; do usleep 50000; n=$((n + 1)); done
	kill -9 $pid; wait $pid 2>/dev/null; client busy; }
base=$(fds)
for c in @COMMANDS@; do
	case $c in
	exit) step exit client hold exit ;;
	threads) step threads client threads 100 ;;
	*) step $c client $c ;;
	esac
	step next-after-$c client busy
done
for c in hold storm; do step killed-in-$c killed $c; done
n=0; while [ $(fds) != $base ] && [ $n -lt 600 ]; do usleep 50000; n=$((n + 1)); done
say $who-fds $(($(fds) - base))
END
chmod 644 /inside.sh
who() { case $1 in root) shift; "$@" ;; *) shift; su -s /bin/sh user -c "export PATH=$PATH who=user $door; $*" ;; esac; }
uvfio_killed() {
	: > /tmp/$1.ready
	who $1 @UVFIO@ run -d testdev,bdf=@BDF@ -- door_client hold @BDF@ 1 > /tmp/$1.ready 2>/dev/null &
	n=0; until grep -q ready /tmp/$1.ready || [ $n = 600 ]; do usleep 50000; n=$((n + 1)); done
	kill -9 $(pidof uvfio)
	n=0; while [ -n "$(pidof uvfio uvfio-watch door_client)" ] && [ $n -lt 600 ]; do usleep 50000; n=$((n + 1)); done
	pidof uvfio uvfio-watch door_client
	say $1-uvfio-killed $?
}
for who in root user; do
	export who
	who $who @UVFIO@ run --explain > /tmp/$who.explain
	say $who-explain $?
	cat /tmp/$who.explain
	say $who-memfd $(grep -c '^device file .*memfd' /tmp/$who.explain)
	say $who-missing $(grep -c '(Linux ' /tmp/$who.explain)
	who $who @UVFIO@ run -d testdev,bdf=@BDF@ -- /bin/sh /inside.sh
	say $who-run $?
	uvfio_killed $who
done
say kernel-log $(dmesg | grep -c 'BUG:\|WARNING:\|Oops')
"""


def client_of(args):
    """The flow tests' client, which is built beside the helpers."""
    return os.path.join(args.helpers, "..", "flow", "door_client")


def body(tap, args, place):
    linux = KERNELS[args.kernel]
    uvfio = os.path.realpath(args.uvfio)
    door = f"UVFIO_DOOR={args.devices}"
    script = f"export {door}; door='{door}'\n" + SCRIPT
    for key, value in (("BDF", BDF), ("UVFIO", uvfio), ("COMMANDS", " ".join(linux.commands))):
        script = script.replace(f"@{key}@", value)
    vm = Guest(script, place, memory=512, helpers=[client_of(args)], programs=[uvfio],
               suite=linux.suite, modules=linux.modules, qemu=linux.qemu, timeout=TIMEOUT)
    status = vm.run()
    tap.ok(vm.release.startswith(args.kernel + "."), f"the guest's kernel is {vm.release}")
    tap.equal(status, 0, "the guest ended by itself")
    memfd = args.devices == "memfd" or linux.missing > 0
    for who in ("root", "user"):
        said = {name[len(who) + 1:]: value for name, value in vm.results.items()
                if name.startswith(who + "-")}
        names = [name for c in linux.commands for name in (c, f"next-after-{c}")]
        for name in ["explain", *names, "killed-in-hold", "killed-in-storm", "fds", "run"]:
            tap.equal(said.get(name), "0", f"{who}: {name}")
        tap.equal(said.get("memfd"), str(int(memfd)), f"{who}: --explain names the device file")
        tap.equal(said.get("missing"), str(linux.missing), f"{who}: and what the kernel lacks")
        tap.equal(said.get("uvfio-killed"), "1", f"{who}: uvfio killed, and nothing is left")
    tap.equal(vm.results.get("kernel-log"), "0", "the kernel has nothing to complain of")
    if tap.bad:
        print("# " + "\n# ".join(vm.console[-80:]))


run_test(body)
