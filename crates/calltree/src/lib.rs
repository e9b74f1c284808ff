//! Call trees and symbol dictionaries: interning, canonical order, merge, diff, fold, truncate; no I/O, no Arrow.
