//! The store: object store, manifest, head and flush.
