# SPDX-License-Identifier: BSD-3-Clause
"""What a person sees: numbered steps with times, a bar while something is fetched, a verdict.

On a terminal a running step is redrawn in place; elsewhere (a log, CI) every line is final.
"""

import os
import sys
import time


class Failure(Exception):
    """Something the person at the terminal should know: what went wrong and what to do."""

    def __init__(self, reason, remedy=""):
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Ui:
    """Numbered steps of one run. UVFIO_T0 (seconds since the epoch) is when the run began."""

    def __init__(self, name, total, first=1):
        self.name = name
        self.total = total
        self.number = first - 1
        self.tty = sys.stdout.isatty()
        self.t0 = float(os.environ.get("UVFIO_T0") or time.time())
        self.bad = []
        self.skipped = []

    def _style(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.tty else text

    def line(self, text=""):
        if self.tty:
            sys.stdout.write("\r\033[K")
        print(text, flush=True)

    def step(self, title):
        self.number += 1
        self.line(self._style("1", f"[{self.number}/{self.total}] {title}")
                  + f"  ({time.time() - self.t0:.1f} s)")

    def note(self, text):
        self.line(f"      {text}")

    def live(self, text):
        """A line that the next one replaces; nothing where the output is not a terminal."""
        if self.tty:
            sys.stdout.write("\r\033[K" + f"      {text}"[:100])
            sys.stdout.flush()

    def bar(self, verb, percent, text=""):
        full = int(percent * 30 / 100)
        self.live(f"{verb:7} [{'#' * full:30}] {percent:3.0f} %  {text}")

    def check(self, good, what, detail=""):
        """One part of the account with its verdict; a bad one makes the whole run fail."""
        mark = self._style("32", "ok  ") if good else self._style("31", "FAIL")
        self.line(f"      {mark} {what}" + (f": {detail}" if detail else ""))
        if not good:
            self.bad.append(what)
        return good

    def skip(self, what, why):
        self.line(f"      {self._style('33', 'skip')} {what}: {why}")
        self.skipped.append(what)

    def verdict(self, failure=None):
        """The last line; returns the exit status."""
        took = f"{time.time() - self.t0:.0f} s"
        if failure is None and self.bad:
            failure = Failure("; ".join(self.bad))
        if failure is None:
            more = f" ({len(self.skipped)} skipped)" if self.skipped else ""
            self.line(self._style("1;32", f"{self.name}: PASS in {took}{more}"))
            return 0
        self.line(self._style("1;31", f"{self.name}: FAIL after {took}: {failure.reason}"))
        if failure.remedy:
            self.line(f"      what to do: {failure.remedy}")
        return 1
