//! What tests and benches share: oracle store, fleet generator, object store with faults, S3 server.
