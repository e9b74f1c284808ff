//! The Parquet tables of one segment: schema, writer, reader, postings; bytes in, bytes out.
