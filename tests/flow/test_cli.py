#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The uvfio command as a user meets it: exit statuses, messages, signals, the control socket and
the watchers. Nothing here depends on time, save for the patience with which a hang is told."""

import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from tap import Tap, place_of  # noqa: E402

PATIENCE = 60
BDF = "0000:65:00.0"
SPEC = f"testdev,bdf={BDF}"
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


class Args:
    def __init__(self):
        self.uvfio = sys.argv[1]
        self.as_root = "--as-root" in sys.argv


class Cli:
    """Runs uvfio as the place's user."""

    def __init__(self, place):
        self.place = place
        self.env = dict(os.environ, LC_ALL="C", TZ="UTC", **place.env)
        # Now that it is there, machines that this user may run elsewhere are not ours to see.
        sockets = os.path.join(self.env["XDG_RUNTIME_DIR"], "uvfio")
        os.mkdir(sockets, 0o700)
        place.own(sockets)

    def plain(self, *argv, env=None):
        """A command that needs no door; (status, stdout, stderr)."""
        out = subprocess.run([*self.place.plain_prefix, self.place.uvfio, *argv], text=True,
                             env=env or self.env, cwd=self.place.dir, timeout=PATIENCE,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        return out.returncode, out.stdout, out.stderr

    def start(self, *argv):
        return subprocess.Popen([*self.place.plain_prefix, self.place.uvfio, *argv], env=self.env,
                                cwd=self.place.dir, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *command, options=("-d", SPEC), env=None, patience=PATIENCE):
        out = subprocess.run([*self.place.prefix, self.place.uvfio, "run", *options, "--",
                              *command], text=True, env=env or self.env, cwd=self.place.dir,
                             timeout=patience, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        return out.returncode, out.stdout, out.stderr

    def json(self, *argv):
        status, out, err = self.plain(*argv, "--json")
        if status:
            raise AssertionError(f"{argv}: {status} {err}")
        return json.loads(out)

    def event_lines(self):
        return [json.loads(line) for line in self.plain("events", "--json")[1].splitlines()]


class Running:
    """A `uvfio run -v` in the background, with its command's standard input and output."""

    all = []

    def __init__(self, cli, *command, options=("-d", SPEC), env=None):
        self.process = subprocess.Popen(
            [*cli.place.prefix, cli.place.uvfio, "run", "-v", *options, "--", *command],
            env=env or cli.env, cwd=cli.place.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.socket = None
        self.errors = []
        Running.all.append(self)

    def read_socket(self):
        """The path that -v tells."""
        while True:
            line = self.process.stderr.readline()
            if not line:
                raise AssertionError("ended without a control socket: " + "".join(self.errors))
            self.errors.append(line)
            found = re.match(r"uvfio: control socket (\S+)$", line)
            if found:
                self.socket = found.group(1)
                return self.socket

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self):
        return next_line(self.process.stdout)

    def end(self):
        """Lets the command end by itself; the exit status."""
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def next_line(stream):
    """A line of an unbuffered pipe, or what is there of it when it ends or patience does."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        byte = os.read(stream.fileno(), 1) if ready else b""
        if not byte:
            break
        line += byte
    return line.decode().strip()


def client(cli, **more):
    """A running machine whose command is vfio_client.py, ready for its first line."""
    script = cli.place.path("vfio_client.py")
    if not os.path.exists(script):
        shutil.copy(os.path.join(HERE, "vfio_client.py"), script)
        cli.place.own(script)
    running = Running(cli, PYTHON, script, BDF, **more)
    running.read_socket()
    running.hear()
    return running


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# ---------------------------------------------------------------- words

WRONG = [
    # arguments, exit status, what the line must name
    (["nosuch"], 2, "nosuch"),
    (["--nosuch"], 2, "--nosuch"),
    (["list", "--nosuch"], 2, "--nosuch"),
    (["list", "-x"], 2, "-x"),
    (["list", "more"], 2, "more"),
    (["list", "--json=1"], 2, "--json"),
    (["list", "--socket"], 2, "--socket PATH"),
    (["list", "--socket", "/nonexistent/socket"], 1, "/nonexistent/socket"),
    (["iommu"], 2, "BDF"),
    (["iommu", "banana"], 2, "banana"),
    (["iommu", BDF, "more"], 2, "more"),
    (["iommu", BDF], 1, "uvfio run"),
    (["bind"], 2, "BDF"),
    (["bind", "banana"], 2, "banana"),
    (["bind", BDF, "vfio-pci", "more"], 2, "more"),
    (["unbind", BDF, "more"], 2, "more"),
    (["sriov"], 2, "BDF"),
    (["sriov", BDF, "-3"], 2, "-3"),
    (["sriov", BDF, "many"], 2, "many"),
    (["unbind", BDF], 1, "uvfio run"),
    (["events"], 1, "uvfio run"),
    (["help", "nosuch"], 2, "nosuch"),
    (["run"], 125, "-- CMD"),
    (["run", "--explain", "true"], 125, "--explain"),
    (["run", "--json", "--", "true"], 125, "--explain"),
    (["run", "--nosuch"], 125, "--nosuch"),
    (["run", "-d"], 125, "--device SPEC"),
    (["run", "-d", "testdev"], 125, "-- CMD"),
    (["run", "--", "true"], 125, "--device SPEC"),
    (["run", "-d", "nosuch", "--", "true"], 125, "nosuch"),
    (["run", "-d", "", "--", "true"], 125, "model"),
    (["run", "-d", "testdev,nosuch=1", "--", "true"], 125, "nosuch"),
    (["run", "-d", "testdev,mmio=fast", "--", "true"], 125, "mmio=fast"),
    (["run", "-d", "testdev,vectors=65", "--", "true"], 125, "0 to 64"),
    (["run", "-d", "testdev,bdf=banana", "--", "true"], 125, "banana"),
    (["run", "-d", SPEC, "-d", SPEC, "--", "true"], 125, BDF),
    (["run", "-m", "/nonexistent.json", "--", "true"], 125, "/nonexistent.json"),
    (["run", "-m", "bad.json", "--", "true"], 125, "bad.json"),
    (["run", "-d", SPEC, "--", "./nosuch"], 127, "./nosuch"),
    (["run", "-d", SPEC, "--", "nosuch-command"], 127, "nosuch-command"),
    (["run", "-d", SPEC, "--", ""], 127, "not found"),
    (["run", "-d", SPEC, "--", "./bad.json"], 126, "./bad.json"),
    (["run", "-d", SPEC, "--", "/"], 126, "/"),
]


def test_words(tap, cli):
    bad = cli.place.path("bad.json")
    with open(bad, "w") as f:
        f.write('{"devices": [\n  {"model": \n')
    cli.place.own(bad)
    for argv, status, word in WRONG:
        got, out, err = cli.plain(*argv)
        good = (got == status and word in err and not out and err.count("\n") == 1 and
                err.startswith("uvfio"))
        tap.ok(good, f"uvfio {' '.join(argv)}: {status}", "" if good else f"{got} {out!r} {err!r}")
    tap.equal(cli.plain()[0], 2, "no command is a usage error")
    tap.ok(re.fullmatch(r"uvfio \d+\.\d+\.\d+\n", cli.plain("--version")[1]), "--version")
    tap.ok("testdev" in cli.plain("run", "--help")[1], "run --help lists the models")
    tap.ok("vectors=" in cli.plain("models")[1], "models lists keys")
    tap.ok(any(m["model"] == "testdev" for m in cli.json("models")), "models --json")
    tap.equal(cli.plain("list", "--json")[:2], (0, "[]\n"), "no machine: an empty list")
    tap.equal(subprocess.run([*cli.place.plain_prefix, "sh", "-c", '"$0" help >/dev/full 2>&1',
                              cli.place.uvfio]).returncode, 1, "a full output is a failure")


# ---------------------------------------------------------------- what this kernel gives

def test_explain(tap, cli):
    def explain(*argv, **env):
        out = subprocess.run([*cli.place.prefix, cli.place.uvfio, "run", "--explain", *argv],
                             text=True, env=dict(cli.env, **env), cwd=cli.place.dir,
                             timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        return out.returncode, out.stdout, out.stderr

    keys = {"device_file", "mapped_pages", "trapped_access", "dma_mappings", "other_calls",
            "differences"}
    for devices, word in (("", ""), ("memfd", "sparse memfd"), ("fuse", "FUSE file")):
        env = {"UVFIO_DOOR": devices} if devices else {}
        status, out, err = explain("--json", **env)
        got = json.loads(out) if not status else {}
        good = (not status and not err and got["kernel"] == os.uname().release and
                got["device_files"] == (devices or got["device_files"]) and
                got["forced"] == bool(devices) and set(got["what"]) == keys and
                all(set(m) == {"name", "since", "effect"} for m in got["missing"]))
        tap.ok(good, f"run --explain --json {devices}",
               "" if good else f"{status} {out!r} {err!r}")
        status, out, err = explain(**env)
        good = (not status and not err and word in out and "trapped access" in out and
                ("UVFIO_DOOR" in out) == bool(devices))
        tap.ok(good, f"run --explain {devices}", "" if good else f"{status} {out!r} {err!r}")


# A folder with all that / has, as the root of a process without capabilities.
CHROOT = '''
for path in /*; do
    if [ -L "$path" ]; then cp -P "$path" "$0$path"
    elif [ -d "$path" ]; then mkdir "$0$path" && mount --rbind "$path" "$0$path"; fi
done
exec chroot "$0" setpriv --bounding-set=-all --inh-caps=-all "$@"
'''


def test_chroot(tap, cli):
    root = cli.place.path("root")
    os.mkdir(root)
    cli.place.own(root)
    out = subprocess.run([*cli.place.prefix, "unshare", "--map-root-user", "--mount", "sh", "-c", CHROOT,
                          root, cli.place.uvfio, "run", "-d", SPEC, "--", "true"], text=True,
                         env=cli.env, cwd=cli.place.dir, timeout=PATIENCE,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tap.ok(out.returncode == 125 and "in a chroot the kernel lets ordinary users make no user "
           "namespaces" in out.stderr, "in a chroot", (out.returncode, out.stderr))


# ---------------------------------------------------------------- the command

def test_status(tap, cli):
    for script, status in (("exit 0", 0), ("exit 7", 7), ("exit 125", 125), ("kill -9 $$", 137),
                           ("kill -TERM $$", 143)):
        got = cli.run("sh", "-c", script)
        tap.equal(got[0], status, f"'{script}' ends with {status}")
    got = cli.run("sh", "-c", "cat; echo out; echo err >&2; pwd; id -u; trap")
    tap.equal(got[0], 0, "streams: status")
    tap.ok(got[1].startswith(f"out\n{os.path.realpath(cli.place.dir)}\n"), "streams and directory",
           got[1])
    tap.equal(got[2], "err\n", "nothing of uvfio's own is on standard error")
    script = cli.place.path("no-interpreter")
    with open(script, "w") as f:
        f.write("#!/nonexistent/interpreter\n")
    os.chmod(script, 0o755)
    cli.place.own(script)
    got = cli.run(script)
    tap.ok(got[0] in (125, 126, 127) and got[2].startswith("uvfio"), "a script without interpreter",
           got)


def test_many(tap, cli):
    """As many devices as a machine file can have, and one more."""
    count = 1024
    for model, more in (("testdev", {}), ("nvme", {"mem": "1M"})):
        path = cli.place.path(f"many-{model}.json")
        with open(path, "w") as f:
            json.dump({"devices": [dict(more, model=model)] * count}, f)
        cli.place.own(path)
        got = cli.run("sh", "-c", "ls /dev/vfio /dev/vfio/devices | grep -c [0-9]; cat /sys/bus/pci/devices/*/config | wc -c",
                      options=("-m", path), patience=4 * PATIENCE)
        files, size = (got[1].split() + ["", ""])[:2]
        tap.ok(got[0] == 0 and files == str(2 * count) and int(size) >= count * 2 * 256 and
               not got[2], f"{count} of {model}", got)
    with open(path, "w") as f:
        json.dump({"devices": [{"model": "testdev"}] * (count + 1)}, f)
    got = cli.run("true", options=("-m", path))
    tap.ok(got[0] == 125 and "1024" in got[2] and got[2].count("\n") == 1, "one more", got)


def test_signals(tap, cli):
    up = "echo up; while :; do sleep 0.05; done"
    for name, number in (("TERM", signal.SIGTERM), ("HUP", signal.SIGHUP)):
        running = Running(cli, "sh", "-c", f"trap 'exit 5' {name}; {up}")
        path = running.read_socket()
        running.hear()
        running.process.send_signal(number)
        tap.equal(running.process.wait(PATIENCE), 5, f"SIG{name} is passed on")
        tap.ok(not os.path.exists(path), "and the socket is gone")
        running.end()
    running = Running(cli, "sh", "-c", "echo up; read line; exit 6")
    running.read_socket()
    running.hear()
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGQUIT)
    tap.equal(running.end(), 6, "SIGINT and SIGQUIT are left to the command")
    running = Running(cli, "sh", "-c", f"trap '' TERM; {up}")
    running.read_socket()
    running.hear()
    running.process.send_signal(signal.SIGTERM)
    time.sleep(5.2)  # uvfio's own patience: less must not kill
    tap.ok(running.process.poll() is None, "one SIGTERM does not kill")
    running.process.send_signal(signal.SIGTERM)
    tap.equal(running.process.wait(PATIENCE), 137, "another one after 5 s does")
    running.end()
    # Before there is a command, signals end the run.
    fifo = cli.place.path("fifo")
    os.mkfifo(fifo)
    cli.place.own(fifo)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        run = subprocess.Popen([*cli.place.prefix, cli.place.uvfio, "run", "-m", fifo, "--", "true"],
                               env=cli.env, cwd=cli.place.dir, stdin=subprocess.DEVNULL)
        run.send_signal(number)
        tap.ok(run.wait(PATIENCE) in (-number, 128 + number),
               f"signal {number} while the machine file is read")
    # Ctrl-C, at any moment of the launch: it ends either uvfio or the command, and no line is said.
    for step in range(0, 40, 2):
        run = subprocess.Popen([*cli.place.prefix, cli.place.uvfio, "run", "-d", SPEC, "--",
                                "sleep", "1000"], env=cli.env, cwd=cli.place.dir, text=True,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True)
        time.sleep(step / 1000)
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=PATIENCE)[1]
        tap.ok(run.returncode in (-2, 130) and not said, f"Ctrl-C after {step} ms",
               f"{run.returncode} {said}")
    # Signals that the command gets have their defaults, whatever uvfio does with its own.
    out = cli.run("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")[1]
    handled = sum(1 << (s - 1) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT,
                                         signal.SIGQUIT))
    tap.equal([int(line.split()[1], 16) & handled for line in out.splitlines()], [0, 0, 0],
              "signals of the command")


# ---------------------------------------------------------------- the control socket

def test_socket(tap, cli):
    running = client(cli)
    path = running.socket
    tap.equal(path, os.path.join(cli.env["XDG_RUNTIME_DIR"], "uvfio",
                                 f"{running.process.pid}.sock"), "where the socket is")
    folder = os.stat(os.path.dirname(path))
    tap.equal(stat.S_IMODE(folder.st_mode), 0o700, "mode of its directory")
    tap.equal(os.listdir(os.path.dirname(path)), [os.path.basename(path)], "nothing else is there")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(PATIENCE)
    tap.ok(os.path.exists(path), "a killed machine leaves it")
    tap.equal(cli.json("list"), [], "no list of it")
    tap.ok(not os.path.exists(path), "and a watcher removes it")
    running.end()

    # A directory that others can write is not used; neither is a link to one.
    for name in ("open", "link"):
        runtime = cli.place.path("runtime-" + name)
        trap = os.path.join(runtime, "uvfio")
        os.mkdir(runtime, 0o700)
        os.mkdir(runtime + "-target", 0o700)
        if name == "open":
            os.mkdir(trap)
            os.chmod(trap, 0o777)
            cli.place.own(trap)
        else:
            os.symlink(runtime + "-target", trap)
        for path in (runtime, runtime + "-target"):
            cli.place.own(path)
        env = dict(cli.env, XDG_RUNTIME_DIR=runtime)
        why = f"{trap} is open to others (mode 0777): 'chmod 700 {trap}'" if name == "open" else \
            f"{trap} is not a directory: remove it"
        running = Running(cli, "cat", env=env)
        path = running.read_socket()
        tap.ok(not path.startswith(runtime), f"{name} directory is not used", path)
        tap.ok(f"uvfio: warning: the control socket is {path}: {why}\n" in running.errors,
               f"{name} directory: which is said", running.errors)
        tap.equal(os.listdir(trap), [], f"{name} directory stays empty")
        tap.equal(running.end(), 0, f"{name} directory: the command is none the worse")
        for words in (("list", "--name", "not-there"), ("down", "not-there")):
            err = cli.plain(*words, env=env)[2]
            tap.ok("no machine 'not-there' is running" in err and f"; passed over: {why}\n" in err,
                   f"{name} directory: {words[0]} misses a machine and says so", err)
    another_users(tap, cli)


def another_users(tap, cli):
    """An XDG_RUNTIME_DIR of somebody who is neither us nor root; nothing is made in it."""
    runtime, wrap = cli.place.path("runtime-other"), []
    os.mkdir(runtime)
    os.chmod(runtime, 0o777)
    if os.geteuid() == 0:
        os.chown(runtime, 1, 1)
    else:  # Who is root in a user namespace sees the real one as nobody.
        runtime, wrap = "/", ["unshare", "--map-root-user"]
    env = dict(cli.env, XDG_RUNTIME_DIR=runtime)
    out = subprocess.run([*cli.place.plain_prefix, *wrap, cli.place.uvfio, "down", "not-there"],
                         env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         cwd=cli.place.dir, timeout=PATIENCE)
    tap.ok(f"; passed over: XDG_RUNTIME_DIR, {runtime}, is another user's: " in out.stderr,
           "another user's directory", out)
    if not wrap:
        tap.equal(cli.run("true", env=env)[0], 0, "a machine goes elsewhere")
        tap.equal(os.listdir(runtime), [], "and makes nothing in it")


def converse(path, data, half_close=False):
    """Sends bytes, returns all that comes back until the other side is quiet or closes."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.settimeout(PATIENCE)
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        out = b""
        while True:
            try:
                got = s.recv(65536)
            except ConnectionResetError:
                return out
            if not got:
                return out
            out += got
            if not half_close and out.endswith(b"\n"):
                return out


def test_hostile(tap, cli):
    running = client(cli)
    path = running.socket
    for name, data in (("garbage", os.urandom(2000).replace(b"\n", b"x") + b"\n"),
                       ("NUL bytes", b"\0" * 100 + b"\n"), ("an empty line", b"\n"),
                       ("deep nesting", b"[" * 4000 + b"\n"), ("no object", b"[1]\n"),
                       ("no op", b"{}\n"), ("op of another type", b'{"op":[]}\n'),
                       ("unknown op", b'{"op":"shutdown"}\n'),
                       ("iommu without bdf", b'{"op":"iommu"}\n'),
                       ("iommu of no device", b'{"op":"iommu","bdf":"ffff:00:00.0"}\n'),
                       ("negative from", b'{"op":"iommu","bdf":"%s","from":-1}\n' % BDF.encode()),
                       ("after of another type", b'{"op":"events","after":{}}\n')):
        reply = json.loads(converse(path, data))
        tap.ok(reply["ok"] is False and reply["error"], name, reply)
    reply = json.loads(converse(path, b"x" * 10000))
    tap.ok("4096" in reply["error"], "a request without end")
    tap.equal(converse(path, b'{"op":"list"}', half_close=True), b"", "half a request")
    replies = converse(path, b'{"op":"list"}\n' * 20, half_close=True).splitlines()
    tap.equal([json.loads(r)["ok"] for r in replies], [True] * 20, "twenty requests at once")
    # More than are served at a time: they wait, and get through.
    crowd = []
    for _ in range(70):
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)  # a timeout would make it fail at once where the backlog is full
        s.settimeout(PATIENCE)
        crowd.append(s)
    for s in crowd[:64]:
        s.close()
    for s in crowd[64:]:
        s.sendall(b'{"op":"list"}\n')
        tap.ok(json.loads(s.recv(65536))["ok"], "one of a crowd")
        s.close()
    # One that never reads does not stop the others.
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(path)
    deaf.setblocking(False)
    try:
        for _ in range(100000):
            deaf.send(b'{"op":"list"}\n')
    except BlockingIOError:
        pass
    tap.equal(len(cli.json("list")), 1, "a reader that never reads")
    deaf.close()
    tap.equal(running.end(), 0, "the machine is none the worse")


# ---------------------------------------------------------------- watching

def test_list(tap, cli):
    options = ("-d", SPEC, "-d", "testdev,bdf=0000:70:00.0")
    running = client(cli, options=options)
    devices = cli.json("list")
    tap.equal([d["bdf"] for d in devices], [BDF, "0000:70:00.0"], "devices in order")
    tap.equal(devices[0]["id"], "1234:5000", "id")
    tap.equal(devices[0]["machine"], running.process.pid, "machine")
    tap.equal((devices[0]["open"], devices[0]["mappings"]), (False, 0), "not open yet")
    tap.ok(len(cli.json("list", "--all")) >= 4, "--all shows ports")
    tap.equal(running.say("open"), "ok", "the client opens it")
    tap.equal(running.say("dma 1 0x100000 256"), "1", "DMA to memory")
    tap.equal(running.say("dma 2 0x100000 128"), "1", "DMA from memory")
    tap.equal(running.say("dma 1 0xdead000 64"), "2", "DMA to nowhere")
    device, other = cli.json("list")
    tap.equal([device[k] for k in ("open", "attached", "mappings", "dma_read", "dma_write",
                                   "faults", "driver")],
              [True, True, 1, 128, 256, 1, "vfio-pci"], "counters")
    tap.equal((device["client"], other["client"]), (1, None), "who has it")
    tap.ok(device["group"] != other["group"], "groups")
    lines = cli.plain("list")[1].splitlines()
    column = lines[0].index("MODEL")
    tap.ok(len(lines) == 3 and all(line[column:].startswith("testdev") for line in lines[1:]),
           "the table is aligned", "\n".join(lines))
    resets = device["resets"]
    running.say("reset")
    tap.equal(cli.json("list")[0]["resets"], resets + 1, "a reset is counted")
    running.say("close")
    tap.equal(cli.json("list")[0]["open"], False, "closed")
    tap.equal(cli.json("list", "--socket", running.socket), cli.json("list"), "--socket")
    tap.equal(running.end(), 0, "end")


def test_iommu(tap, cli):
    running = client(cli)
    tap.ok("not attached" in cli.plain("iommu", BDF)[1], "not attached, in words")
    space = cli.json("iommu", BDF)
    tap.equal((space["attached"], space["mappings"]), (False, []), "not attached, in JSON")
    running.say("open")
    space = cli.json("iommu", BDF)
    tap.equal((space["attached"], space["count"], space["bytes"]), (True, 1, 65536), "totals")
    mapping = space["mappings"][0]
    tap.equal([mapping[k] for k in ("first", "last", "access", "direct")],
              ["0x100000", "0x10ffff", "rw", True], "the mapping")
    text = cli.plain("iommu", BDF)[1]
    tap.ok("0x10ffff" in text and "direct" in text and "1 mapping" in text, "as text", text)
    tap.equal(cli.plain("iommu", "65:00.0")[0], 0, "a short address")
    status, _, err = cli.plain("iommu", "0000:70:00.0")
    tap.ok(status == 1 and "uvfio list" in err, "no such device", err)
    other = client(cli)
    status, _, err = cli.plain("iommu", BDF)
    tap.ok(status == 1 and running.socket in err and other.socket in err and "--socket" in err,
           "two machines: which one?", err)
    tap.equal(cli.json("iommu", BDF, "-s", running.socket)["count"], 1, "this one")
    tap.equal(cli.json("iommu", BDF, "-s", other.socket)["attached"], False, "that one")
    tap.equal(len(cli.json("list")), 2, "list shows both")
    other.end()
    running.end()


def driver(cli):
    return cli.json("list")[0]["driver"]


def test_bind(tap, cli):
    running = client(cli)
    status, out, _ = cli.plain("unbind", BDF)
    tap.ok(status == 0 and BDF in out and "driver none" in out, "given back", out)
    tap.equal(driver(cli), None, "the host has no driver for it")
    tap.equal(running.say("open").split()[0], "error", "and a client no group")
    status, _, err = cli.plain("bind", BDF, "nosuch")
    tap.ok(status == 1 and "vfio-pci" in err, "no such driver", err)
    tap.equal(cli.json("bind", BDF)["devices"], [{"bdf": BDF, "driver": "vfio-pci"}], "bound")
    tap.equal(running.say("open"), "ok", "the client has it again")
    # In use: who gives up leaves everything as it is, who waits gets it in the end.
    waiting = cli.start("unbind", BDF)
    tap.ok(BDF in next_line(waiting.stderr), "it says what it waits for")
    waiting.send_signal(signal.SIGINT)
    tap.equal(waiting.wait(PATIENCE), -signal.SIGINT, "Ctrl-C gives up")
    tap.equal(running.say("dma 1 0x100000 64"), "1", "the device works on")
    tap.equal(driver(cli), "vfio-pci", "the driver is as it was")
    waiting.stdout.close()
    waiting.stderr.close()
    waiting = cli.start("unbind", BDF)
    next_line(waiting.stderr)
    running.say("close")
    tap.equal(waiting.wait(PATIENCE), 0, "given back once it is closed")
    waiting.stdout.close()
    waiting.stderr.close()
    tap.equal(driver(cli), None, "by then the client has lost it")
    # A machine that ends takes who waits along.
    cli.plain("bind", BDF)
    running.say("open")
    waiting = cli.start("unbind", BDF)
    next_line(waiting.stderr)
    running.end()
    tap.ok(waiting.wait(PATIENCE) in (0, 1), "the end of the machine ends the wait")
    waiting.stdout.close()
    waiting.stderr.close()


def test_sriov(tap, cli):
    pf, vf = "0000:70:00.0", "0000:70:00.2"
    options = ("-d", SPEC, "-d", f"nvme,mem=8M,bdf={pf},vfs=4,vf_mem=8M")
    running = client(cli, options=options)
    status, _, err = cli.plain("sriov", BDF)
    tap.ok(status == 1 and "vfs=N" in err, "a device without virtual functions", err)
    state = cli.json("sriov", pf)
    tap.equal((state["total_vfs"], state["num_vfs"], state["vfs"]), (4, 0, []), "none yet")
    status, _, err = cli.plain("sriov", pf, "5")
    tap.ok(status == 1 and "at most 4" in err, "more than it can have", err)
    state = cli.json("sriov", pf, "3")
    tap.equal([v["bdf"] for v in state["vfs"]], ["0000:70:00.1", vf, "0000:70:00.3"], "three")
    tap.equal(len({v["group"] for v in state["vfs"]}), 3, "each in a group of its own")
    tap.equal({v["driver"] for v in state["vfs"]}, {"vfio-pci"}, "bound as their PF is")
    status, _, err = cli.plain("sriov", pf, "2")
    tap.ok(status == 1 and f"uvfio sriov {pf} 0" in err, "not another number", err)
    tap.ok(vf in [d["bdf"] for d in cli.json("list")], "list shows them")
    tap.equal(cli.json("sriov", pf, "0")["num_vfs"], 0, "ended")
    cli.plain("unbind", pf)
    tap.equal(cli.json("sriov", pf, "1")["vfs"][0]["driver"], "nvme", "with the host's driver")
    tap.equal(cli.json("bind", "0000:70:00.1")["devices"][0]["driver"], "vfio-pci", "given away")
    tap.equal(running.end(), 0, "end")


def test_stopped(tap, cli):
    """A machine that is stopped (Ctrl-Z) does not stop its watchers."""
    running, stopped = client(cli), client(cli)
    stopped.process.send_signal(signal.SIGSTOP)
    status, out, err = cli.plain("list")
    tap.ok(status == 1 and stopped.socket in err and "does not answer" in err, "is named", err)
    tap.ok(BDF in out, "and the others are shown", out)
    stopped.process.send_signal(signal.SIGCONT)
    tap.equal(stopped.end(), 0, "it goes on")
    tap.equal(running.end(), 0, "and so does the other")


def test_events(tap, cli):
    running = client(cli)
    follower = subprocess.Popen([*cli.place.plain_prefix, cli.place.uvfio, "events", "-f", "-j"],
                                env=cli.env, text=True, stdout=subprocess.PIPE)
    running.say("open")
    running.say("dma 1 0xdead000 64")
    seen = []
    while not any(e["type"] == "dma-fault" for e in seen):
        line = next_line(follower.stdout)
        if not tap.ok(line, "a followed event", line):
            break
        seen.append(json.loads(line))
    fault = next(e for e in seen if e["type"] == "dma-fault")
    tap.equal([fault[k] for k in ("bdf", "access", "iova", "size", "reason", "client")],
              [BDF, "write", "0xdead000", 64, "not-mapped", 1], "the fault")
    join = seen[0] if seen[0]["type"] == "join" else cli.event_lines()[0]
    tap.equal((join["type"], join["client"], join["command"], join["bdf"]),
              ("join", 1, os.path.basename(PYTHON), None), "the client came")
    tap.ok({"attach", "open"} <= {e["type"] for e in seen}, "what came before it", seen)
    running.say("reset")
    events = cli.event_lines()
    tap.equal(events[-1]["type"], "reset", "a reset")
    tap.equal(events[:len(seen)], seen, "the journal says what followers saw")
    tap.equal([e["seq"] for e in events], list(range(1, len(events) + 1)), "without gaps")
    text = cli.plain("events")[1]
    want = rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} {BDF} dma-fault write iova 0xdead000 " \
           r"size 64: not mapped \(client 1\)$"
    tap.ok(re.search(want, text, re.M), "as text", text)
    interrupted = subprocess.Popen([*cli.place.plain_prefix, cli.place.uvfio, "events", "-f"],
                                   env=cli.env, text=True, stdout=subprocess.PIPE)
    interrupted.stdout.readline()
    interrupted.send_signal(signal.SIGINT)
    tap.equal(interrupted.wait(PATIENCE), -signal.SIGINT, "Ctrl-C ends a follower")
    interrupted.stdout.close()
    tap.equal(running.end(), 0, "end of the machine")
    rest = [json.loads(line)["type"] for line in follower.stdout]
    tap.ok({"close", "leave"} <= set(rest), "the last events reach a follower", rest)
    tap.equal(follower.wait(PATIENCE), 0, "whose end is a success")
    follower.stdout.close()


def test_storm(tap, cli):
    """More events than the journal keeps: what is gone is counted."""
    running = client(cli)
    running.say("open")
    tap.equal(running.say("storm 4500"), "ok", "4500 faults that are not alike")
    lines = cli.event_lines()
    tap.equal(list(lines[0]), ["lost"], "the first line is about what is gone")
    kept = lines[1:]
    tap.equal(len(kept), 4096, "the newest 4096 are kept")
    tap.equal(kept[0]["seq"], lines[0]["lost"] + 1, "and the others are counted")
    tap.equal([e["seq"] for e in kept], list(range(kept[0]["seq"], kept[-1]["seq"] + 1)),
              "without gaps")
    text = cli.plain("events")[1].splitlines()
    tap.equal(len(text), 4097, "as text a line each")
    tap.ok(re.match(rf"\({lines[0]['lost']} earlier events are lost", text[0]), "and one for the lost", text[0])
    follower = subprocess.Popen([*cli.place.plain_prefix, cli.place.uvfio, "events", "-f", "-j"],
                                env=cli.env, text=True, stdout=subprocess.PIPE)
    tap.equal(json.loads(next_line(follower.stdout)), lines[0], "a follower is told the same")
    follower.kill()
    follower.wait()
    follower.stdout.close()
    tap.equal(running.end(), 0, "end of the machine")


def main():
    place = place_of(Args())
    tap, cli = Tap(), Cli(place)
    before = len(os.listdir("/proc/self/fd"))
    try:
        for test in (test_words, test_explain, test_chroot, test_status, test_many, test_signals,
                     test_socket, test_hostile, test_list, test_iommu, test_bind, test_sriov,
                     test_stopped, test_events, test_storm):
            print(f"# {test.__name__}")
            try:
                test(tap, cli)
            except (AssertionError, StopIteration, subprocess.TimeoutExpired, OSError,
                    ValueError, LookupError) as e:
                tap.ok(False, f"{test.__name__}: {type(e).__name__}", e)
            for running in Running.all:
                running.process.kill()
            Running.all.clear()
        tap.equal(len(os.listdir("/proc/self/fd")), before, "no descriptor is left open")
    finally:
        place.close()
    return tap.finish()


sys.exit(main())
