//! The questions that are being answered, by the ids that clients gave them, so that they can ask how far these are.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use axum::http::HeaderMap;
use flamestore_model::{Error, Result, Tenant};
use flamestore_query::{Progress, SoFar};
use parking_lot::Mutex;

use crate::status::tenants_in;

/// The header, or metadata, that gives a question its id.
pub(crate) const QUERY_ID_KEY: &str = "flamestore-query-id";

const ID_BYTES_MAX: usize = 64;

/// Questions by id. One lives until the last of its answers is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<Question, Weak<Progress>>>>);

/// Of these tenants only: others may choose the same id.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    tenants: Vec<Tenant>,
    id: String,
}

impl Question {
    fn new(headers: &HeaderMap, id: &str) -> Result<Self> {
        Ok(Self { tenants: tenants_in(headers, true)?, id: id.to_owned() })
    }
}

impl Running {
    /// The question that a request with these headers is a part of; `None` without an id.
    ///
    /// # Errors
    /// `Invalid` when the id or the tenant is none.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Result<Option<Arc<Progress>>> {
        let Some(value) = headers.get(QUERY_ID_KEY) else { return Ok(None) };
        let is_id =
            |id: &&str| (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        let id = value.to_str().ok().filter(is_id).ok_or_else(|| {
            Error::invalid(format!("{QUERY_ID_KEY} is not 1 to {ID_BYTES_MAX} visible ASCII characters"))
        })?;
        let question = Question::new(headers, id)?;
        let mut questions = self.0.lock();
        if let Some(progress) = questions.get(&question).and_then(Weak::upgrade) {
            return Ok(Some(progress));
        }
        questions.retain(|_, progress| progress.strong_count() > 0);
        let progress = Arc::new(Progress::default());
        questions.insert(question, Arc::downgrade(&progress));
        Ok(Some(progress))
    }

    /// How far the question `id` is of the tenant that asks with `headers`; `None` when it is not being answered.
    ///
    /// # Errors
    /// `Invalid` when the tenant is none.
    pub(crate) fn find(&self, headers: &HeaderMap, id: &str) -> Result<Option<SoFar>> {
        let progress = self.0.lock().get(&Question::new(headers, id)?).and_then(Weak::upgrade);
        Ok(progress.map(|progress| progress.so_far()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what a test needs must not fail")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::status::TENANT_KEY;

    fn headers(id: &str, tenant: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(QUERY_ID_KEY, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        if let Some(tenant) = tenant {
            headers.insert(TENANT_KEY, HeaderValue::from_static(tenant));
        }
        headers
    }

    #[test]
    fn a_question_is_found_by_its_tenant_until_its_last_request_ends() {
        let running = Running::default();
        assert!(running.begin(&HeaderMap::new()).unwrap().is_none());
        let first = running.begin(&headers("q", None)).unwrap().unwrap();
        let second = running.begin(&headers("q", None)).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = running.begin(&headers("q", Some("other"))).unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, other));
        let find = |tenant| running.find(&headers("q", tenant), "q").unwrap();
        assert_eq!(find(None), Some(SoFar::default()));
        assert_eq!(find(Some("anonymous")), find(None), "the tenant of those that name none");
        assert_eq!(find(Some("other")), None);
        drop(second);
        assert_eq!(find(None), None);
        assert!(running.find(&headers("q", Some("../x")), "q").is_err());
        let _next = running.begin(&headers("next", None)).unwrap();
        assert_eq!(running.0.lock().len(), 1, "those that have ended are forgotten");
    }

    #[test]
    fn an_id_is_short_and_visible() {
        let running = Running::default();
        let longest = "q".repeat(ID_BYTES_MAX);
        assert!(running.begin(&headers(&longest, None)).unwrap().is_some());
        for wrong in [String::new(), longest + "q", "é".to_owned(), "a b".to_owned()] {
            let error = running.begin(&headers(&wrong, None)).unwrap_err();
            assert!(error.to_string().contains(QUERY_ID_KEY), "{error}");
        }
    }
}
