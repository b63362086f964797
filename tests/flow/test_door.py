#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The dev door with a client of our own (client.c): what it can ask, every way of closing and dying,
and what happens where the door cannot be opened.

Usage: test_door.py UVFIO CLIENT [--as-root]. Inside `uvfio run` it calls itself with --inside.
Nothing here depends on time, save for the patience with which a hang is told."""

import ctypes
import fcntl
import mmap
import os
import platform
import select
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 60
BDF = "0000:65:00.0"
GROUP = "1"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable

REQUESTS = ("regs", "mmap", "dma", "irq", "errors", "busy", "unknown", "compat", "pass", "cdev")
CLOSINGS = ("order", "fork", "exec", "threads", "signals", "hold exit")
DEATHS = ("hold", "storm", "cdev_hold")


# ---------------------------------------------------------------- inside of uvfio run

class Inside:
    """Runs one client after the other against one machine."""

    def __init__(self, client):
        self.client = client
        self.server = f"/proc/{os.getppid()}/fd"
        self.base = self.fds()
        self.bad = 0

    def fds(self):
        """Descriptors of the server, but for those by which it remembers the last few clients' memory
        (/proc/PID/mem and its like; src/iommu/process.c keeps a fixed number of them)."""
        try:
            names = os.listdir(self.server)
        except OSError:
            return None  # another user's; then there is nothing to count
        count = 0
        for name in names:
            try:
                target = os.readlink(f"{self.server}/{name}")
            except OSError:
                continue
            count += not target.startswith("/proc/") and "pidfd" not in target
        return count

    def say(self, good, name, detail=""):
        self.bad += not good
        print(f"{'ok' if good else 'not ok'}\t{name}\t{' '.join(str(detail).split())}", flush=True)

    def argv(self, command):
        name, *rest = command.split()
        return [self.client, name, BDF, GROUP, *rest]

    def run(self, command):
        try:
            out = subprocess.run(self.argv(command), timeout=PATIENCE, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except subprocess.TimeoutExpired:
            return "it hangs"
        return f"status {out.returncode}: {out.stderr}" if out.returncode else ""

    def settled(self, name):
        """The next client finds everything free at once; the server keeps nothing."""
        detail = self.run("regs")
        self.say(not detail, f"{name}: the next client opens at once", detail)
        end = time.monotonic() + PATIENCE
        while self.base is not None and self.fds() != self.base and time.monotonic() < end:
            time.sleep(0.01)
        self.say(self.fds() == self.base, f"{name}: the server has as many descriptors as before",
                 f"{self.base}, now {self.fds()}")

    def command(self, command):
        detail = self.run(command)
        self.say(not detail, command, detail)
        self.settled(command)

    def killed(self, command):
        client = subprocess.Popen(self.argv(command), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, text=True)
        ready = client.stdout.readline() == "ready\n"
        client.kill()
        client.wait()
        self.say(ready, f"{command}, killed")
        self.settled(f"{command}, killed")

    def all(self):
        kept = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
        ours = [path for path in kept if "fuse" in path or "seccomp" in path or "pidfd" in path]
        self.say(not ours, "the command inherits no descriptor of uvfio's", ours)
        for command in (*REQUESTS, *CLOSINGS):
            self.command(command)
        for _ in range(3):
            for command in DEATHS:
                self.killed(command)
        return 1 if self.bad else 0


# ---------------------------------------------------------------- a poorer kernel

# <asm/unistd_64.h>; only where these are the numbers is anything tested by them.
NUMBERS = {"seccomp": 317, "pidfd_getfd": 438, "process_vm_readv": 310, "process_vm_writev": 311,
           "open_tree": 428, "mount": 165}


def without(call, errno, argv):
    """Runs a command to which one system call fails, as in a container that forbids it."""
    def insn(code, yes, no, k):
        return code.to_bytes(2, "little") + bytes((yes, no)) + k.to_bytes(4, "little")

    code = (insn(0x20, 0, 0, 0) +                   # the call's number
            insn(0x15, 0, 1, NUMBERS[call]) +
            insn(0x06, 0, 0, 0x00050000 | errno) +  # SECCOMP_RET_ERRNO
            insn(0x06, 0, 0, 0x7fff0000))           # SECCOMP_RET_ALLOW
    text = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(
        (len(code) // 8).to_bytes(8, "little") + ctypes.addressof(text).to_bytes(8, "little"), 16)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
    os.execvp(argv[0], argv)


def leave_dirty(*bdfs):
    """A client that owns several devices, stores to pages of theirs, and is gone."""
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    maps = []
    for number, bdf in enumerate(bdfs):
        link = os.readlink(f"/sys/bus/pci/devices/{bdf}/iommu_group")
        group = os.open("/dev/vfio/" + os.path.basename(link), os.O_RDWR)
        fcntl.ioctl(group, 0x3B68, struct.pack("i", container))  # VFIO_GROUP_SET_CONTAINER
        if not number:
            fcntl.ioctl(container, 0x3B66, 3)  # VFIO_SET_IOMMU
        device = fcntl.ioctl(group, 0x3B6A, bytearray(bdf.encode() + b"\0"))
        os.pwrite(device, b"\x07", (7 << 40) + 4)
        for bar, size in ((1, 4096), (2, 65536)):
            info = fcntl.ioctl(device, 0x3B6C, struct.pack("IIIIQQ", 32, 0, bar, 0, 0, 0))
            maps.append(mmap.mmap(device, size, offset=struct.unpack("IIIIQQ", info)[5]))
            for page in range(0, size, 4096):
                maps[-1][page + 8:page + 12] = b"page"
    os._exit(0)


# ---------------------------------------------------------------- outside

def adopt_orphans():
    """Processes whose parents are gone become ours."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def orphans_end():
    """Whether they all end by themselves."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.002)
        except ChildProcessError:
            return True
    return False


class Door:
    def __init__(self, place, client, tap):
        self.place = place
        self.client = place.visible(os.path.realpath(client))
        self.tap = tap
        self.env = dict(os.environ, LC_ALL="C", **place.env)

    def popen(self, *command, before=(), options=(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more):
        argv = [*self.place.prefix, *before, self.place.uvfio, "run", *options, "-d",
                f"testdev,bdf={BDF}", "--", *command]
        return subprocess.Popen(argv, env=self.env, cwd=self.place.dir, stdin=subprocess.DEVNULL,
                                stdout=stdout, stderr=stderr, text=True, **more)

    def run(self, *command, before=(), options=(), patience=PATIENCE):
        p = self.popen(*command, before=before, options=options)
        try:
            out, err = p.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            p.kill()
            return None, "", "it hangs"
        return p.returncode, out, err

    def clients(self):
        script = self.place.visible(os.path.abspath(__file__))
        status, out, err = self.run(PYTHON, script, "--inside", self.client, patience=PATIENCE * 5)
        for line in out.splitlines():
            good, name, detail = (line.split("\t") + ["", ""])[:3]
            self.tap.ok(good == "ok", name, detail if good != "ok" else "")
        self.tap.ok(status == 0, "all clients in one run", f"{status} {err}" if status else "")

    def orphan(self):
        status, _, err = self.run(self.client, "orphan", BDF, GROUP)
        self.tap.equal(status, 0, "a command that leaves a child with the device behind ends")

    def killed(self, command):
        """uvfio is killed: nothing hangs, neither it nor the client."""
        p = self.popen(self.client, command, BDF, GROUP, stderr=subprocess.DEVNULL)
        ready = p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGKILL)
        try:
            p.wait(timeout=PATIENCE)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        self.tap.ok(ready and ended, f"uvfio killed while a client is in {command}: it ends")
        # The command holds the pipe; it was asked to end.
        gone = bool(select.select([p.stdout], [], [], PATIENCE)[0])
        self.tap.ok(gone and not p.stdout.read(), f"and the client of {command} with it")

    def group_killed(self, command):
        """The same with all that the terminal or a supervisor takes for the run."""
        ended = True
        for step in range(8):
            p = self.popen(self.client, command, BDF, GROUP, stderr=subprocess.DEVNULL,
                           start_new_session=True)
            ended &= p.stdout.readline() == "ready\n"
            time.sleep(step / 200)
            os.killpg(p.pid, signal.SIGKILL)
            try:
                p.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                ended = False
                break
            p.stdout.close()
        self.tap.ok(ended, f"the process group killed while a client is in {command}: it ends")

    def killed_at_once(self, command):
        """The same with every process of the run, as where a control group ends: nobody is left who
        could clean up. Just as the client opens or closes a device, if that is what it does."""
        rounds, ended = 0, True
        while ended and rounds < 12:
            p = self.popen(self.client, command, BDF, GROUP, stderr=subprocess.DEVNULL)
            ended = p.stdout.readline() == "ready\n"
            with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
                pids = [*map(int, f.read().split()), p.pid]
            time.sleep(rounds * 0.0017)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            try:
                p.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                ended = False
            ended = ended and orphans_end()
            p.stdout.close()
            rounds += 1
        self.tap.ok(ended, f"all killed at once while a client is in {command}: all end",
                    "" if ended else f"not in round {rounds}")

    def siblings(self):
        """The watcher is in a session of its own before there is a command."""
        results = [self.run(self.client, "siblings", BDF, GROUP) for _ in range(12)]
        bad = [result for result in results if result[0]]
        self.tap.ok(not bad, "what the command finds started has left its process group", bad)

    def left_dirty(self):
        """The pages of a client that has ended are written back while the door closes its devices. On
        one core the thread that reads requests is held up just then."""
        more = [f"0000:{bus}:00.0" for bus in (66, 67)]
        options = [word for bdf in more for word in ("-d", f"testdev,bdf={bdf}")]
        script = self.place.visible(os.path.abspath(__file__))
        results = []
        while len(results) < 25 and (not results or results[-1][0] == 0):
            results.append(self.run(PYTHON, script, "--leave-dirty", BDF, *more, options=options,
                                    before=("taskset", "-c", "0")))
        self.tap.equal(results[-1], (0, "", ""),
                       f"a client of three devices leaves pages written to ({len(results)} times)")

    def launch_killed(self):
        """uvfio is killed at any moment of the launch: what it had started ends."""
        left = 0
        for step in range(40):
            p = self.popen("sleep", "1000", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(step / 400)
            p.kill()
            p.wait()
            left += not orphans_end()
        self.tap.ok(not left, "uvfio killed while it launches: no process stays", f"{left} times")

    def char_devices(self):
        """Character devices for those who ask to see them; everybody else's fstat is as ever."""
        script = ("import os, stat; f = os.open('/dev/vfio/devices/vfio0', os.O_RDWR); s = os.fstat(f); "
                  "print(stat.S_ISCHR(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev)); "
                  "t = os.open('/etc/passwd', os.O_RDONLY); "
                  "print(os.fstat(t) == os.stat('/etc/passwd'), "
                  "os.fstat(os.open('/dev/iommu', os.O_RDWR)).st_rdev)")
        if self.run("test", "-e", "/dev/vfio/devices/vfio0")[0]:
            self.tap.equal(self.run("true", options=["-c"])[0], 0, "there are none, and no harm in it")
            return
        for options, want in (((), "False 0 0\nTrue 0\n"), (("-c",), "True 511 0\nTrue 0\n")):
            out = self.run(PYTHON, "-c", script, options=options)
            self.tap.equal((out[0], out[1]), (0, want), f"fstat, {options or 'no option'}")

    def refuses(self, name, words, *command, before=()):
        status, _, err = self.run(*(command or ("true",)), before=before)
        good = status == 125 and all(w in err for w in words) and err.count("\n") == 1
        self.tap.ok(good, f"refused, with the remedy: {name}", "" if good else f"{status} {err}")

    def refusals(self):
        in_userns = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        script = self.place.visible(os.path.abspath(__file__))
        if platform.machine() == "x86_64":
            for call, word in (("seccomp", "seccomp=unconfined"), ("pidfd_getfd", "SYS_PTRACE"),
                               ("process_vm_readv", "SYS_PTRACE"), ("open_tree", "apparmor"),
                               ("process_vm_writev", "SYS_PTRACE"), ("mount", "apparmor")):
                self.refuses(f"{call} is forbidden", (word,),
                             before=(PYTHON, script, "--without", call, "1"))
        self.refuses("inside another run", ("already inside",), self.place.uvfio, "run", "-d",
                     "testdev", "--", "true")
        if subprocess.run([*self.place.prefix, *in_userns, "true"], env=self.env,
                          stderr=subprocess.DEVNULL).returncode:
            return
        self.refuses("/dev/fuse is something else", ("/dev/fuse", "--device /dev/fuse"),
                     before=(*in_userns, 'mount --bind /dev/null /dev/fuse && exec "$@"', "sh"))
        self.refuses("/dev/fuse is missing", ("/dev/fuse is missing", "modprobe fuse"),
                     before=(*in_userns, 'mount -t tmpfs none /dev && exec "$@"', "sh"))
        self.refuses("no user namespaces left", ("user.max_user_namespaces",),
                     before=(*in_userns, "echo 0 > /proc/sys/user/max_user_namespaces && exec "
                             'setpriv --bounding-set=-all --inh-caps=-all "$@"', "sh"))

    def not_run(self):
        self.tap.equal(self.run("/nonexistent/x")[0], 127, "a command that does not exist: 127")
        self.tap.equal(self.run("/etc/passwd")[0], 126, "one that is no program: 126")


def outside():
    sys.path.insert(0, os.path.join(HERE, "..", "lib"))
    from tap import Tap, place_of

    class Args:
        uvfio = sys.argv[1]
        as_root = "--as-root" in sys.argv

    adopt_orphans()
    place = place_of(Args())
    tap = Tap()
    try:
        door = Door(place, sys.argv[2], tap)
        door.clients()
        door.char_devices()
        door.orphan()
        for command in DEATHS:
            door.killed(command)
            door.group_killed(command)
        for command in ("hold", "reopen"):
            door.killed_at_once(command)
        door.siblings()
        door.left_dirty()
        door.launch_killed()
        door.refusals()
        door.not_run()
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    if sys.argv[1] == "--leave-dirty":
        leave_dirty(*sys.argv[2:])
    if sys.argv[1] == "--without":
        without(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    sys.exit(Inside(sys.argv[2]).all() if sys.argv[1] == "--inside" else outside())
