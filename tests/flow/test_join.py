#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Machines in the background: `uvfio up`, `uvfio down`, and commands that join them. What one client
does, and how it ends, is nothing to the others; nothing is left of it.

Usage: test_join.py UVFIO CLIENT [--as-root] [--rounds N]. CLIENT is client.c. Nothing here depends on
time, save for the patience with which a hang is told; what is random has a seed that is printed."""

import argparse
import functools
import json
import os
import re
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from tap import Tap, place_of  # noqa: E402
from test_door import adopt_orphans, orphans_end  # noqa: E402

PATIENCE = 60
A, B = "0000:65:00.0", "0000:70:00.0"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def next_line(stream):
    """A line of a pipe, or what is there of it when it ends or patience does."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        byte = os.read(stream.fileno(), 1) if ready else b""
        if not byte:
            break
        line += byte
    return line.decode().strip()


def ends(pid):
    """Waits until a process that is not ours has ended, however it is waited for."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready = select.select([fd], [], [], PATIENCE)[0]
    os.close(fd)
    return bool(ready)


class Joined:
    """A `uvfio run --join` with the command's standard input and output."""

    def __init__(self, lab, *command, name="lab", stderr=subprocess.PIPE, **more):
        self.lab = lab
        self.process = subprocess.Popen(
            [*lab.place.prefix, lab.uvfio, "run", "--join", name, "--", *command], env=lab.env,
            cwd=lab.place.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            text=True, **more)

    def hear(self):
        return next_line(self.process.stdout)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def pid(self):
        """Of the command, by the machine."""
        parent = self.process.pid
        for client in self.lab.json("list", "--clients"):
            with open(f"/proc/{client['pid']}/stat") as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == parent:
                    return client["pid"]
        return None

    def end(self):
        """Lets the command end by itself: (status, standard error)."""
        err = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, err

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


class Lab:
    def __init__(self, place, tap, client):
        self.place, self.tap, self.uvfio = place, tap, place.uvfio
        self.env = dict(os.environ, LC_ALL="C", TZ="UTC", **place.env)
        self.env.pop("NOTIFY_SOCKET", None)
        self.sockets = os.path.join(self.env["XDG_RUNTIME_DIR"], "uvfio")
        # Now that it is there, machines that this user may run elsewhere are not ours to see.
        os.mkdir(self.sockets, 0o700)
        place.own(self.sockets)
        self.client = place.visible(os.path.realpath(client))
        self.script = place.path("vfio_client.py")
        shutil.copy(os.path.join(HERE, "vfio_client.py"), self.script)
        place.own(self.script)
        self.file = place.path("lab.json")
        with open(self.file, "w") as f:
            json.dump({"devices": [{"model": "testdev", "bdf": bdf, "driver": "vfio-pci"}
                                   for bdf in (A, B)]}, f)
        place.own(self.file)

    def plain(self, *argv, env=None):
        """A command that needs no door: (status, stdout, stderr)."""
        out = subprocess.run([*self.place.plain_prefix, self.uvfio, *argv], text=True,
                             env=env or self.env, cwd=self.place.dir, timeout=PATIENCE * 2,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        return out.returncode, out.stdout, out.stderr

    def json(self, *argv):
        status, out, err = self.plain(*argv, "--json")
        if status:
            raise AssertionError(f"{argv}: {status} {err}")
        return json.loads(out)

    def events(self):
        return [json.loads(line) for line in self.plain("events", "--json")[1].splitlines()]

    def join(self, *command, name="lab"):
        out = subprocess.run([*self.place.prefix, self.uvfio, "run", "--join", name, "--",
                              *command], text=True, env=self.env, cwd=self.place.dir,
                             timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        return out.returncode, out.stdout, out.stderr

    @functools.cache
    def group(self, bdf):
        """It is the same each time: the machine is."""
        return str(next(d["group"] for d in self.json("list") if d["bdf"] == bdf))

    def run_client(self, command, bdf, *more):
        """"" or what was wrong."""
        status, _, err = self.join(self.client, command, bdf, self.group(bdf), *more)
        return f"status {status}: {err}" if status else ""

    def start_client(self, command, bdf, **more):
        return Joined(self, self.client, command, bdf, self.group(bdf), **more)

    def talker(self, bdf, **more):
        """vfio_client.py, ready for its first line."""
        joined = Joined(self, PYTHON, self.script, bdf, **more)
        ready = joined.hear()
        if ready != "ready":
            raise AssertionError(f"no client: {ready} {joined.process.stderr.read()}")
        return joined

    def up(self, *argv):
        status, out, err = self.plain("up", *(argv or (self.file,)), "--json")
        if status:
            raise AssertionError(f"up: {status} {err}")
        return json.loads(out)


# ---------------------------------------------------------------- words, life

def test_words(tap, lab):
    for argv, status, word in (
            (["up"], 2, "--device SPEC"), (["up", "--nosuch"], 2, "--nosuch"),
            (["up", "/nonexistent.json"], 1, "/nonexistent.json"),
            (["up", "-d", "nosuch"], 1, "nosuch"), (["up", "-n", "../x", "lab.json"], 2, "../x"),
            (["up", "-n", "12-3", "lab.json"], 2, "12-3"), (["up", "-n", ".x", "lab.json"], 2, ".x"),
            (["up", "-n", "", "lab.json"], 2, "name"), (["up", "-n", "x" * 64, "lab.json"], 2, "63"),
            (["up", "7.json"], 2, "--name"), (["down"], 1, "uvfio up"),
            (["down", "nosuch"], 1, "nosuch"), (["down", "a", "b"], 2, "b"),
            (["run", "--join", "nosuch", "--", "true"], 125, "nosuch"),
            (["run", "--join", "lab", "-d", "testdev", "--", "true"], 125, "--join"),
            (["run", "--join", "lab"], 125, "-- CMD"), (["list", "-n", "nosuch"], 1, "nosuch")):
        got, out, err = lab.plain(*argv)
        good = (got == status and word in err and not out and err.count("\n") == 1 and
                err.startswith("uvfio"))
        tap.ok(good, f"uvfio {' '.join(argv)}: {status}", "" if good else f"{got} {out!r} {err!r}")
    tap.equal(os.listdir(lab.sockets), [], "nothing is left of machines that did not start")


def test_life(tap, lab):
    status, out, err = lab.plain("up", "lab.json")
    tap.equal((status, out, err), (0, "lab\n", ""), "up says the name, and nothing else")
    tap.equal(sorted(os.listdir(lab.sockets)), ["lab.log", "lab.sock"], "socket and log")
    devices = lab.json("list")
    tap.equal([(d["name"], d["client"]) for d in devices], [("lab", None)] * 2, "list")
    pid = devices[0]["machine"]
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    tap.equal((fields[3], fields[4]), (str(pid), "0"), "a session of its own, without a terminal")
    tap.equal(os.readlink(f"/proc/{pid}/cwd") if os.access(f"/proc/{pid}/cwd", os.R_OK) else "/",
              "/", "in no directory")
    status, out, err = lab.plain("up", "lab.json")
    tap.ok(status == 1 and str(pid) in err and "uvfio down lab" in err and err.count("\n") == 1,
           "a second one of that name is refused", err)
    other = lab.up("-n", "other", "-d", "testdev,driver=vfio-pci")
    tap.equal(other["socket"], os.path.join(lab.sockets, "other.sock"), "one of another name")
    status, _, err = lab.plain("down")
    tap.ok(status == 1 and "lab" in err and "other" in err, "down: which one?", err)
    tap.equal([d["name"] for d in lab.json("list", "-n", "other")], ["other"], "list --name")
    tap.equal(lab.plain("iommu", A, "-n", "lab")[0], 0, "iommu --name")
    tap.equal(lab.plain("down", "other")[:2], (0, ""), "down")
    tap.ok(ends(other["pid"]) and not os.path.exists(other["socket"]), "and it is gone")
    tap.equal(lab.up("-d", "testdev")["name"], "default", "a machine without a file: default")
    tap.equal(lab.plain("down", "default")[0], 0, "down default")
    os.kill(pid, signal.SIGKILL)
    ends(pid)
    tap.ok(os.path.exists(os.path.join(lab.sockets, "lab.sock")), "a killed one leaves its socket")
    tap.ok(lab.up()["pid"] != pid, "and the name is free")
    tap.equal(lab.plain("down")[0], 0, "down without a name, where there is one machine only")
    # Twenty at once: one gets the name, and it works.
    many = [subprocess.Popen([*lab.place.plain_prefix, lab.uvfio, "up", "lab.json"], env=lab.env,
                             cwd=lab.place.dir, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(20)]
    tap.equal(sorted(p.wait(PATIENCE) for p in many), [0] + [1] * 19, "twenty at once: one machine")
    tap.equal(lab.plain("down")[0], 0, "which ends")
    # A caller that reads until the end of a pipe is not kept by the machine.
    out = subprocess.run([*lab.place.plain_prefix, "sh", "-c", '"$0" up lab.json 3>&1', lab.uvfio],
                         env=lab.env, cwd=lab.place.dir, stdout=subprocess.PIPE, timeout=PATIENCE)
    tap.equal(out.stdout, b"lab\n", "the machine keeps no descriptor of its caller")
    lab.plain("down")


def test_status(tap, lab):
    lab.up()
    for script, status in (("exit 0", 0), ("exit 7", 7), ("exit 125", 125), ("kill -9 $$", 137),
                           ("kill -TERM $$", 143)):
        tap.equal(lab.join("sh", "-c", script)[0], status, f"'{script}' ends with {status}")
    got = lab.join("sh", "-c", "cat; echo out; echo err >&2; pwd; ls /dev/vfio")
    tap.equal(got, (0, f"out\n{os.path.realpath(lab.place.dir)}\n{lab.group(A)}\n{lab.group(B)}\n"
                       + ("" if os.environ.get("UVFIO_DOOR") == "memfd" else "devices\n") +
                       "vfio\n", "err\n"), "streams, directory, devices")
    tap.equal(lab.join("nosuch-command")[0], 127, "no such command")
    tap.equal(lab.join("./lab.json")[0], 126, "not a program")
    script = lab.place.path("no-interpreter")
    with open(script, "w") as f:
        f.write("#!/nonexistent/interpreter\n")
    os.chmod(script, 0o755)
    lab.place.own(script)
    got = lab.join(script)
    tap.ok(got[0] in (125, 126, 127) and got[2].startswith("uvfio") and got[2].count("\n") == 1,
           "a script without interpreter", got)
    status, _, err = lab.join(lab.uvfio, "run", "--join", "lab", "--", "true")
    tap.ok(status == 125 and "already inside" in err, "inside another run", err)
    for name, number in (("TERM", signal.SIGTERM), ("HUP", signal.SIGHUP)):
        joined = Joined(lab, "sh", "-c", f"trap 'exit 5' {name}; echo up; while :; do sleep 0.05; done")
        joined.hear()
        joined.process.send_signal(number)
        tap.equal(joined.end()[0], 5, f"SIG{name} is passed on")
    joined = Joined(lab, "sh", "-c", "echo up; read line; exit 6")
    joined.hear()
    joined.process.send_signal(signal.SIGINT)
    joined.process.send_signal(signal.SIGQUIT)
    tap.equal(joined.end()[0], 6, "SIGINT and SIGQUIT are left to the command")
    # Ctrl-C, at any moment of the launch: it ends either uvfio or the command, and no line is said.
    bad = []
    for step in range(0, 60, 3):
        run = Joined(lab, "sleep", "1000", start_new_session=True)
        time.sleep(step / 1000)
        os.killpg(run.process.pid, signal.SIGINT)
        status, said = run.end()
        if status not in (-2, 130) or said:
            bad.append((step, status, said))
    tap.ok(not bad, "Ctrl-C while it is launched", bad)
    tap.equal(lab.json("list", "--clients"), [], "nobody is left")
    lab.plain("down")


def test_service(tap, lab):
    """The unit's own command line, and what it says to a service manager."""
    unit = os.path.join(os.path.dirname(sys.argv[1]), "..", "..", "data", "uvfio@.service")
    with open(unit) as f:
        start = next(line for line in f if line.startswith("ExecStart="))
    folder = os.path.join(lab.place.dir, "uvfio")
    os.mkdir(folder)
    shutil.copy(lab.file, os.path.join(folder, "vm-1.json"))
    lab.place.own(folder)
    words = start.partition("=")[2].replace("%E", lab.place.dir).replace("%i", "vm-1").split()
    for kind in ("path", "abstract"):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.settimeout(PATIENCE)
        name = os.path.join(lab.env["XDG_RUNTIME_DIR"], f"notify-{os.getpid()}")
        manager.bind("\0" + name if kind == "abstract" else name)
        if kind == "path":
            os.chmod(name, 0o666)
        machine = subprocess.Popen(
            [*lab.place.plain_prefix, lab.uvfio, *words[1:]], cwd=lab.place.dir,
            env=dict(lab.env, NOTIFY_SOCKET=("@" + name if kind == "abstract" else name)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = manager.recv(4096).decode().splitlines()
        tap.ok("READY=1" in said and f"MAINPID={machine.pid}" in said, f"{kind}: READY=1", said)
        tap.equal(lab.join("true", name="vm-1")[0], 0, f"{kind}: and it can be joined at once")
        stays = Joined(lab, "sh", "-c", "trap '' TERM; echo up; read line", name="vm-1")
        stays.hear()
        machine.send_signal(signal.SIGTERM)
        rest = b""
        while b"STOPPING=1" not in rest:
            rest = manager.recv(4096)
        time.sleep(0.2)
        tap.ok(stays.process.poll() is None, f"{kind}: STOPPING=1, before clients have ended")
        stays.end()
        out, err = machine.communicate(timeout=PATIENCE)
        tap.equal((machine.returncode, out), (0, "vm-1\n"), f"{kind}: SIGTERM ends it well")
        tap.ok("has joined" in err, f"{kind}: its log is standard error", err)
        manager.close()
    # By nohup, or by a script in its background.
    machine = subprocess.Popen(
        [*lab.place.plain_prefix, lab.uvfio, *words[1:]], cwd=lab.place.dir, env=lab.env, text=True,
        preexec_fn=lambda: [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGHUP, signal.SIGINT)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    tap.equal(next_line(machine.stdout), "vm-1", "started with signals ignored")
    for number in (signal.SIGHUP, signal.SIGINT):
        machine.send_signal(number)
    tap.equal(lab.join("true", name="vm-1")[0], 0, "they stay ignored")
    machine.send_signal(signal.SIGTERM)
    tap.equal(machine.wait(PATIENCE), 0, "SIGTERM ends it")
    machine.stdout.close()


# ---------------------------------------------------------------- several clients

def test_two(tap, lab):
    lab.up()
    a, b = lab.talker(A), lab.talker(B)
    tap.equal(a.say("open"), "ok", "one client opens a device")
    tap.equal(b.say("open"), "ok", "another one the other")
    clients = lab.json("list", "--clients")
    tap.equal([(c["client"], c["devices"], c["name"], c["command"]) for c in clients],
              [(1, 1, "lab", os.path.basename(PYTHON)), (2, 1, "lab", os.path.basename(PYTHON))],
              "list --clients")
    tap.equal([c["pid"] for c in clients], [a.pid(), b.pid()], "their processes")
    tap.equal([d["client"] for d in lab.json("list")], [1, 2], "who has which device")
    text = lab.plain("list", "--clients")[1].splitlines()
    tap.ok(len(text) == 3 and text[0].startswith("CLIENT") and all("lab" in t for t in text[1:]),
           "as a table", "\n".join(text))
    third = lab.talker(A)
    tap.ok("Errno 16" in third.say("open"), "what one has open is EBUSY for others")
    tap.equal([a.say("dma 1 0x100000 256"), b.say("dma 1 0xdead000 64")], ["1", "2"],
              "each moves what is its own")
    faults = [e for e in lab.events() if e["type"] == "dma-fault"]
    tap.equal([(f["client"], f["bdf"], f["iova"]) for f in faults], [(2, B, "0xdead000")],
              "a fault names the client")
    tap.equal(a.say("close"), "ok", "the first client closes")
    tap.equal(third.say("open"), "ok", "and the third has it at once")
    tap.equal(third.say("dma 1 0x100000 256"), "1", "and uses it")
    for joined in (a, b, third):
        tap.equal(joined.end()[0], 0, "end of a client")
    kinds = [(e["type"], e["client"]) for e in lab.events() if e["type"] in ("open", "close",
                                                                           "join", "leave")]
    tap.equal([k for k in kinds if k[0] in ("join", "open")],
              [("join", 1), ("join", 2), ("open", 1), ("open", 2), ("join", 3), ("open", 3)],
              "events of coming")
    tap.equal(sorted(k for k in kinds if k[0] in ("leave", "close")),
              [(t, n) for t in ("close", "leave") for n in (1, 2, 3)], "events of going")
    lab.plain("down")


def test_own(tap, lab):
    """Devices by themselves: who has one keeps others from it, and leaves it by whatever end."""
    lab.up()
    a, b, third = lab.talker(A), lab.talker(B), lab.talker(A)
    tap.equal(a.say("own"), "ok", "one client binds a device")
    tap.equal(b.say("own"), "ok", "another one the other")
    tap.ok("Errno 22" in third.say("own"), "what one has bound is EINVAL for others")
    tap.ok("Errno 16" in third.say("open"), "and its group is EBUSY")
    tap.equal([d["client"] for d in lab.json("list")], [1, 2], "who has which device")
    tap.equal([a.say("dma 1 0x100000 256"), b.say("dma 1 0xdead000 64")], ["1", "2"],
              "each moves what is its own")
    faults = [e for e in lab.events() if e["type"] == "dma-fault"]
    tap.equal([(f["client"], f["bdf"]) for f in faults], [(2, B)], "a fault names the client")
    tap.equal([a.say("reset"), a.say("dma 1 0x100000 256")], ["ok", "1"], "reset")
    os.kill(a.pid(), signal.SIGKILL)
    tap.equal(a.end()[0], 137, "one is killed")
    tap.equal(third.say("own"), "ok", "the third has at once what a killed one had")
    tap.equal(third.say("dma 1 0x100000 256"), "1", "and uses it")
    tap.equal([third.say("close"), third.say("open")], ["ok", "ok"], "by its group then")
    tap.equal([b.end()[0], third.end()[0]], [0, 0], "end of the clients")
    lab.plain("down")


def test_kills(tap, lab, rounds):
    """One is killed at any moment; another one verifies; a third has at once what the killed had."""
    seed = random.randrange(1 << 30)
    print(f"# seed {seed}")
    chance = random.Random(seed)
    lab.up()
    steady = lab.start_client("steady", A)
    tap.equal(steady.hear(), "ready", "one client works")
    heir = lab.talker(B)
    bad = []
    for n in range(rounds):
        victim = lab.start_client("churn", B)
        if victim.hear() != "ready":
            bad.append(f"round {n}: the victim: {victim.end()}")
            break
        pid = victim.pid()
        time.sleep(chance.random() * 0.06)
        whom = n % 3
        if whom:
            os.kill(pid, signal.SIGKILL)  # the command: what it held is free as soon as it is gone
            ends(pid)
            said = heir.say("open")
            if said != "ok":
                bad.append(f"round {n}: the heir: {said}")
            said = heir.say("dma 1 0x100000 4096")
            if said != "1":
                bad.append(f"round {n}: the heir's DMA: {said}")
            heir.say("close")
            if victim.end()[0] != 137:
                bad.append(f"round {n}: status {victim.process.returncode}")
        else:
            victim.kill()  # its launcher: who joins from then on finds it free
            wrong = lab.run_client("regs", B)
            if wrong:
                bad.append(f"round {n}: who came next: {wrong}")
        said = steady.say("?")
        if not said.isdigit():
            bad.append(f"round {n}: the steady client: {said} {steady.end()}")
            break
    tap.ok(not bad, f"{rounds} clients killed at any moment", "\n".join(bad))
    tap.ok(int(steady.say("?") or 0) > rounds / 4, "the other one worked all the time")
    status, err = steady.end()
    tap.equal((status, err), (0, ""), "and saw no error")
    tap.equal(heir.end()[0], 0, "nor did the heir")
    tap.equal(lab.json("list", "--clients"), [], "nobody is left")
    tap.ok(orphans_end_but_machines(lab), "no process is left")
    lab.plain("down")


def orphans_end_but_machines(lab):
    """Processes whose parents are gone are ours to wait for; the machine is one of them."""
    machines = {d["machine"] for d in lab.json("list")}

    def others():
        while True:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    break
            except ChildProcessError:
                break
        with open(f"/proc/self/task/{os.getpid()}/children") as f:
            return set(map(int, f.read().split())) - machines
    return eventually(lambda: not others())


def test_launch_kills(tap, lab):
    """Launchers killed while they launch: the machine goes on, no process stays."""
    lab.up()
    steady = lab.start_client("steady", A)
    tap.equal(steady.hear(), "ready", "one client works")
    for step in range(60):
        joined = Joined(lab, "sleep", "1000", stderr=subprocess.DEVNULL)
        time.sleep(step / 800)
        joined.kill()
    tap.ok(eventually(lambda: len(lab.json("list", "--clients")) == 1), "60 killed launchers leave",
           lab.plain("list", "--clients")[1])
    tap.equal(lab.run_client("regs", B), "", "the next one is served")
    tap.ok(steady.say("?").isdigit() and steady.end()[0] == 0, "the other one did not notice")
    tap.ok(orphans_end_but_machines(lab), "no process is left")
    lab.plain("down")


def test_machine_killed(tap, lab):
    for command in ("steady", "churn", "storm"):
        machine = lab.up()
        joined = [lab.start_client(command, A), lab.talker(B), Joined(lab, "sleep", "1000")]
        ready = joined[0].hear() == "ready" and joined[1].say("open") == "ok"
        tap.ok(ready and eventually(lambda: len(lab.json("list", "--clients")) == 3),
               f"{command}: three clients")
        os.kill(machine["pid"], signal.SIGKILL)
        for one in joined:
            status, err = one.end()
            # A client whose access fails may be gone before its launcher has anything to say.
            # ENOSYS is what a trapped call gets from then on, where device files are memfds.
            said = "has ended" in err or re.search(r"errno (38|103|107) ", err)
            tap.ok(said and status, f"{command}: the machine is killed: its client ends, and it or "
                   "its launcher says why", f"{status} {err}")
        tap.ok(ends(machine["pid"]), f"{command}: the machine is gone")
        tap.ok(orphans_end(), f"{command}: no process stays")
    tap.equal(lab.json("list"), [], "and the socket with it")


# ---------------------------------------------------------------- the end

def test_down(tap, lab):
    machine = lab.up()
    one, two = lab.talker(A), lab.talker(B)
    one.say("open")
    status, out, err = lab.plain("down")
    tap.ok(status == 3 and not out and str(one.pid()) in err and str(two.pid()) in err and
           "--force" in err, "down: in use, by whom", f"{status} {err}")
    tap.equal(one.say("dma 1 0x100000 16"), "1", "and nothing has happened")

    def waiting():
        return subprocess.Popen([*lab.place.plain_prefix, lab.uvfio, "down", "--wait"], text=True,
                                env=lab.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
    wait = waiting()
    tap.ok("waiting for" in next_line(wait.stderr), "down --wait says what it waits for")
    status, _, err = lab.join("true")
    tap.ok(status == 125 and "about to end" in err, "nobody can join meanwhile", err)
    wait.send_signal(signal.SIGINT)
    tap.equal(wait.wait(PATIENCE), -signal.SIGINT, "Ctrl-C gives up")
    wait.stdout.close()
    wait.stderr.close()
    tap.ok(eventually(lambda: lab.join("true")[0] == 0), "and the machine goes on")
    wait = waiting()
    next_line(wait.stderr)
    pid = two.pid()
    tap.equal(one.end()[0], 0, "the first client leaves")
    tap.ok(wait.poll() is None, "the machine waits for the other")
    tap.equal(two.end()[0], 0, "the last one leaves")
    tap.equal(wait.wait(PATIENCE), 0, "and the machine ends")
    tap.ok(f"pid {pid}" in wait.stderr.read(), "who is left was said")
    wait.stdout.close()
    wait.stderr.close()
    tap.ok(ends(machine["pid"]), "it is gone")

    machine = lab.up()
    joined = Joined(lab, "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    joined.hear()
    status, _, err = lab.plain("down", "--force")
    tap.ok(status == 0 and "ending" in err, "down --force", f"{status} {err}")
    status, err = joined.end()
    tap.ok(status == 9 and "about to end" in err, "the command was asked to end", f"{status} {err}")
    tap.ok(ends(machine["pid"]), "it is gone")

    machine = lab.up()
    joined = Joined(lab, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    joined.hear()
    os.kill(machine["pid"], signal.SIGTERM)
    tap.ok("about to end" in next_line(joined.process.stderr), "SIGTERM asks the commands")
    os.kill(machine["pid"], signal.SIGTERM)
    tap.equal(joined.end()[0], 137, "a second one kills those that are left")
    tap.ok(ends(machine["pid"]), "and the machine ends")

    machine = lab.up()
    joined = Joined(lab, "sh", "-c", "echo up; exec sleep 1000")
    joined.hear()
    joined.process.send_signal(signal.SIGSTOP)  # a launcher that does nothing of what it is told
    start = time.monotonic()
    tap.equal(lab.plain("down", "--force")[0], 0, "down --force with a launcher that is stopped")
    tap.ok(time.monotonic() - start >= 10, "which gets its time")
    joined.process.send_signal(signal.SIGCONT)
    tap.ok(joined.end()[0] in (137, 143), "and ends then")


def converse(path, data, fds=()):
    """Sends a line with descriptors; the first line that comes back."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.settimeout(PATIENCE)
        socket.send_fds(s, [data], list(fds))
        out = b""
        while not out.endswith(b"\n"):
            got = s.recv(65536)
            if not got:
                break
            out += got
        return json.loads(out) if out else None


def test_hostile(tap, lab):
    """What no launcher sends: the machine refuses it, and has as many descriptors as before."""
    path = lab.up()["socket"]
    steady = lab.start_client("steady", A)
    steady.hear()
    pid = lab.json("list")[0]["machine"]

    def fds():
        try:
            return len(os.listdir(f"/proc/{pid}/fd"))
        except PermissionError:
            return 0
    before = fds()
    version = lab.plain("--version")[1].split()[1]
    join = json.dumps({"op": "join", "version": version, "command": "x\n\xe4y"}).encode() + b"\n"
    read, write = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pidfd = os.pidfd_open(os.getpid())
    same = os.geteuid() == (os.stat(path).st_uid)
    for name, data, sent, words in (
            ("without descriptors", join, (), "descriptors"),
            ("one descriptor", join, (read,), "descriptors"),
            ("no pidfd", join, (theirs.fileno(), read), "cannot see"),
            ("another version", join.replace(version.encode(), b"9.9"), (theirs.fileno(), pidfd),
             "9.9"),
            ("no version", b'{"op":"join"}\n', (theirs.fileno(), pidfd), "uvfio down"),
            ("join of another type", b'{"op":["join"]}\n', (theirs.fileno(), pidfd), "op"),
            ("down of another type", b'{"op":"down","force":"yes"}\n', (), "in use")):
        reply = converse(path, data, sent)
        tap.ok(reply and not reply["ok"] and (words in reply["error"] or not same), name, reply)
    # Sockets that say nothing, or something else, are given up with the connection.
    if same:
        for word in (None, b"x", b"y" * 4000):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                socket.send_fds(s, [join], [theirs.fileno(), pidfd])
                if word:
                    ours.recv(4096)
                    ours.send(word)
                    s.settimeout(PATIENCE)
                    reply = json.loads(s.recv(65536))
                    tap.ok(not reply["ok"], "a word that is none", reply)
        tap.ok(eventually(lambda: len(lab.json("list", "--clients")) == 1),
               "who says nothing is given up")
        # What is no FUSE descriptor must not be read from.
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            socket.send_fds(s, [join], [there.fileno(), pidfd])
            here.recv(4096)
            socket.send_fds(here, [b"\2" + bytes(800)], [read])
            here.close()
            there.close()
        tap.ok(eventually(lambda: len(lab.json("list", "--clients")) == 1),
               "what is no FUSE descriptor is given up")
    for fd in (read, write, pidfd):
        os.close(fd)
    ours.close()
    theirs.close()
    tap.ok(eventually(lambda: fds() <= before), "no descriptor is left", f"{before}, now {fds()}")
    tap.ok(steady.say("?").isdigit() and steady.end()[0] == 0, "a client did not notice")
    if not same:
        reply = converse(path, join, ())
        tap.ok("same user" in reply["error"], "root may look, but not join another user's", reply)
    lab.plain("down")


# ---------------------------------------------------------------- nothing is left

class Footprint:
    """What a process has, as far as one may look."""

    def __init__(self, pid):
        self.pid = pid
        try:
            self.fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            self.fds = []
        with open(f"/proc/{pid}/status") as f:
            status = dict(line.split(":", 1) for line in f)
        self.threads = int(status["Threads"])
        self.kib = int(status["RssAnon"].split()[0]) + int(status["RssShmem"].split()[0])
        try:
            with open(f"/proc/{pid}/maps") as f:
                self.maps = sum("---p" not in line for line in f)
        except OSError:
            self.maps = 0

    def shape(self):
        return sorted(self.fds), self.threads, self.maps

    def text(self):
        return f"{len(self.fds)} descriptors, {self.threads} threads, {self.maps} mappings, " \
               f"{self.kib} KiB"


def test_nothing_left(tap, lab, rounds):
    """Doors that come and go, some of them killed; AddressSanitizer looks at what is left at the end."""
    machine = subprocess.Popen([*lab.place.plain_prefix, lab.uvfio, "up", "-q", "--foreground",
                                lab.file], env=lab.env, cwd=lab.place.dir, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    tap.equal(next_line(machine.stdout), "lab", "a machine")
    bad = []

    def one(n):
        if n % 10 == 9:
            joined = lab.start_client("hold", B)
            joined.hear()
            if n % 20 == 9:
                os.kill(joined.pid(), signal.SIGKILL)
                joined.end()
            else:
                joined.kill()
            return ""
        return lab.run_client(("dma", "irq", "order", "fork")[n % 4], B)

    def many(numbers):
        """While another one works; then what the machine has with no client at all."""
        steady = lab.start_client("steady", A)
        steady.hear()
        bad.extend(filter(None, map(one, numbers)))
        if not steady.say("?").isdigit() or steady.end()[0]:
            bad.append("the steady client failed")
        eventually(lambda: not lab.json("list", "--clients"))
        # Threads that watch for something end a while after there is nothing, and so do windows.
        last = None
        while last != (last := Footprint(machine.pid).shape()):
            time.sleep(1.5)
        return Footprint(machine.pid)
    warm = max(rounds // 3, 10)
    many(range(warm))
    # The journal takes its memory as it fills: 7 events each time, 4096 in all.
    bad.append(lab.run_client("order", B, "25"))
    before = many(range(10))
    after = many(range(warm, rounds))
    bad = [b for b in bad if b]
    tap.ok(not bad, f"{rounds} clients come and go", "\n".join(bad[:5]))
    tap.equal((sorted(after.fds), after.threads), (sorted(before.fds), before.threads),
              "descriptors and threads are those of before")
    print(f"# {before.text()}; then {after.text()}")
    tap.ok(after.maps <= before.maps + 8, "mappings too", f"{before.maps}, now {after.maps}")
    # The heap has an arena for each of several threads, so that it is never quite the same; with
    # many rounds a kibibyte a client is seen.
    tap.ok(after.kib - before.kib < 1024, "memory too", f"{before.kib} KiB, now {after.kib}")
    tap.equal(lab.plain("down")[0], 0, "down")
    out, err = machine.communicate(timeout=PATIENCE)
    tap.equal((machine.returncode, err), (0, ""), "the machine has nothing to complain of")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("uvfio")
    parser.add_argument("client")
    parser.add_argument("--as-root", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    adopt_orphans()
    place = place_of(args)
    tap = Tap()
    lab = Lab(place, tap, args.client)
    before = len(os.listdir("/proc/self/fd"))
    tests = {"words": test_words, "life": test_life, "status": test_status,
             "service": test_service, "two": test_two, "own": test_own,
             "kills": lambda t, l: test_kills(t, l, args.rounds // 2),
             "launch_kills": test_launch_kills, "machine_killed": test_machine_killed,
             "down": test_down, "hostile": test_hostile,
             "nothing_left": lambda t, l: test_nothing_left(t, l, args.rounds)}
    try:
        for name, test in tests.items():
            if args.only and name not in args.only.split(","):
                continue
            print(f"# {name}")
            start = time.monotonic()
            try:
                test(tap, lab)
            except (AssertionError, StopIteration, subprocess.TimeoutExpired, OSError, ValueError,
                    LookupError, TypeError) as e:
                tap.ok(False, f"{name}: {type(e).__name__}", e)
                lab.plain("down", "--force")
            print(f"# {name}: {time.monotonic() - start:.1f} s")
        if not tap.bad:
            tap.equal(len(os.listdir("/proc/self/fd")), before, "no descriptor is left open here")
    finally:
        place.close()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
