#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`make fuzz`: each fuzz target by libFuzzer under the sanitizers, for its share of FUZZ_SECONDS.

Starts from the saved inputs of tests/fuzz/corpus; what it learns stays in .cache/fuzz, an input that
breaks something is saved there and named: copy it to the corpus together with the mend.
"""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from ui import Failure, Ui  # noqa: E402

ROOT = kernel.ROOT
BUILD = "build-fuzz"
CORPUS = os.path.join(ROOT, "tests", "fuzz", "corpus")


def build(targets):
    folder = os.path.join(ROOT, BUILD)
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        subprocess.run(["meson", "setup", folder, "-Dfuzz=true", "-Db_lundef=false",
                        "-Db_sanitize=address,undefined"], cwd=ROOT, check=True,
                       env=dict(os.environ, CC="clang"), stdout=subprocess.DEVNULL)
    names = [f"tests/fuzz/fuzz_{name}" for name in targets]
    out = subprocess.run(["ninja", "-C", folder, *names], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    if out.returncode:
        raise Failure("the fuzz targets do not build:\n" + out.stdout[-3000:])


def fuzz(ui, name, seconds):
    work = os.path.join(kernel.CACHE, "fuzz", name)
    os.makedirs(work, exist_ok=True)
    log = work + ".log"
    with open(log, "w", encoding="utf-8") as out:
        rc = subprocess.run(
            [os.path.join(ROOT, BUILD, "tests", "fuzz", "fuzz_" + name), work,
             os.path.join(CORPUS, name), f"-max_total_time={seconds}", "-rss_limit_mb=2048",
             "-timeout=20", "-print_final_stats=1", f"-artifact_prefix={work}-"],
            stdout=out, stderr=subprocess.STDOUT).returncode
    with open(log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    runs = [line.split()[-1] for line in text.splitlines() if "number_of_executed_units" in line]
    saved = [line.split()[-1] for line in text.splitlines() if "Test unit written to" in line]
    ui.check(rc == 0, name, f"{runs[0] if runs else '?'} inputs"
             + (f"; broken by {saved[0]}, see {log}" if saved else ""))


def main():
    ui = Ui("make fuzz", int(os.environ.get("UVFIO_STEPS", 3)), first=2)
    seconds = int(os.environ.get("FUZZ_SECONDS") or 600)
    targets = sorted(name for name in os.listdir(CORPUS))
    try:
        if not shutil.which("clang"):
            raise Failure("no clang", "tools/setup fuzz")
        ui.step("Build with clang, address and undefined-behaviour sanitizers")
        build(targets)
        each = max(1, seconds // len(targets))
        ui.step(f"{len(targets)} targets, {each} s each")
        for name in targets:
            fuzz(ui, name, each)
    except Failure as failure:
        return ui.verdict(failure)
    except KeyboardInterrupt:
        return ui.verdict(Failure("interrupted"))
    return ui.verdict()


if __name__ == "__main__":
    sys.exit(main())
