//! Queries over manifest and head with DataFusion: table providers, pruning, merge and diff operators.
