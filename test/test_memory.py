# SPDX-License-Identifier: Apache-2.0
"""Freed arrays go back to the system."""

import subprocess
import sys

PROGRAM = """
import numpy as np
from lhmap_loc_ros.memory import give_back_large_arrays, resident_mb
give_back_large_arrays()
before = resident_mb()
for _ in range(3):
    # a small array after each large one, which stays, as in a program that goes on
    large = [(np.ones(1 << 18), kept) for kept in [np.ones(100) for _ in range(100)]]
    held = resident_mb()
    small = [kept for _, kept in large]
    del large
print(held - before, resident_mb() - before)
"""


def test_large_arrays_go_back_when_they_are_deleted():
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    held, left = map(float, out.split())
    assert held > 180
    assert left < 20


REPEATING = """
import resource
import numpy as np
from lhmap_loc_ros.memory import give_back_large_arrays
give_back_large_arrays()
def image_after_image(images):
    for _ in range(images):
        parts = [np.ones(n) for n in (60_000, 120_000, 200_000)]
image_after_image(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
image_after_image(100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_arrays_that_every_image_needs_are_not_fetched_from_the_system_each_time():
    out = subprocess.run([sys.executable, "-c", REPEATING], capture_output=True, text=True, check=True).stdout
    pages_each_time = 100 * 3_040_000 // 4096
    assert int(out) < pages_each_time / 50


THREADED = """
import threading
import numpy as np
from lhmap_loc_ros.memory import give_back_large_arrays, resident_mb
give_back_large_arrays()
before, done, end = resident_mb(), threading.Semaphore(0), threading.Event()
def work():
    parts = [np.ones(1 << 17) for _ in range(12)]
    del parts
    done.release()
    end.wait()
for _ in range(8):
    threading.Thread(target=work).start()
    done.acquire()
print(resident_mb() - before)
end.set()
"""


def test_what_one_thread_has_freed_serves_another():
    out = subprocess.run([sys.executable, "-c", THREADED], capture_output=True, text=True, check=True).stdout
    assert float(out) < 30


SCATTERED = """
import numpy as np
from lhmap_loc_ros.memory import give_back_freed, give_back_large_arrays, resident_mb
give_back_large_arrays()
# what stays lies between what goes, up to the end of the heap
parts = [np.ones(20_000) for _ in range(1000)]
last = np.ones(100)
del parts[::2]
before = resident_mb()
give_back_freed()
print(before - resident_mb(), sum(part.sum() for part in parts))
"""


def test_what_was_freed_between_what_stays_goes_back_on_request():
    out = subprocess.run([sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True).stdout
    given, kept = map(float, out.split())
    assert given > 60 and kept == 500 * 20_000


COMPILING = """
import numba
from lhmap_loc_ros.memory import give_back_compiler, resident_mb
assert numba.njit(lambda x: x + 1)(1) == 2
before = resident_mb()
give_back_compiler()
after = resident_mb()
assert numba.njit(lambda x: x + 2)(1) == 3
print(before - after)
"""


def test_the_compiler_is_given_back_and_comes_again_when_needed():
    out = subprocess.run([sys.executable, "-c", COMPILING], capture_output=True, text=True, check=True).stdout
    assert float(out) > 10
