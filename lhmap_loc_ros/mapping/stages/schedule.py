# SPDX-License-Identifier: Apache-2.0
"""Workers that run the jobs: the cores of this machine, or a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ...errors import ConfigError
from ...progress import Report


class Job(Protocol):
    """Reads files and writes one; can be sent to another machine that sees the same folders."""

    @property
    def out(self) -> Path:
        """The result; complete when it exists."""

    def run(self) -> None:
        """Writes `out`; raises InputError for input that cannot be used."""


class Workers:
    """Runs the jobs of one stage after another."""

    def __init__(self, each: Callable[[Sequence[Job]], Iterable[None]]):
        self._each = each

    def do(self, stage: str, jobs: Sequence[Job], report: Report) -> None:
        """Returns when every job is done; jobs whose result exists are not run again."""
        missing = [job for job in jobs if not job.out.exists()]
        done = len(jobs) - len(missing)
        report(stage, done, len(jobs))
        for _ in self._each(missing):
            done += 1
            report(stage, done, len(jobs))


@contextmanager
def local_workers(count: int | None = None) -> Iterator[Workers]:
    """Threads of this process: jobs spend their time in compiled code and in files, without the interpreter lock."""
    with ThreadPoolExecutor(count or os.cpu_count() or 1) as pool:

        def each(jobs: Sequence[Job]) -> Iterator[None]:
            futures = [pool.submit(job.run) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        yield Workers(each)


@contextmanager
def dask_workers(address: str) -> Iterator[Workers]:
    """The workers of a Dask scheduler, which must see the bags and the work folder under the same names.

    Raises ConfigError if Dask is not installed or there is no scheduler at the address.
    """
    try:
        from dask.distributed import Client
        from dask.distributed import as_completed as completed
    except ImportError:
        raise ConfigError("scheduler: dask is not installed: pip install 'lhmap_loc_ros[dask]'") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"scheduler: no Dask scheduler answers at {address!r}: {error}") from None
    with client:

        def each(jobs: Sequence[Job]) -> Iterator[None]:
            futures = [client.submit(_run, job, pure=False) for job in jobs]
            try:
                for future in completed(futures):
                    yield future.result()
            finally:
                client.cancel(futures)

        yield Workers(each)


def _run(job: Job) -> None:
    job.run()
