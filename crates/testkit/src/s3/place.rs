//! Which S3 server a test runs against: the one the environment names, else one inside its process.
//!
//! ```text
//! FLAMESTORE_TEST_S3_ENDPOINT    http://127.0.0.1:9000         none: a server inside the process
//! FLAMESTORE_TEST_S3_BUCKET      a bucket that exists
//! FLAMESTORE_TEST_S3_ACCESS_KEY  FLAMESTORE_TEST_S3_SECRET_KEY
//! FLAMESTORE_REQUIRE_S3          1: without an endpoint, tests fail
//! ```
//!
//! Always: a test asserts the same on either server, and never passes for want of one. Each place has a prefix of its own
//! in the bucket; what it leaves there is whoever's who started the server.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::S3Server;

/// How to reach a bucket: path-style requests with these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Access {
    /// Where the server listens: `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
}

/// A prefix in the bucket of a real S3 server, for one test.
#[derive(Debug)]
pub struct S3Place {
    /// How to reach the bucket.
    pub access: S3Access,
    /// The prefix of its own, without slashes at its ends.
    pub prefix: String,
    /// The server, when it is in this process.
    pub server: Option<S3Server>,
}

impl S3Place {
    /// A place for the test called `name`.
    ///
    /// # Errors
    /// When the environment names half a server, or none although `FLAMESTORE_REQUIRE_S3` is set, or when no server can
    /// be started.
    pub async fn open(name: &str) -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("{name}/{}-{}", std::process::id(), since.as_nanos());
        match named_server(|variable| std::env::var(variable).ok()).map_err(io::Error::other)? {
            Some(access) => Ok(Self { access, prefix, server: None }),
            None => {
                let server = S3Server::start().await?;
                Ok(Self { access: server.access(), prefix, server: Some(server) })
            }
        }
    }

    /// The place as a store's URL.
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.access.bucket, self.prefix)
    }
}

/// The server that `variable` tells of.
fn named_server(variable: impl Fn(&str) -> Option<String>) -> Result<Option<S3Access>, String> {
    const ENDPOINT: &str = "FLAMESTORE_TEST_S3_ENDPOINT";
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(endpoint) = set(ENDPOINT) else {
        return match set("FLAMESTORE_REQUIRE_S3") {
            Some(_) => Err(format!("FLAMESTORE_REQUIRE_S3 is set, but {ENDPOINT} names no server")),
            None => Ok(None),
        };
    };
    let needed = |name: &str| set(name).ok_or_else(|| format!("{ENDPOINT} is set, but {name} is not"));
    Ok(Some(S3Access {
        endpoint,
        bucket: needed("FLAMESTORE_TEST_S3_BUCKET")?,
        access_key: needed("FLAMESTORE_TEST_S3_ACCESS_KEY")?,
        secret_key: needed("FLAMESTORE_TEST_S3_SECRET_KEY")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: &str) {
        let found = named_server(|name| {
            variables.iter().find(|(n, _)| *n == name.trim_start_matches("FLAMESTORE_")).map(|(_, v)| (*v).to_owned())
        });
        let shown = match found {
            Ok(Some(access)) => format!("{} {}", access.endpoint, access.bucket),
            Ok(None) => "in process".to_owned(),
            Err(error) => error,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_required_server_that_is_missing_fails_and_is_never_replaced() {
        check(&[], "in process");
        check(&[("REQUIRE_S3", "1")], "FLAMESTORE_REQUIRE_S3 is set, but FLAMESTORE_TEST_S3_ENDPOINT names no server");
        let endpoint = ("TEST_S3_ENDPOINT", "http://127.0.0.1:1");
        check(&[endpoint], "FLAMESTORE_TEST_S3_ENDPOINT is set, but FLAMESTORE_TEST_S3_BUCKET is not");
        let all = [endpoint, ("TEST_S3_BUCKET", "b"), ("TEST_S3_ACCESS_KEY", "a"), ("TEST_S3_SECRET_KEY", "s")];
        check(&all, "http://127.0.0.1:1 b");
    }
}
