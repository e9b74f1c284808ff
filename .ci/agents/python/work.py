"""Work for a profiler to find: `flame_work_hot` takes three times as long as `flame_work_cold`."""

import time


def burn(seconds):
    end = time.thread_time() + seconds
    number = 1
    while time.thread_time() < end:
        for _ in range(1000):
            number = number * 1103515245 + 12345 & 0x7FFFFFFF
    return number


def flame_work_hot():
    return burn(0.03)


def flame_work_cold():
    return burn(0.01)


def flame_work():
    while True:
        flame_work_hot()
        flame_work_cold()
