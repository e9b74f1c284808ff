//! Errors across the border to DataFusion: ours travel inside theirs and come out as they went in.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use flamestore_model::{Error, ErrorKind};

/// Our error as one of DataFusion's.
pub(crate) fn outward(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What an error names that a query ran out of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The memory that all queries may hold together, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// What they may have in temporary files together, in bytes.
    pub(crate) spill_bytes_max: u64,
}

impl Bounds {
    /// DataFusion's error as ours.
    pub(crate) fn inward(self, error: DataFusionError) -> Error {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(inner) => self.inward(*inner),
                    Err(inner) => Error::internal("a query failed").because(inner),
                },
            },
            DataFusionError::ArrowError(inner, _) => match *inner {
                ArrowError::ExternalError(inner) => self.inward(DataFusionError::External(inner)),
                ArrowError::IoError(text, _) => self.spilled(&text),
                inner => Error::invalid("a query failed").because(inner),
            },
            DataFusionError::Context(_, inner) => self.inward(*inner),
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let error = self.inward(*inner);
                match diagnostic.span {
                    Some(span) => error.with("line", span.start.line).with("column", span.start.column),
                    None => error,
                }
            }
            DataFusionError::IoError(error) => self.spilled(&error.to_string()),
            DataFusionError::Shared(inner) => self.shared(&inner),
            DataFusionError::Collection(mut all) if !all.is_empty() => self.inward(all.swap_remove(0)),
            other => self.plain(&other, &other.to_string()),
        }
    }

    fn shared(self, error: &DataFusionError) -> Error {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = source {
            if let Some(ours) = error.downcast_ref::<Error>() {
                return Error::new(ours.kind(), ours.to_string());
            }
            source = error.source();
        }
        match error.find_root() {
            DataFusionError::IoError(error) => self.spilled(&error.to_string()),
            DataFusionError::ArrowError(inner, _) if let ArrowError::IoError(text, _) = &**inner => self.spilled(text),
            root => self.plain(root, &error.to_string()),
        }
    }

    /// An error with nothing in it that is known better; `text` is what it says.
    fn plain(self, error: &DataFusionError, text: &str) -> Error {
        match kind_of(error) {
            ErrorKind::Exhausted => memory_exhausted(self.memory_bytes_max).because(first_line(text)),
            kind => Error::new(kind, format!("a query failed: {}", first_line(text))),
        }
    }

    /// The error of what failed in a temporary file, the only ones that DataFusion opens itself; `text` is what it says.
    fn spilled(self, text: &str) -> Error {
        // There is no other sign of the limit.
        if text.contains("max_temp_directory_size") {
            let text = "queries need more temporary files than query_spill_bytes_max allows; narrow the query or raise the limit";
            return Error::exhausted(text).with("query_spill_bytes_max", self.spill_bytes_max);
        }
        Error::unavailable("a query could not use a temporary file").because(first_line(text))
    }
}

/// The error of a query that needs more memory than it may have.
pub(crate) fn memory_exhausted(memory_bytes_max: usize) -> Error {
    Error::exhausted("queries need more memory than query_memory_bytes_max allows; narrow the query or raise the limit")
        .with("query_memory_bytes_max", memory_bytes_max)
}

/// Whether an error says that a stored object is damaged or gone, so that the answer does without it.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

fn kind_of(error: &DataFusionError) -> ErrorKind {
    match error {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Execution(_)
        | DataFusionError::Configuration(_) => ErrorKind::Invalid,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
