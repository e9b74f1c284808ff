//! Statements with the values of their parameters, as tickets and handles hold them.
//!
//! ```text
//! handle = version (1), length of the statement (4, little-endian), statement, values
//! values = nothing, or a stream of Arrow's IPC format with one row, as the client sent it
//! ```
//!
//! A handle comes back from outside and is trusted no more than any request: what is in it could as well have been asked for.
//! Values are read by the checked reader ([`decode_records`]), whatever they claim.

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use flamestore_formats::{Limits, decode_records};
use flamestore_model::{Error, Result};
use flamestore_query::ScalarValue;

use crate::sql::STATEMENT_BYTES_MAX;

const VERSION: u8 = 1;

/// The most bytes of the values of one statement.
const VALUES_BYTES_MAX: usize = 1 << 20;

/// A statement and the values of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    statement: String,
    /// The stream that the values were sent as.
    sent: Bytes,
    values: Vec<ScalarValue>,
}

impl Bound {
    /// A statement without values.
    ///
    /// # Errors
    /// `Exhausted` when it is too long.
    pub(super) fn new(statement: String) -> Result<Self> {
        if statement.len() > STATEMENT_BYTES_MAX {
            let long = Error::exhausted("the statement is too long");
            return Err(long.with("statement_bytes_max", STATEMENT_BYTES_MAX).with("found", statement.len()));
        }
        Ok(Self { statement, sent: Bytes::new(), values: Vec::new() })
    }

    /// What `handle` says.
    ///
    /// # Errors
    /// `Invalid` when it is none of ours.
    pub(super) fn decode(handle: &Bytes) -> Result<Self> {
        let wrong = || Error::invalid("this is no handle of a statement").with("bytes", handle.len());
        let (head, rest) = handle.split_first_chunk::<5>().ok_or_else(wrong)?;
        let [VERSION, length @ ..] = *head else { return Err(wrong()) };
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| wrong())?;
        let (statement, values) = rest.split_at_checked(length).ok_or_else(wrong)?;
        let statement = std::str::from_utf8(statement).map_err(|_| wrong())?;
        let bound = Self::new(statement.to_owned())?;
        match values.is_empty() {
            true => Ok(bound),
            false => bound.with(Records(BytesMut::from(values))),
        }
    }

    /// The same statement with the values of `records`, whatever it had before.
    ///
    /// # Errors
    /// `Invalid` when they are no stream of Arrow, or have more than one row; `Exhausted` when they are too large.
    pub(super) fn with(self, records: Records) -> Result<Self> {
        let sent = records.0.freeze();
        if sent.len() > VALUES_BYTES_MAX {
            return Err(too_large(sent.len()));
        }
        let limits = Limits { decompressed_bytes_max: VALUES_BYTES_MAX, ..Limits::default() };
        let batches = decode_records(sent.clone(), &limits)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let values = match batches.iter().find(|batch| batch.num_rows() > 0) {
            None => return Ok(Self { sent: Bytes::new(), values: Vec::new(), ..self }),
            Some(batch) if rows == 1 => batch.columns().iter().map(value),
            Some(_) => {
                let several = Error::invalid("the parameters of a query are one row; run it once for each row");
                return Err(several.with("rows", rows));
            }
        };
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(Self { sent, values, ..self })
    }

    /// The statement.
    pub(super) fn statement(&self) -> &str {
        &self.statement
    }

    /// The values of its parameters, as far as there are any yet.
    pub(super) fn values(&self) -> &[ScalarValue] {
        &self.values
    }

    /// All of it as a handle.
    pub(super) fn encode(&self) -> Bytes {
        let mut handle = BytesMut::with_capacity(5 + self.statement.len() + self.sent.len());
        handle.put_u8(VERSION);
        handle.put_u32_le(u32::try_from(self.statement.len()).unwrap_or(u32::MAX));
        handle.put_slice(self.statement.as_bytes());
        handle.put_slice(&self.sent);
        handle.freeze()
    }
}

/// The one value of `column`.
fn value(column: &arrow::array::ArrayRef) -> Result<ScalarValue> {
    let value = ScalarValue::try_from_array(column, 0).map_err(|error| {
        Error::invalid("a parameter is of a type that SQL does not have").because(error.strip_backtrace())
    })?;
    Ok(match value {
        ScalarValue::Dictionary(_, value) => *value,
        // the reader turns views of text into views of bytes
        ScalarValue::BinaryView(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => ScalarValue::Utf8(Some(text)),
            Err(bytes) => ScalarValue::Binary(Some(bytes.into_bytes())),
        },
        ScalarValue::BinaryView(None) => ScalarValue::Utf8(None),
        value => value,
    })
}

/// The messages of a call put together as a stream.
pub(super) struct Records(BytesMut);

impl Records {
    pub(super) fn new() -> Self {
        Self(BytesMut::new())
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a message, if it has anything.
    ///
    /// # Errors
    /// `Exhausted` when there is too much.
    pub(super) fn add(&mut self, message: &FlightData) -> Result<()> {
        let (header, body) = (&message.data_header, &message.data_body);
        if header.is_empty() {
            return Ok(());
        }
        let bytes = self.0.len().saturating_add(header.len()).saturating_add(body.len());
        if bytes > VALUES_BYTES_MAX {
            return Err(too_large(bytes));
        }
        let padding = header.len().next_multiple_of(8) - header.len();
        self.0.put_u32_le(u32::MAX);
        self.0.put_u32_le(u32::try_from(header.len() + padding).map_err(|_| too_large(bytes))?);
        self.0.put_slice(header);
        self.0.put_bytes(0, padding);
        self.0.put_slice(body);
        Ok(())
    }
}

fn too_large(found: usize) -> Error {
    Error::exhausted("the values of parameters are too large").with("limit", VALUES_BYTES_MAX).with("found", found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};
    use arrow::ipc::writer::StreamWriter;
    use flamestore_model::ErrorKind;

    use super::*;

    fn records(columns: Vec<ArrayRef>) -> Records {
        let named = columns.into_iter().enumerate().map(|(at, column)| (format!("${}", at + 1), column));
        let batch = RecordBatch::try_from_iter(named).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        Records(BytesMut::from(writer.into_inner().unwrap().as_slice()))
    }

    fn numbers(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn a_handle_holds_statement_and_values() {
        let plain = Bound::new("SELECT $1, $2".to_owned()).unwrap();
        assert_eq!(Bound::decode(&plain.encode()).unwrap(), plain);
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["a text that is longer than twelve bytes"]));
        let bound = plain.clone().with(records(vec![numbers(&[7]), text])).unwrap();
        assert_eq!(bound.values()[0], ScalarValue::from(7_i64));
        assert_eq!(bound.values()[1], ScalarValue::from("a text that is longer than twelve bytes"));
        assert_eq!(Bound::decode(&bound.encode()).unwrap(), bound);
        assert_eq!(bound.with(records(vec![numbers(&[]), numbers(&[])])).unwrap(), plain);
    }

    fn check_refused(bound: Result<Bound>, kind: ErrorKind, text: &str) {
        let error = bound.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let bound = Bound::new("SELECT $1".to_owned()).unwrap().with(records(vec![numbers(&[7])])).unwrap();
        let handle = bound.encode();
        for end in 0..handle.len() {
            // whatever is left of it, it is read or refused, and no panic comes of it
            let cut = Bound::decode(&handle.slice(..end));
            assert!(cut.is_err() || end >= 14, "{end}");
        }
        check_refused(Bound::decode(&Bytes::from_static(b"\x02\0\0\0\0")), ErrorKind::Invalid, "no handle");
        check_refused(Bound::decode(&Bytes::from_static(b"\x01\xff\0\0\0a")), ErrorKind::Invalid, "no handle");
        check_refused(Bound::decode(&Bytes::from_static(b"\x01\0\0\0\0garbage")), ErrorKind::Invalid, "Arrow");
    }

    #[test]
    fn values_are_one_row_and_not_too_large() {
        let plain = Bound::new("SELECT $1".to_owned()).unwrap();
        let several = plain.clone().with(records(vec![numbers(&[1, 2])]));
        check_refused(several, ErrorKind::Invalid, "run it once for each row [rows=2]");
        let body = Bytes::from(vec![0; VALUES_BYTES_MAX]);
        let large = FlightData { data_header: Bytes::from_static(b"head"), data_body: body, ..FlightData::default() };
        assert_eq!(Records::new().add(&large).unwrap_err().kind(), ErrorKind::Exhausted);
    }
}
