//! The web page: `GET /`, and the files it is made of.
//!
//! They are the same for everybody and hold nothing of a store, so they ask for no tenant and no token, and take no place among
//! `requests_max`: the page comes up on a full server too, and says so. What it then asks is guarded as any other client's.
//!
//! Every address in it is relative. Behind a proxy that strips a prefix from paths it works below that prefix, which ends with a
//! slash.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flamestore_page::{Asset, INDEX};

use crate::packed::accepts_gzip;

/// Where the page is; what metrics call all of its files.
pub(crate) const PATH: &str = "/";
/// Whatever does not come from where the page came from is refused by the browser. Styles are set on elements, which no file holds.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
                      font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The files of the page.
pub(crate) fn router() -> Router {
    files().fold(Router::new(), |router, (path, asset)| {
        router.route(&path, get(async move |headers: HeaderMap| answer(asset, &headers)))
    })
}

/// Every path there is.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    files().map(|(path, _)| path)
}

fn files() -> impl Iterator<Item = (String, &'static Asset)> {
    flamestore_page::paths().filter_map(|file| {
        let path = if file == INDEX { PATH.to_owned() } else { format!("/{file}") };
        Some((path, flamestore_page::asset(file)?))
    })
}

fn answer(asset: &'static Asset, asked: &HeaderMap) -> Response {
    // Weak, as it is the same whether the file is compressed or not.
    let tag = format!("W/\"{}\"", asset.tag());
    let kept = match asset.is_immutable() {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let of_file = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, kept), (header::VARY, "accept-encoding")];
    let mut answer = match knows(asked, asset.tag()) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => whole(asset, accepts_gzip(asked)),
    };
    for (name, value) in of_file.into_iter().chain(HEADERS) {
        // digits and our own words are always fit for a header
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn whole(asset: &'static Asset, takes_gzip: bool) -> Response {
    let content_type = (header::CONTENT_TYPE, asset.content_type());
    match takes_gzip.then(|| asset.gzip()).flatten() {
        Some(gzip) => ([content_type, (header::CONTENT_ENCODING, "gzip")], Body::from(gzip)).into_response(),
        None => ([content_type], Body::from(asset.bytes())).into_response(),
    }
}

/// Whether the client has the file with this tag already.
fn knows(asked: &HeaderMap, tag: &str) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|known| {
        let quoted = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(tag)
    })
}
