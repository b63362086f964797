#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""cli_words.py UVFIO SOURCE: --help, the man pages and the completion name the same commands and
the same options; `uvfio models`, the errors of `uvfio check` and uvfio-machine(5) the same keys.
Prints TAP."""

import json
import os
import re
import subprocess
import sys
import tempfile

uvfio, source = os.path.abspath(sys.argv[1]), sys.argv[2]


def helped(*command):
    return subprocess.run([uvfio, *command, "--help"], text=True, check=True,
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def options_of_help(text):
    """{"--device": ("-d", "SPEC")} of the lines `  -d, --device SPEC   ...`."""
    found = re.findall(r"^  (-\w|  )[, ] (--[a-z-]+)(?: ([A-Z]+))?(?:  |$)", text, re.M)
    return {name: (letter.strip(), arg) for letter, name, arg in found}


def page(name):
    with open(os.path.join(source, "man", name + ".1.scd")) as f:
        return f.read()


def options_of_page(text):
    """The same of the lines `*-d*, *--device* _SPEC_`."""
    found = re.findall(r"^(?:\*(-\w)\*, )?\*(--[a-z-]+)\*(?: _([A-Z]+)_)?$", text, re.M)
    return {name: (letter, arg) for letter, name, arg in found}


def section(text, title):
    return re.search(rf"^# {title}\n(.*?)(?=^# |\Z)", text, re.M | re.S).group(1)


def completed(*words):
    """What the completion offers for these words."""
    script = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        _uvfio
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    env = dict(os.environ, PATH=os.path.dirname(uvfio) + ":" + os.environ["PATH"])
    out = subprocess.run(["bash", "--norc", "-c", script, "bash",
                          os.path.join(source, "completions", "uvfio.bash"), "uvfio", *words],
                         text=True, check=True, stdout=subprocess.PIPE, env=env)
    return set(out.stdout.split())


def as_words(options):
    return set(options) | {letter for letter, _ in options.values() if letter}


# ---------------------------------------------------------------- keys of a machine file

def keys_of_page(text):
    """{"mem": "SIZE"} of the lines `*mem*=_SIZE_`, {"bus": ""} of `*bus*`."""
    found = re.findall(r"^\*([a-z_]+)\*(?:=(\S+))?$", text, re.M)
    return {key: value.replace("_", "").replace("*", "") for key, value in found}


def keys_of_help(text):
    """The same of the lines `      mem=SIZE  memory instead of a file`."""
    return dict(re.findall(r"^ {6}([a-z_]+)=(\S+)", text, re.M))


def keys_of_error(machine):
    """What the error about an unknown key says that there is."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(machine, f)
        f.flush()
        out = subprocess.run([uvfio, "check", f.name], text=True, stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return set(out.stderr.rstrip().split("; keys: ")[1].split(", "))


def check_keys(report):
    with open(os.path.join(source, "man", "uvfio-machine.5.scd")) as f:
        manual = f.read()
    listed = subprocess.run([uvfio, "models"], text=True, check=True,
                            stdout=subprocess.PIPE).stdout
    models = dict(re.findall(r"^  ([a-z0-9-]+): .*\n((?: {6}.*\n)*)", listed, re.M))
    every = re.search(r"^  every model:\n((?: {6}.*\n)*)", listed, re.M).group(1)
    described = dict(re.findall(r"^## ([a-z0-9-]+)\n(.*?)(?=^## |\Z)", section(manual, "MODELS"),
                                re.M | re.S))
    bridges = {name for name in models if name.endswith(("port", "bridge"))}
    report.same("keys: models of man page", set(described), set(models) - bridges)
    for name, text in described.items():
        report.same(f"keys: {name}: models and man page", keys_of_help(models.get(name, "")),
                    keys_of_page(text))
        report.same(f"keys: {name}: error and man page",
                    keys_of_error({"devices": [{"model": name, "x": 1}]}),
                    set(keys_of_page(text)) | set(keys_of_help(every)))
    report.same("keys: every model", keys_of_help(every), keys_of_page(section(manual, "SPECS")))
    report.same("keys: machine file", keys_of_error({"x": 1}),
                set(keys_of_page(section(manual, "MACHINE FILE"))))
    tree = keys_of_error({"root_buses": [{"x": 1}]})
    for name in bridges:
        tree |= keys_of_error({"root_buses": [{"devices": [{"model": name, "x": 1}]}]})
    report.same("keys: trees", tree - set(keys_of_help(every)) | {"numa_node"},
                set(keys_of_page(section(manual, "TREES"))))


class Report:
    def __init__(self):
        self.n = self.bad = 0

    def same(self, what, a, b):
        self.n += 1
        good = a == b
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.n} - {what}")
        if not good:
            print(f"#   {a}\n#   {b}")


def main():
    report = Report()
    top = helped()
    summaries = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", top, re.M))
    commands = set(summaries)
    manual = page("uvfio")
    report.same("commands: help and man page", commands,
                set(re.findall(r"^\*([a-z]+)\*$", section(manual, "COMMANDS"), re.M)))
    report.same("commands: help and completion", commands, completed(""))
    report.same("commands: help and completion of help", commands, completed("help", ""))
    report.same("options of uvfio: help and man page", options_of_help(top),
                options_of_page(section(manual, "OPTIONS")))
    report.same("options of uvfio: help and completion", as_words(options_of_help(top)),
                completed("-"))
    for name in sorted(commands):
        text = helped(name)
        options = options_of_help(text)
        report.same(f"{name}: option letters are unique", len(options),
                    len({letter for letter, _ in options.values()}))
        report.same(f"{name}: help and completion", as_words(options), completed(name, "-"))
        report.same(f"{name}: summary in both helps", summaries[name], text.splitlines()[1])
        if name == "help":
            continue
        own = page("uvfio-" + name)
        report.same(f"{name}: help and man page", options, options_of_page(section(own, "OPTIONS")))
        usage = text.splitlines()[0].removeprefix("Usage: ")
        synopsis = re.sub(r"[*_]", "", section(own, "SYNOPSIS")).strip()
        report.same(f"{name}: usage and synopsis", usage, synopsis)
        report.same(f"{name}: summary and man page's name",
                    summaries[name].rstrip(".").split(",")[0].lower()[:12],
                    section(own, "NAME").split(" - ")[1].strip().lower()[:12])
    models = set(re.findall(r"^  ([a-z0-9]+): ", subprocess.run(
        [uvfio, "models"], text=True, check=True, stdout=subprocess.PIPE).stdout, re.M))
    report.same("models: completion of --device", models,
                completed("run", "--device", ""))
    check_keys(report)
    print(f"1..{report.n}")
    return 1 if report.bad else 0


sys.exit(main())
