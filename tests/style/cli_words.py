#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""cli_words.py UVFIO SOURCE: --help, the man pages and the completion name the same commands and
the same options. Prints TAP."""

import os
import re
import subprocess
import sys

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
    print(f"1..{report.n}")
    return 1 if report.bad else 0


sys.exit(main())
