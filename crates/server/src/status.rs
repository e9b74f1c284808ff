//! How the workspace's errors become gRPC statuses, and what a request's metadata says.

use axum::http::{HeaderMap, StatusCode};
use flamestore_model::{Error, ErrorKind, Result, Tenant};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The metadata key that names the tenant.
pub(crate) const TENANT_KEY: &str = "x-scope-orgid";

/// So many tenants may be read by one request.
const TENANTS_MAX: usize = 64;

/// The metadata key of an answer that tells the kind of our errors from those of the gRPC layer.
pub(crate) const ERROR_KIND_KEY: &str = "flamestore-error";

/// The metadata key of an answer that says after how many seconds to try again, as HTTP's header does; the details of the
/// status say it as `google.rpc.RetryInfo`.
const RETRY_AFTER_KEY: &str = "retry-after";

/// The code of errors of `kind`: the table in the documentation of [`ErrorKind`].
pub(crate) fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Fenced => Code::FailedPrecondition,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The status that tells a client about `error`. Damage and bugs are logged too: nobody else sees them.
pub(crate) fn status_of(error: &Error) -> Status {
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(%error, "a request failed"),
        kind => tracing::debug!(%error, kind = kind.as_str(), "a request failed"),
    }
    let mut status = match error.retry_delay() {
        None => Status::new(code_of(error.kind()), error.to_string()),
        Some(delay) => {
            let details = ErrorDetails::with_retry_info(Some(delay));
            let mut status = Status::with_error_details(code_of(error.kind()), error.to_string(), details);
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            status.metadata_mut().insert(RETRY_AFTER_KEY, MetadataValue::from(seconds));
            status
        }
    };
    status.metadata_mut().insert(ERROR_KIND_KEY, MetadataValue::from_static(error.kind().as_str()));
    status
}

/// The tenant a request's metadata names.
///
/// # Errors
/// `Invalid` when the name is none a tenant can have, or stands twice.
pub(crate) fn tenant_of(metadata: &MetadataMap) -> Result<Tenant> {
    tenant_in(metadata.as_ref())
}

/// The tenants a request's metadata names: several, joined by `|`, where that is allowed; each once.
///
/// # Errors
/// As [`tenant_of`]; `Invalid` also for several where that is not allowed, `Exhausted` for more than [`TENANTS_MAX`].
pub(crate) fn tenants_of(metadata: &MetadataMap, may_join: bool) -> Result<Vec<Tenant>> {
    tenants_in(metadata.as_ref(), may_join)
}

/// The tenants a request's headers name.
///
/// # Errors
/// As [`tenants_of`].
pub(crate) fn tenants_in(headers: &HeaderMap, may_join: bool) -> Result<Vec<Tenant>> {
    let joined = headers.get(TENANT_KEY).and_then(|value| value.to_str().ok()).filter(|text| text.contains('|'));
    let Some(joined) = joined.filter(|_| headers.get_all(TENANT_KEY).iter().count() == 1) else {
        return Ok(vec![tenant_in(headers)?]);
    };
    if !may_join {
        let refused = "several tenants in one request: the server's tenants_joined does not allow it";
        return Err(Error::invalid(refused).with("tenants", joined));
    }
    let mut tenants = joined.split('|').map(|name| Tenant::new(name.trim())).collect::<Result<Vec<_>>>()?;
    tenants.sort();
    tenants.dedup();
    match tenants.len() > TENANTS_MAX {
        false => Ok(tenants),
        true => Err(Error::exhausted("too many tenants in one request")
            .with("tenants_max", TENANTS_MAX)
            .with("found", tenants.len())),
    }
}

/// The tenant a request's headers name.
///
/// # Errors
/// As [`tenant_of`].
pub(crate) fn tenant_in(headers: &HeaderMap) -> Result<Tenant> {
    let mut values = headers.get_all(TENANT_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Tenant::default()),
        (Some(value), None) => {
            let name = value.to_str().map_err(|_| Error::invalid(format!("metadata {TENANT_KEY} is not ASCII")))?;
            Tenant::new(name)
        }
        (Some(_), Some(_)) => Err(Error::invalid(format!("metadata {TENANT_KEY} stands twice"))),
    }
}

/// The name of `code` as the gRPC specification spells it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The name of `code` as Connect spells it.
pub(crate) fn connect_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The HTTP status of `code`: the table of the Connect protocol.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_code_and_the_text_of_its_error() {
        let status = status_of(&Error::corrupt("checksum differs").with("segment", "s1"));
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "checksum differs [segment=s1]"));
        assert_eq!(status.metadata().get(ERROR_KIND_KEY).unwrap(), "corrupt");
    }

    #[test]
    fn several_tenants_are_joined_where_that_is_allowed() {
        let tenants = |value: &'static str, may_join| {
            let mut metadata = MetadataMap::new();
            metadata.append(TENANT_KEY, MetadataValue::from_static(value));
            let names = |tenants: Vec<Tenant>| tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            tenants_of(&metadata, may_join).map(names).map_err(|error| error.kind())
        };
        assert_eq!(tenants("b|a| b", true).as_deref(), Ok("a b"));
        assert_eq!(tenants("a", false).as_deref(), Ok("a"));
        assert_eq!(tenants("a|b", false), Err(ErrorKind::Invalid));
        assert_eq!(tenants("a||b", true), Err(ErrorKind::Invalid));
        let many: Vec<String> = (0..=TENANTS_MAX).map(|at| format!("t{at}")).collect();
        assert_eq!(tenants(String::leak(many.join("|")), true), Err(ErrorKind::Exhausted));
        assert_eq!(tenants_of(&MetadataMap::new(), true).unwrap(), [Tenant::default()]);
    }

    #[test]
    fn a_status_says_when_to_try_again() {
        let full = Error::exhausted("full").retry_after(std::time::Duration::from_millis(1500));
        let status = status_of(&full);
        assert_eq!(status.metadata().get(RETRY_AFTER_KEY).unwrap(), "2");
        let info = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
        assert_eq!(info, full.retry_delay());
        assert!(status_of(&Error::exhausted("too large")).metadata().get(RETRY_AFTER_KEY).is_none());
    }

    #[test]
    fn a_request_without_a_tenant_is_anonymous_and_a_wrong_name_is_refused() {
        let tenant = |values: &[&'static str]| {
            let mut metadata = MetadataMap::new();
            for value in values {
                metadata.append(TENANT_KEY, MetadataValue::from_static(value));
            }
            tenant_of(&metadata).map(|tenant| tenant.to_string()).map_err(|error| error.kind())
        };
        assert_eq!(tenant(&[]).as_deref(), Ok("anonymous"));
        assert_eq!(tenant(&["team-a"]).as_deref(), Ok("team-a"));
        assert_eq!(tenant(&["../x"]), Err(ErrorKind::Invalid));
        assert_eq!(tenant(&["a", "b"]), Err(ErrorKind::Invalid));
    }
}
