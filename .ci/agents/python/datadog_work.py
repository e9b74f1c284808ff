"""The work, profiled by Datadog's package, which is set by environment variables."""

from work import flame_work

# Starts the profiler, after the functions are there: it remembers code by its address, which Python gives out again.
import ddtrace.profiling.auto

flame_work()
