#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""All tests, `make check`: every suite in the plain build, those that matter under the sanitizers.

Writes "N passed, N failed, N skipped" to .cache/check.result for .ci/run.
"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tests", "lib"))
import kernel  # noqa: E402
from build import build  # noqa: E402
from ui import Failure, Ui  # noqa: E402

ROOT = kernel.ROOT
BUILD = os.environ.get("BUILD") or "build"
SANITIZERS = {
    "asan": ("address and undefined-behaviour sanitizers",
             ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
    "tsan": ("thread sanitizer", ["-Db_sanitize=thread", "-Db_lundef=false"]),
}
ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99",
}
# The flow tests in which the door's threads meet most; each takes several times as long as without.
TSAN_FLOW = ["door"]
PASSED, SKIPPED = ("OK", "EXPECTEDFAIL"), ("SKIP",)


def meson_test(folder, name, suites, options=(), wrapper=(), tests=()):
    """Runs suites, of them only @tests if there are any. Returns the list of (test, result)."""
    if wrapper:  # meson adds the wrapper's name to that of the log
        log_name = f"{name}-{os.path.basename(wrapper[0])}"
    else:
        log_name = name
    log = os.path.join(ROOT, folder, "meson-logs", f"{log_name}.json")
    if os.path.exists(log):
        os.unlink(log)
    argv = ["meson", "test", "-C", folder, "--no-rebuild", "--logbase", name,
            "--num-processes", "2", "--print-errorlogs", *options]
    if wrapper:
        argv += ["--wrapper", " ".join(wrapper)]
    for suite in suites:
        argv += ["--suite", suite]
    argv += tests
    subprocess.run(argv, cwd=ROOT, env=dict(os.environ, **ENV))
    try:
        with open(log, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f if line.strip()]
    except OSError:
        raise Failure(f"meson test in {folder} did not run", "see above") from None
    return [(f"{row['name']} ({folder})", row["result"]) for row in rows]


def tsan_wrapper():
    """Where the kernel scatters mappings wider than this compiler's thread sanitizer knows."""
    try:
        with open("/proc/sys/vm/mmap_rnd_bits") as f:
            wide = int(f.read()) > 28
    except (OSError, ValueError):
        wide = False
    quiet = ["setarch", "-R"]
    able = wide and subprocess.run([*quiet, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return quiet if able else []


def run(ui, rows):
    ui.step("Debian's cloud kernel for the guests")
    ui.note(kernel.ensure_kernel(ui)[1])
    ui.step("Build")
    build(BUILD)
    ui.step("Style, unit, faults, flow, fuzz (saved inputs), guest")
    more = ["guest-more"] if os.environ.get("MORE") else []
    rows += meson_test(BUILD, "check", ["style", "unit", "faults", "flow", "fuzz", "guest", *more])
    for name, (title, options) in SANITIZERS.items():
        ui.step(f"Unit, faults and flow under the {title}" if name == "asan" else
                f"Unit and the door's flow under the {title}")
        folder = f"{BUILD}-{name}"
        build(folder, *options)
        # As root the same code runs as for an ordinary user: once is enough for the sanitizers. What
        # is in suite "plain" is left out too, so that all of it stays under 20 minutes.
        once = ["--no-suite", "root", "--no-suite", "plain"]
        if name == "asan":
            rows += meson_test(folder, "check", ["unit", "faults", "flow"], once)
            continue
        # What the fault walks look for, the address sanitizer sees.
        rows += meson_test(folder, "check", ["unit"], once, tsan_wrapper())
        rows += meson_test(folder, "check-flow", ["flow"], once, tsan_wrapper(), TSAN_FLOW)


def main():
    ui = Ui("make check", int(os.environ.get("UVFIO_STEPS", 6)), first=2)
    rows, failure = [], None
    try:
        run(ui, rows)
    except Failure as reason:
        failure = reason
    except KeyboardInterrupt:
        failure = Failure("interrupted")
    bad = [name for name, result in rows if result not in PASSED + SKIPPED]
    skipped = [name for name, result in rows if result in SKIPPED]
    passed = len(rows) - len(bad) - len(skipped)
    counts = f"{passed} passed, {len(bad)} failed, {len(skipped)} skipped"
    if failure is None and bad:
        failure = Failure("failed: " + ", ".join(bad),
                          f"the logs are {BUILD}*/meson-logs/check.txt")
    if failure is None and not passed:
        failure = Failure("no test ran")
    for name in skipped:
        ui.note(f"skipped: {name}")
    ui.note(counts)
    with open(os.path.join(kernel.CACHE, "check.result"), "w", encoding="utf-8") as f:
        f.write(counts + "\n")
    return ui.verdict(failure)


if __name__ == "__main__":
    sys.exit(main())
