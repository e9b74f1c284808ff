//! The server: gRPC and HTTP on one port.
