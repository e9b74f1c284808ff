//! Errors across the border to DataFusion: ours travel inside theirs and come out as they went in.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use flamestore_model::{Error, ErrorKind};

/// Our error as one of DataFusion's.
pub(crate) fn outward(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// DataFusion's error as ours; `memory_bytes_max` is the limit to name when memory ran out.
pub(crate) fn inward(error: DataFusionError, memory_bytes_max: usize) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(inner) => inward(*inner, memory_bytes_max),
                Err(inner) => Error::internal("a query failed").because(inner),
            },
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => inward(DataFusionError::External(inner), memory_bytes_max),
            ArrowError::IoError(text, _) => spilled(&text),
            inner => Error::invalid("a query failed").because(inner),
        },
        DataFusionError::Context(_, inner) => inward(*inner, memory_bytes_max),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let error = inward(*inner, memory_bytes_max);
            match diagnostic.span {
                Some(span) => error.with("line", span.start.line).with("column", span.start.column),
                None => error,
            }
        }
        DataFusionError::IoError(error) => spilled(&error.to_string()),
        DataFusionError::Shared(inner) => shared(&inner, memory_bytes_max),
        DataFusionError::Collection(mut all) if !all.is_empty() => inward(all.swap_remove(0), memory_bytes_max),
        other => {
            let kind = kind_of(&other);
            let message = first_line(&other.to_string());
            match kind {
                ErrorKind::Exhausted => memory_exhausted(memory_bytes_max).because(message),
                kind => Error::new(kind, format!("a query failed: {message}")),
            }
        }
    }
}

/// The error of a query that needs more memory than it may have.
pub(crate) fn memory_exhausted(memory_bytes_max: usize) -> Error {
    Error::exhausted("queries need more memory than query_memory_bytes_max allows; narrow the query or raise the limit")
        .with("query_memory_bytes_max", memory_bytes_max)
}

/// The error of what failed in a temporary file, the only ones that DataFusion opens itself; `text` is what it says.
fn spilled(text: &str) -> Error {
    // There is no other sign of the limit.
    if text.contains("max_temp_directory_size") {
        let text =
            "queries need more temporary files than query_spill_bytes_max allows; narrow the query or raise the limit";
        return Error::exhausted(text);
    }
    Error::unavailable("a query could not use a temporary file").because(first_line(text))
}

/// Whether an error says that a stored object is damaged or gone, so that the answer does without it.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

fn shared(error: &DataFusionError, memory_bytes_max: usize) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Error::new(ours.kind(), ours.to_string());
        }
        source = error.source();
    }
    match error.find_root() {
        DataFusionError::IoError(error) => return spilled(&error.to_string()),
        DataFusionError::ArrowError(error, _) if let ArrowError::IoError(text, _) = &**error => return spilled(text),
        _ => {}
    }
    match kind_of(error.find_root()) {
        ErrorKind::Exhausted => memory_exhausted(memory_bytes_max).because(first_line(&error.to_string())),
        kind => Error::new(kind, format!("a query failed: {}", first_line(&error.to_string()))),
    }
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
