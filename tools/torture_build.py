#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a build again and again, and damages maps: what comes out must be the very same map, or a refusal.

    tools/torture_build.py BAG WORK [--kills 20] [--maps 200] [--seed 0]

Every kill is a SIGKILL at a random moment of the time a build takes; then the build is run again and its bytes
compared with those of an undisturbed one. Then bits of that map are flipped, its end cut off, tiles swapped: each must
be refused.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from lhmap_loc_ros.errors import MapFormatError
from lhmap_loc_ros.lhmap import LHMap


def build(bag: Path, out: Path, kill_after_s: float | None = None) -> float:
    """Runs `lhmap build`; returns how long it took."""
    command = [sys.executable, "-m", "lhmap_loc_ros", "build", str(bag), "-o", str(out)]
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return time.time() - began
    if code:
        sys.exit(f"{' '.join(command)}: exit code {code}")
    return time.time() - began


def kills(bag: Path, work: Path, count: int, rng: random.Random) -> bytes:
    """Returns the bytes that every build must give."""
    whole = work / "whole.lhmap"
    seconds = build(bag, whole)
    expected = whole.read_bytes()
    print(f"undisturbed: {seconds:.1f} s, {len(expected)} bytes")
    for number in range(count):
        out = work / f"killed{number}.lhmap"
        moment = rng.uniform(0, seconds)
        build(bag, out, moment)
        there = out.exists()
        if there and out.read_bytes() != expected:
            sys.exit(f"killed after {moment:.2f} s: {out} is there and wrong")
        again = build(bag, out)
        same = out.read_bytes() == expected
        found = "complete" if there else "no map"
        outcome = "same bytes" if same else "OTHER BYTES"
        print(f"killed after {moment:6.2f} s: {found}; again in {again:6.2f} s: {outcome}")
        if not same:
            sys.exit(1)
        out.unlink()
    return expected


def damage(content: bytes, index: list[tuple[int, int]], rng: random.Random) -> tuple[str, bytes]:
    """One kind of damage, and the damaged bytes."""
    kind = rng.choice(("bit", "cut", "swap"))
    if kind == "bit":
        position = rng.randrange(len(content))
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        return f"bit of byte {position} flipped", bytes(changed)
    if kind == "cut":
        length = rng.randrange(len(content))
        return f"cut to {length} bytes", content[:length]
    (a, size_a), (b, size_b) = rng.sample(index, 2)
    size = min(size_a, size_b)
    changed = bytearray(content)
    changed[a : a + size], changed[b : b + size] = content[b : b + size], content[a : a + size]
    return f"{size} bytes of the tiles at {a} and {b} swapped", bytes(changed)


def damages(content: bytes, work: Path, count: int, rng: random.Random) -> None:
    """Every damaged map must be refused."""
    path = work / "damaged.lhmap"
    with LHMap.open(work / "whole.lhmap") as lhmap:
        index = list(zip(lhmap.index["offset"].tolist(), lhmap.index["size"].tolist(), strict=True))
    refused = 0
    for _ in range(count):
        what, changed = damage(content, index, rng)
        path.write_bytes(changed)
        try:
            with LHMap.open(path) as lhmap:
                lhmap.verify()
        except MapFormatError as error:
            refused += 1
            if refused <= 5:
                print(f"{what}: {error}")
            continue
        sys.exit(f"{what}: not refused")
    print(f"{refused} of {count} damaged maps refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--maps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    damages(kills(args.bag, args.work, args.kills, rng), args.work, args.maps, rng)


if __name__ == "__main__":
    main()
