//! Profile wire formats to and from profile batches, with limits; no I/O.
