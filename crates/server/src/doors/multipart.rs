//! `multipart/form-data` in memory.
//!
//! Bounds: the body is, and there are [`PARTS_MAX`] parts at most.

use std::convert::Infallible;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flamestore_model::{Error, Result};

/// The most parts of a request.
const PARTS_MAX: usize = 64;

/// One part of a form.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The field's name; empty where none is given.
    pub(super) name: String,
    /// The file's name; empty where none is given.
    pub(super) file_name: String,
    pub(super) bytes: Bytes,
}

impl Part {
    /// The file's name, or the field's where there is no file.
    pub(super) fn title(&self) -> &str {
        if self.file_name.is_empty() { &self.name } else { &self.file_name }
    }
}

/// The parts of `body`, whose `headers` name the boundary.
///
/// # Errors
/// `Invalid` when it is no form or ends early; `Exhausted` when it has too many parts.
pub(super) async fn parts(headers: &HeaderMap, body: Bytes) -> Result<Vec<Part>> {
    let wrong = |error: multer::Error| Error::invalid("the body is no multipart form").because(error);
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(wrong)?;
    let whole = futures::stream::iter([Ok::<_, Infallible>(body)]);
    let mut form = multer::Multipart::new(whole, boundary);
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        if parts.len() == PARTS_MAX {
            return Err(Error::exhausted("the form has too many parts").with("limit", PARTS_MAX));
        }
        let (name, file_name) = (field.name().map(str::to_owned), field.file_name().map(str::to_owned));
        let bytes = field.bytes().await.map_err(wrong)?;
        parts.push(Part { name: name.unwrap_or_default(), file_name: file_name.unwrap_or_default(), bytes });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(content_type: &'static str, body: &str, expected: &str) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let told = match parts(&headers, Bytes::copy_from_slice(body.as_bytes())).await {
            Ok(parts) => {
                let part = |p: &Part| format!("{}/{}={}", p.name, p.file_name, String::from_utf8_lossy(&p.bytes));
                parts.iter().map(part).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert!(told.starts_with(expected), "{told}");
    }

    #[tokio::test]
    async fn a_form_is_read_part_by_part_and_a_broken_one_is_named() {
        const FORM: &str = "multipart/form-data; boundary=b";
        let part = "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nx\r\n";
        check(
            FORM,
            &format!("{part}--b\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\ny\r\n--b--\r\n"),
            "a/f=x c/=y",
        )
        .await;
        check(FORM, part, "the body is no multipart form: ").await;
        check(FORM, "", "the body is no multipart form: ").await;
        check("multipart/form-data", part, "the body is no multipart form: ").await;
        check("text/plain", part, "the body is no multipart form: ").await;
        check(FORM, &format!("{}--b--\r\n", part.repeat(PARTS_MAX + 1)), "the form has too many parts [limit=64]")
            .await;
    }
}
