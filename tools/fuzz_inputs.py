#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Corrupts inputs of every kind at random: each must end in one line of our own errors, or be read.

    tools/fuzz_inputs.py WORK [--runs 2000] [--seed 0] [--kind mcap ...]

Bits are flipped, ends cut off, blocks inserted, repeated or zeroed, numbers made nan, infinite, huge or negative, words
and lines deleted. Each is read in a worker of at most 1 GB more memory and 10 s of a processor. What is not answered
as it should be is kept in WORK/failed/ with the reason. The same seed gives the same corruptions.
"""

import argparse
import json
import os
import random
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

OUTCOMES = "refused", "read", "failed"
_SECONDS, _BYTES = 10, 1 << 30
_WALL_S = 60
"""Longer than a busy machine needs: who waits for ever uses no processor."""
_MIN_LINE, _MAX_LINE = 8, 2000
_NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e38, -1.0, 0.0, 1e-300)
_INTEGERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_WORDS = (
    "nan", ".nan", "inf", ".inf", "-inf", "1e300", "-1", "0", "999999999999999999999", "1e-300", "null", "", "-", "[]",
    "{}", "x", "~", "true", "'", ":", "&a *a", "\t", "é", "\0", "[[[[", "1_0", "0x10", "2001-01-01",
)  # fmt: skip


def corrupted(data: bytes, rng: random.Random, text: bool) -> bytes:
    """One to four corruptions of some bytes; of texts more often of their words and lines."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        of_text = text and rng.random() < 0.8
        data = rng.choice(_OF_TEXT if of_text else _OF_BYTES)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Headers stand at the beginning, indices at the end: half of the corruptions are there."""
    n = max(len(data), 1)
    where = rng.random()
    edge = rng.randrange(min(n, 512))
    return edge if where < 0.35 else n - 1 - edge if where < 0.5 else rng.randrange(n)


def _size(rng: random.Random) -> int:
    return int(2 ** rng.uniform(0, 10))


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if out:
            out[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(_size(rng)) + data[at:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, n = _place(data, rng), _size(rng)
    return data[: at + n] + data[at:]


def _zero(data: bytes, rng: random.Random) -> bytes:
    at, n = _place(data, rng), _size(rng)
    n = min(n, len(data) - at)
    return data[:at] + bytes(n) + data[at + n :]


def _delete(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + _size(rng) :]


def _number(data: bytes, rng: random.Random) -> bytes:
    code = rng.choice("fdBHIQ")
    value = rng.choice(_NUMBERS) if code in "fd" else rng.choice(_INTEGERS) & (1 << 8 * struct.calcsize(code)) - 1
    try:
        new = struct.pack("<" + code, value)
    except OverflowError:
        new = struct.pack("<f", float("inf"))
    at = _place(data, rng)
    at -= at % rng.choice((1, 1, 4))
    return data[:at] + new + data[at + len(new) :]


def _word(data: bytes, rng: random.Random) -> bytes:
    words = list(re.finditer(rb"[^\s,:\[\]{}]+", data))
    if not words:
        return data
    found = rng.choice(words)
    return data[: found.start()] + rng.choice(_WORDS).encode() + data[found.end() :]


def _number_in_text(data: bytes, rng: random.Random) -> bytes:
    numbers = list(re.finditer(rb"[-+]?\d[\d.e+-]*", data))
    if not numbers:
        return data
    found = rng.choice(numbers)
    return data[: found.start()] + rng.choice(_WORDS[:10]).encode() + data[found.end() :]


def _line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(other, lines[at])
    elif how == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = b" " * rng.randrange(6) + lines[at]
    return b"\n".join(lines)


_OF_BYTES = (_flip, _flip, _cut, _insert, _repeat, _zero, _delete, _number, _number)
_OF_TEXT = (_word, _word, _number_in_text, _line, _delete)


def sample(kind: str, folder: Path) -> Path:
    """A good input of a kind."""
    from fuzz_kinds import KINDS

    path = folder / f"good-{kind}{KINDS[kind].suffix}"
    if not path.exists():
        KINDS[kind].write(path)
    return path


def read(kind: str, path: Path) -> tuple[str, str]:
    """Refused, read or failed, and what was said."""
    from fuzz_kinds import KINDS

    from lhmap_loc_ros.errors import LhmapError

    try:
        KINDS[kind].read(path)
    except LhmapError as error:
        line, cause = str(error), error
        while cause is not None:
            if isinstance(cause, MemoryError) or "allocate" in str(cause):
                return "failed", f"asks for too much memory: {error}"
            cause = cause.__cause__ or cause.__context__
        if not _MIN_LINE < len(line) < _MAX_LINE:
            return "failed", f"a message of {len(line)} characters: {line[:200]}"
        return "refused", line
    except BaseException:
        return "failed", traceback.format_exc()
    return "read", ""


def work(folder: Path) -> None:
    """The worker: lines "KIND NUMBER SEED" come in, outcomes as JSON go out."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    kinds: set[str] = set()
    for request in sys.stdin:
        kind, number, seed = request.split()
        from fuzz_kinds import KINDS

        good = sample(kind, folder)
        if kind not in kinds:  # what is imported and compiled by the first
            signal.setitimer(signal.ITIMER_PROF, 0)
            read(kind, good)
            kinds.add(kind)
        rng = random.Random(f"{kind} {number} {seed}")
        path = folder / f"corrupted{good.suffix}"
        path.write_bytes(corrupted(good.read_bytes(), rng, KINDS[kind].text))
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + _BYTES, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # its signal ends the worker
        outcome = read(kind, path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(json.dumps(outcome), file=answers, flush=True)


@dataclass
class Worker:
    """The process that reads; started anew when it dies."""

    folder: Path
    process: subprocess.Popen | None = None

    def ask(self, kind: str, number: int, seed: int) -> tuple[str, str]:
        """The outcome of one corruption."""
        if self.process is None:
            command = [sys.executable, __file__, str(self.folder), "--worker"]
            with open(self.folder / "worker.log", "a") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.process.stdin.write(f"{kind} {number} {seed}\n".encode())
        self.process.stdin.flush()
        if select.select([self.process.stdout], [], [], _WALL_S + 60)[0] and (line := self.process.stdout.readline()):
            return tuple(json.loads(line))
        self.process.kill()
        code, self.process = self.process.wait(), None
        return "failed", {-signal.SIGPROF: f"takes more than {_SECONDS} s"}.get(code, f"the process ends with {code}")

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def fuzz(folder: Path, runs: dict[str, int], seed: int = 0) -> dict[str, Counter]:
    """How many of each outcome by kind, of so many `runs` by kind; failures are kept in `folder`/failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed").mkdir(exist_ok=True)
    worker, found = Worker(folder), {kind: Counter() for kind in runs}
    try:
        for kind, count in runs.items():
            began = time.monotonic()
            for number in range(count):
                outcome, said = worker.ask(kind, number, seed)
                found[kind][outcome] += 1
                if outcome == "failed":
                    (path,) = folder.glob("corrupted" + sample(kind, folder).suffix)
                    kept = folder / "failed" / f"{kind}-{seed}-{number}{path.suffix}"
                    kept.write_bytes(path.read_bytes())
                    kept.with_suffix(".txt").write_text(said)
                    print(f"{kind} {number}: {said.strip().splitlines()[-1][:160]}", file=sys.stderr)
            print(f"{kind}: {dict(found[kind])} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        worker.close()
    return found


def table(found: dict[str, Counter]) -> str:
    """The outcomes in Markdown."""
    rows = ["| input | corruptions | refused | read | failed |", "|---|---|---|---|---|"]
    for kind, counts in found.items():
        rows.append(f"| {kind} | {sum(counts.values())} | " + " | ".join(str(counts[o]) for o in OUTCOMES) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.work)
        return
    from fuzz_kinds import KINDS

    found = fuzz(args.work, dict.fromkeys(args.kind or KINDS, args.runs), args.seed)
    print(table(found))
    sys.exit(1 if any(counts["failed"] for counts in found.values()) else 0)


if __name__ == "__main__":
    main()
