//! Records of Parca's agents: samples and stacks in columns of Arrow.
//!
//! ```text
//! stream ─ ipc: checked, decompressed ─▶ batches ─ column: any encoding, by row ─▶ tables of the request, rows by profile
//!                                                                                          └ profiles ─▶ ProfileBatch*
//! ```
//!
//! A record of version 2 holds whole stacks; one of version 1 only their ids, and the stacks follow in a second record. Both
//! are read by the names of their columns, so a stream may hold records of both kinds in any order.
//!
//! Rows that agree in profile type, period, duration and labels make a profile. What tells apart samples, not processes
//! (`cpu`, `thread_id`, `thread_name`, `trace_id`, `span_id` and the time) stays with the row. A row whose stack never came
//! keeps its value under an empty stack.
//!
//! Bounds: those of [`Limits`] for all profiles of a request together; see `ipc` for those on the stream.

mod column;
mod ipc;
mod lz4;
mod profiles;
mod samples;
mod stacks;
mod tables;

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use bytes::Bytes;
use flamestore_model::{Error, Result};

use crate::Limits;
use ipc::IpcReader;
use samples::Rows;
use tables::TableBuilder;

pub use ipc::decode_records;
pub use profiles::{ParcaProfile, ParcaProfiles, ParcaRequest};

/// The records of a request, to which stacks may be added.
pub struct ParcaRecords {
    tables: TableBuilder,
    rows: Rows,
}

impl std::fmt::Debug for ParcaRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParcaRecords").field("profiles", &self.rows.groups.len()).finish_non_exhaustive()
    }
}

impl ParcaRecords {
    /// No records.
    pub fn new(limits: Limits) -> Self {
        Self { tables: TableBuilder::new(limits), rows: Rows::default() }
    }

    /// Adds the records of a stream of Arrow's IPC format.
    ///
    /// # Errors
    /// `Invalid` when the stream is damaged or a record is neither of samples nor of stacks, `Exhausted` over a limit. What was
    /// read until then stays.
    pub fn add(&mut self, stream: Bytes) -> Result<()> {
        let limits = self.tables.limits().clone();
        let mut reader = IpcReader::new(stream, &limits);
        while let Some(batch) = reader.next()? {
            self.rows.read(&batch, &mut self.tables)?;
        }
        Ok(())
    }

    /// The record that asks for the stacks that samples name and that were not added yet; none where there are none such.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn ask(&self) -> Result<Option<Vec<u8>>> {
        let mut missing: Vec<&[u8]> = self.rows.missing().collect();
        if missing.is_empty() {
            return Ok(None);
        }
        missing.sort_unstable();
        let written = write(Arc::new(BinaryArray::from_vec(missing)));
        written.map(Some).map_err(|wrong| Error::internal("the ids of stacks cannot be written").because(wrong))
    }

    /// The request, to be taken apart into profiles.
    ///
    /// # Errors
    /// `Exhausted` when all rows together have more locations than `stack_locations_max`.
    pub fn finish(self) -> Result<ParcaRequest> {
        self.rows.check(self.tables.limits())?;
        ParcaRequest::new(self.tables, self.rows)
    }
}

fn write(ids: ArrayRef) -> Result<Vec<u8>, ArrowError> {
    let batch = RecordBatch::try_from_iter([("stacktrace_id", ids)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(&batch)?;
    writer.into_inner()
}
