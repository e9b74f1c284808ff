//! Where a store keeps its objects, as people write it.
//!
//! ```text
//! ./data  /var/lib/flamestore  file:/var/lib/flamestore      a folder of this machine
//! s3://bucket/prefix                                         S3 or what speaks its protocol
//! memory:                                                    nowhere: gone with the process
//! ```
//!
//! Credentials never stand in a URL: it is printed and logged. They come from the environment or from a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::bucket::Bucket;

/// A parsed store URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// Objects live in this process only.
    Memory,
    /// Objects are files below this folder.
    Folder(PathBuf),
    /// Objects live in a bucket, below a prefix that may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The key prefix, without slashes at its ends.
        prefix: String,
    },
}

/// How to reach a bucket: settings that a URL does not carry. Each may also come from the environment.
#[derive(Clone, Default)]
pub struct BucketOptions {
    /// The service's address, for anything but AWS: `http://127.0.0.1:9000` (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`).
    pub endpoint: Option<String>,
    /// The region (`AWS_REGION`, `AWS_DEFAULT_REGION`); `us-east-1` where nothing says otherwise.
    pub region: Option<String>,
    /// Whether the bucket's name stands in the host name rather than in the path (`AWS_VIRTUAL_HOSTED_STYLE_REQUEST`).
    pub virtual_hosted_style: bool,
    /// Whether an endpoint without TLS is allowed (`AWS_ALLOW_HTTP`).
    pub allow_http: bool,
    /// The access key id (`AWS_ACCESS_KEY_ID`).
    pub access_key_id: Option<String>,
    /// The secret access key (`AWS_SECRET_ACCESS_KEY`).
    pub secret_access_key: Option<String>,
    /// The token of temporary credentials (`AWS_SESSION_TOKEN`).
    pub session_token: Option<String>,
    /// A file of credentials in the form of `~/.aws/credentials` (`AWS_SHARED_CREDENTIALS_FILE`).
    pub credentials_file: Option<PathBuf>,
    /// The section of that file (`AWS_PROFILE`); `default` where nothing says otherwise.
    pub credentials_profile: Option<String>,
    /// How long one call may be retried before it fails; 30 s where nothing says otherwise.
    pub retry_timeout: Option<Duration>,
}

impl fmt::Debug for BucketOptions {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketOptions")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("virtual_hosted_style", &self.virtual_hosted_style)
            .field("allow_http", &self.allow_http)
            .field("access_key_id", &self.access_key_id)
            .field("credentials_file", &self.credentials_file)
            .finish_non_exhaustive()
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("store: {why}")).with("store", format!("{text:?}"));
        match text.split_once(':') {
            _ if text.is_empty() => Err(wrong("is empty; expected a folder, s3://bucket/prefix or memory:")),
            Some(("memory", "" | "//" | "///")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(wrong("memory: takes no path")),
            Some(("file", path)) => {
                folder(path.strip_prefix("//").unwrap_or(path)).ok_or_else(|| wrong("names no folder"))
            }
            Some(("s3", rest)) => s3(rest).map_err(wrong),
            Some((scheme, _)) if is_scheme(scheme) => {
                Err(wrong("unknown scheme; expected a folder, file:, s3:// or memory:").with("scheme", scheme))
            }
            _ => folder(text).ok_or_else(|| wrong("names no folder")),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-'))
}

fn folder(path: &str) -> Option<StoreUrl> {
    (!path.is_empty()).then(|| StoreUrl::Folder(PathBuf::from(path)))
}

fn s3(rest: &str) -> Result<StoreUrl, &'static str> {
    let rest = rest.strip_prefix("//").ok_or("expected s3://bucket/prefix")?;
    if rest.contains(['@', '?', '#']) {
        return Err("takes no credentials or options; set AWS_ACCESS_KEY_ID and the like, or the bucket options");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err("names no bucket; expected s3://bucket/prefix");
    }
    Ok(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl StoreUrl {
    /// The bucket at this place. A folder is made if it does not exist; nothing else is touched.
    ///
    /// # Errors
    /// `Invalid`, naming the setting, when the folder cannot be made or written, or an option is missing or wrong.
    pub fn open(&self, options: &BucketOptions) -> Result<Bucket> {
        let objects: Arc<dyn ObjectStore> = match self {
            Self::Memory => Arc::new(InMemory::new()),
            Self::Folder(path) => open_folder(path)?,
            Self::S3 { bucket, .. } => Arc::new(open_s3(bucket, options)?),
        };
        let prefix = match self {
            Self::S3 { prefix, .. } => prefix,
            Self::Memory | Self::Folder(_) => "",
        };
        Ok(Bucket::new(objects, prefix, self.to_string()))
    }
}

fn open_folder(path: &std::path::Path) -> Result<Arc<dyn ObjectStore>> {
    let wrong = |what: &str| Error::invalid(format!("store: the folder {what}")).with("folder", path.display());
    std::fs::create_dir_all(path).map_err(|e| wrong("cannot be made").because(e))?;
    let files = LocalFileSystem::new_with_prefix(path).map_err(|e| wrong("cannot be opened").because(e))?;
    Ok(Arc::new(files.with_automatic_cleanup(false)))
}

fn open_s3(bucket: &str, options: &BucketOptions) -> Result<object_store::aws::AmazonS3> {
    let (key, secret) = (&options.access_key_id, &options.secret_access_key);
    if key.is_some() != secret.is_some() {
        let missing = if key.is_some() { "AWS_SECRET_ACCESS_KEY" } else { "AWS_ACCESS_KEY_ID" };
        return Err(Error::invalid(format!("store: {missing} is not set although its other half is")));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(50), ..BackoffConfig::default() },
        max_retries: 8,
        retry_timeout: options.retry_timeout.unwrap_or(Duration::from_secs(30)),
    };
    let client = ClientOptions::new().with_allow_http(options.allow_http).with_timeout(Duration::from_secs(60));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(options.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(options.virtual_hosted_style)
        .with_client_options(client.with_allow_http(options.allow_http))
        .with_retry(retry);
    if let Some(endpoint) = &options.endpoint {
        check_endpoint(endpoint, options.allow_http)?;
        builder = builder.with_endpoint(endpoint);
    }
    if let (Some(key), Some(secret)) = (key, secret) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    if let Some(token) = &options.session_token {
        builder = builder.with_token(token);
    }
    builder.build().map_err(|e| Error::invalid("store: the bucket's settings are wrong").because(e))
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<()> {
    let wrong = |why: &str| Error::invalid(format!("store: endpoint {why}")).with("endpoint", endpoint);
    let url = url::Url::parse(endpoint).map_err(|e| wrong("is not a URL").because(e))?;
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http => Ok(()),
        "http" => Err(wrong("is not encrypted; set allow_http (AWS_ALLOW_HTTP=true) to permit it")),
        _ => Err(wrong("is neither http:// nor https://")),
    }
}

impl BucketOptions {
    /// These options, with what is not set taken from the environment through `env`, then from the credentials file.
    ///
    /// # Errors
    /// `Invalid` when a variable cannot be read as what it should be, or the credentials file cannot be read.
    pub fn or_from(mut self, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| env(name));
        self.endpoint = self.endpoint.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]));
        self.region = self.region.or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        self.virtual_hosted_style |= flag(&env, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")?;
        self.allow_http |= flag(&env, "AWS_ALLOW_HTTP")?;
        if self.access_key_id.is_none() && self.secret_access_key.is_none() {
            self.access_key_id = env("AWS_ACCESS_KEY_ID");
            self.secret_access_key = env("AWS_SECRET_ACCESS_KEY");
            self.session_token = self.session_token.or_else(|| env("AWS_SESSION_TOKEN"));
        }
        self.credentials_file = self.credentials_file.or_else(|| env("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from));
        self.credentials_profile = self.credentials_profile.or_else(|| env("AWS_PROFILE"));
        self.read_credentials_file()
    }

    /// These options, completed from the environment of this process: see [`or_from`](Self::or_from).
    ///
    /// # Errors
    /// As [`or_from`](Self::or_from).
    pub fn or_from_env(self) -> Result<Self> {
        self.or_from(|name| std::env::var(name).ok())
    }

    fn read_credentials_file(mut self) -> Result<Self> {
        let Some(path) = self.credentials_file.as_ref().filter(|_| self.access_key_id.is_none()) else {
            return Ok(self);
        };
        let wrong = |what: &str| Error::invalid(format!("store: credentials_file {what}")).with("file", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| wrong("cannot be read").because(e))?;
        let profile = self.credentials_profile.as_deref().unwrap_or("default");
        let value =
            |name: &str| section(&text, profile).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        let (key, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
        if key.is_none() || secret.is_none() {
            return Err(
                wrong("has no aws_access_key_id and aws_secret_access_key in this section").with("section", profile)
            );
        }
        let token = value("aws_session_token");
        (self.access_key_id, self.secret_access_key, self.session_token) = (key, secret, token);
        Ok(self)
    }
}

fn flag(env: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<bool> {
    match env(name).as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "no") => Ok(false),
        Some("true" | "1" | "yes") => Ok(true),
        Some(other) => Err(Error::invalid(format!("store: {name} is neither true nor false")).with("value", other)),
    }
}

/// The `key = value` lines of section `name` of a file of sections.
fn section<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines()
        .map(str::trim)
        .skip_while(move |line| line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).map(str::trim) != Some(name))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = match text.parse::<StoreUrl>() {
            Ok(url) => format!("{url:?} = {url}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn a_url_is_a_folder_a_bucket_or_memory() {
        check("./data", r#"Folder("./data") = ./data"#);
        check("data", r#"Folder("data") = data"#);
        check("/a b", r#"Folder("/a b") = /a b"#);
        check("file:/a", r#"Folder("/a") = /a"#);
        check("file:///a", r#"Folder("/a") = /a"#);
        check("file:a", r#"Folder("a") = a"#);
        check("memory:", "Memory = memory:");
        check("s3://b", r#"S3 { bucket: "b", prefix: "" } = s3://b"#);
        check("s3://b/p/q/", r#"S3 { bucket: "b", prefix: "p/q" } = s3://b/p/q"#);
    }

    #[test]
    fn a_wrong_url_says_what_was_expected() {
        check("", r#"store: is empty; expected a folder, s3://bucket/prefix or memory: [store=""]"#);
        check("s3:b", r#"store: expected s3://bucket/prefix [store="s3:b"]"#);
        check("s3://", r#"store: names no bucket; expected s3://bucket/prefix [store="s3://"]"#);
        check("memory:x", r#"store: memory: takes no path [store="memory:x"]"#);
        check(
            "gs://b",
            r#"store: unknown scheme; expected a folder, file:, s3:// or memory: [store="gs://b", scheme=gs]"#,
        );
        check(
            "s3://k:s@b",
            "store: takes no credentials or options; set AWS_ACCESS_KEY_ID and the like, or the bucket options \
             [store=\"s3://k:s@b\"]",
        );
    }

    fn open_error(options: BucketOptions) -> String {
        let url = StoreUrl::S3 { bucket: "b".to_owned(), prefix: String::new() };
        url.open(&options).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_option_that_is_missing_or_wrong_is_named() {
        let half = BucketOptions { access_key_id: Some("k".to_owned()), ..BucketOptions::default() };
        assert_eq!(open_error(half), "store: AWS_SECRET_ACCESS_KEY is not set although its other half is");
        let plain = BucketOptions { endpoint: Some("http://x".to_owned()), ..BucketOptions::default() };
        assert_eq!(
            open_error(plain),
            "store: endpoint is not encrypted; set allow_http (AWS_ALLOW_HTTP=true) to permit it [endpoint=http://x]"
        );
        let error = BucketOptions::default().or_from(|name| (name == "AWS_ALLOW_HTTP").then(|| "maybe".to_owned()));
        assert_eq!(
            error.err().map(|e| e.to_string()).as_deref(),
            Some("store: AWS_ALLOW_HTTP is neither true nor false [value=maybe]")
        );
    }

    #[test]
    fn credentials_come_from_options_then_environment_then_file() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::internal("tempdir").because(e))?;
        let file = folder.path().join("credentials");
        let text =
            "[other]\naws_access_key_id = no\n[default]\n# why\naws_access_key_id = k\naws_secret_access_key= s=\n";
        std::fs::write(&file, text).map_err(|e| Error::internal("write").because(e))?;
        let path = file.display().to_string();
        let from_file =
            BucketOptions::default().or_from(|name| (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| path.clone()))?;
        assert_eq!(
            (from_file.access_key_id.as_deref(), from_file.secret_access_key.as_deref()),
            (Some("k"), Some("s="))
        );
        let from_env = BucketOptions { credentials_file: Some(file.clone()), ..BucketOptions::default() }
            .or_from(|name| name.ends_with("_KEY_ID").then(|| "e".to_owned()))?;
        assert_eq!(from_env.access_key_id.as_deref(), Some("e"));
        assert!(!format!("{from_file:?}").contains("s="));
        let missing = BucketOptions {
            credentials_file: Some(file),
            credentials_profile: Some("other".to_owned()),
            ..BucketOptions::default()
        };
        assert!(missing.or_from(|_| None).is_err_and(|e| e.to_string().contains("section=other")));
        Ok(())
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() -> Result<()> {
        let folder = tempfile::NamedTempFile::new().map_err(|e| Error::internal("tempfile").because(e))?;
        let url = StoreUrl::Folder(folder.path().join("below"));
        let error = url.open(&BucketOptions::default()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("store: the folder cannot be made [folder="), "{error}");
        Ok(())
    }
}
