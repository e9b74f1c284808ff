//! What `serve` is told: flags, then environment variables, then a file, then defaults.
//!
//! ```toml
//! store = "s3://profiles/prod"
//! [server]                          # listener, requests, pushed profiles
//! listen = "0.0.0.0:4040"
//! request_bytes_max = 67108864
//! [server.profile]
//! samples_max = 4194304
//! [bucket]                          # how to reach the bucket
//! endpoint = "https://s3.example.com"
//! [head]                            # what is in memory before it is flushed into a segment
//! flush_interval = "5m"
//! head_bytes_max = "512MiB"
//! [wal]                             # what makes a push durable before that
//! durability = "wal"
//! [query]
//! memory_bytes_max = "1GiB"
//! sql_rows_max = 1000000
//! ```
//!
//! Sections about how the store is tended are in `upkeep`, those about what is scraped in `scrape`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use flamestore_query::QueryOptions;
use flamestore_scrape::ScrapeConfig;
use flamestore_server::{Role, ServerConfig, TlsFiles};
use flamestore_store::{
    Access, Bucket, BucketOptions, CompactorOptions, Durability, OsFiles, StoreOptions, StoreUrl, WalOptions,
};
use serde::Deserialize;

use crate::failure::{Failure, Outcome};
use crate::scrape::ScraperSection;
use crate::upkeep::{CollectorSection, CompactionSection, RetentionSection, Upkeep};

/// A number of bytes: `1048576`, `1MiB`, `2 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) usize);

/// How to reach a bucket.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Bucket")]
pub(crate) struct BucketArgs {
    /// The address of an S3 service other than AWS [also: AWS_ENDPOINT_URL].
    #[arg(long, env = "FLAMESTORE_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// The region [also: AWS_REGION].
    #[arg(long, env = "FLAMESTORE_S3_REGION", value_name = "NAME")]
    s3_region: Option<String>,
    /// Permit an endpoint without TLS [also: AWS_ALLOW_HTTP].
    #[arg(long, env = "FLAMESTORE_S3_ALLOW_HTTP")]
    s3_allow_http: bool,
    /// Put the bucket's name into the host name instead of the path [also: AWS_VIRTUAL_HOSTED_STYLE_REQUEST].
    #[arg(long, env = "FLAMESTORE_S3_VIRTUAL_HOSTED_STYLE")]
    s3_virtual_hosted_style: bool,
    /// A file of credentials in the form of ~/.aws/credentials [also: AWS_SHARED_CREDENTIALS_FILE]. Without it, the credentials
    /// are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long, env = "FLAMESTORE_S3_CREDENTIALS_FILE", value_name = "FILE")]
    s3_credentials_file: Option<PathBuf>,
}

/// The addresses to listen on that were given by flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listen {
    pub(crate) http: Option<SocketAddr>,
    pub(crate) postgres: Option<SocketAddr>,
}

/// What may be set by flags; the file can set more.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LimitArgs {
    /// What this process does: any of ingest, query and compact [default: all].
    #[arg(long, env = "FLAMESTORE_ROLES", value_name = "ROLE,…", value_delimiter = ',')]
    roles: Vec<Role>,
    /// A PEM certificate: the port speaks TLS then. It is read again when the file changes.
    #[arg(
        long,
        env = "FLAMESTORE_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file",
        help_heading = "TLS"
    )]
    tls_cert_file: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(
        long,
        env = "FLAMESTORE_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file",
        help_heading = "TLS"
    )]
    tls_key_file: Option<PathBuf>,
    /// Memory for merging segments [default: 512MiB].
    #[arg(long, env = "FLAMESTORE_COMPACTION_MEMORY_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    compaction_memory_bytes_max: Option<ByteSize>,
    /// How often the segments of other processes are looked for [default: 10s].
    #[arg(long, env = "FLAMESTORE_REFRESH_INTERVAL", value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Limits")]
    refresh_interval: Option<Duration>,
    /// The name of this server among those that write to the store: a server started under the same name replaces the former.
    #[arg(long, env = "FLAMESTORE_WRITER", value_name = "NAME", help_heading = "Limits")]
    writer: Option<String>,
    /// Memory for profiles that are not yet in a segment; over it, pushes are refused [default: 512MiB].
    #[arg(long, env = "FLAMESTORE_HEAD_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    head_bytes_max: Option<ByteSize>,
    /// Bytes in memory at which a segment is written [default: 192MiB].
    #[arg(long, env = "FLAMESTORE_FLUSH_BYTES", value_name = "BYTES", help_heading = "Limits")]
    flush_bytes: Option<ByteSize>,
    /// Age of the oldest profile in memory at which a segment is written [default: 5m].
    #[arg(long, env = "FLAMESTORE_FLUSH_INTERVAL", value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Limits")]
    flush_interval: Option<Duration>,
    /// What an acknowledged push survives: `wal` the end of the process and the machine, `bucket` the loss of its disk too,
    /// `none` neither [default: wal; none with memory:].
    #[arg(long, env = "FLAMESTORE_DURABILITY", value_name = "MODE", value_parser = durability, help_heading = "Durability")]
    durability: Option<Durability>,
    /// The folder of the write-ahead log [default: the store's folder with `-wal` added, else ./flamestore-wal].
    #[arg(long, env = "FLAMESTORE_WAL", value_name = "FOLDER", help_heading = "Durability")]
    wal: Option<PathBuf>,
    /// Bytes of the write-ahead log that may wait to be written as segments; over it, pushes are refused [default: 512MiB].
    #[arg(long, env = "FLAMESTORE_WAL_BYTES_MAX", value_name = "BYTES", help_heading = "Durability")]
    wal_bytes_max: Option<ByteSize>,
    /// Memory of all running queries together [default: 1GiB].
    #[arg(long, env = "FLAMESTORE_QUERY_MEMORY_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    query_memory_bytes_max: Option<ByteSize>,
    /// Temporary files of all running queries together [default: 8GiB].
    #[arg(long, env = "FLAMESTORE_QUERY_SPILL_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    query_spill_bytes_max: Option<ByteSize>,
    /// The most rows that a SQL statement may answer with [default: any number].
    #[arg(long, env = "FLAMESTORE_SQL_ROWS_MAX", value_name = "N", help_heading = "Limits")]
    sql_rows_max: Option<u64>,
    /// Bytes of one request [default: 64MiB].
    #[arg(long, env = "FLAMESTORE_REQUEST_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    request_bytes_max: Option<ByteSize>,
    /// The longest a request may take [default: no limit].
    #[arg(long, env = "FLAMESTORE_DEADLINE_MAX", value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Limits")]
    deadline_max: Option<Duration>,
    /// Memory for parts of segments that queries read [default: 128MiB].
    #[arg(long, env = "FLAMESTORE_CACHE_MEMORY_BYTES_MAX", value_name = "BYTES", help_heading = "Cache")]
    cache_memory_bytes_max: Option<ByteSize>,
    /// A folder for parts of segments that queries read, kept over restarts; each server needs its own [default: none].
    #[arg(long, env = "FLAMESTORE_CACHE_DIR", value_name = "FOLDER", help_heading = "Cache")]
    cache_dir: Option<PathBuf>,
    /// Bytes of files in the cache's folder [default: 10GiB].
    #[arg(long, env = "FLAMESTORE_CACHE_DISK_BYTES_MAX", value_name = "BYTES", help_heading = "Cache")]
    cache_disk_bytes_max: Option<ByteSize>,
}

/// Everything a server needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where profiles are kept.
    pub(crate) store: StoreUrl,
    /// How to reach it.
    pub(crate) bucket: BucketOptions,
    /// Where to listen, and what bounds requests.
    pub(crate) server: ServerConfig,
    /// What bounds queries.
    pub(crate) query: QueryOptions,
    /// What is scraped.
    pub(crate) scrape: Vec<ScrapeConfig>,
    /// What bounds it.
    pub(crate) scraper: ScraperSection,
    head: HeadSection,
    upkeep: Upkeep,
    cache: CacheSection,
    wal: WalSection,
}

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    store: Option<String>,
    server: ServerConfig,
    bucket: BucketSection,
    head: HeadSection,
    wal: WalSection,
    query: QuerySection,
    compaction: CompactionSection,
    retention: RetentionSection,
    collector: CollectorSection,
    cache: CacheSection,
    scrape: Vec<ScrapeConfig>,
    scraper: ScraperSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BucketSection {
    endpoint: Option<String>,
    region: Option<String>,
    virtual_hosted_style: bool,
    allow_http: bool,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    credentials_file: Option<PathBuf>,
    credentials_profile: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HeadSection {
    writer: Option<String>,
    head_bytes_max: Option<ByteSize>,
    flush_bytes: Option<ByteSize>,
    flush_interval: Option<Lasting>,
    retry_window: Option<Lasting>,
    refresh_interval: Option<Lasting>,
    uploads_max: Option<usize>,
    dictionary_cache_bytes: Option<ByteSize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CacheSection {
    memory_bytes_max: Option<ByteSize>,
    dir: Option<PathBuf>,
    disk_bytes_max: Option<ByteSize>,
    footer_bytes_max: Option<ByteSize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WalSection {
    durability: Option<DurabilityName>,
    folder: Option<PathBuf>,
    bytes_max: Option<ByteSize>,
    put_interval: Option<Lasting>,
}

/// A durability as text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct DurabilityName(Durability);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QuerySection {
    memory_bytes_max: Option<ByteSize>,
    spill_bytes_max: Option<ByteSize>,
    partitions: Option<usize>,
    sql_rows_max: Option<u64>,
}

/// A duration as text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Lasting(pub(crate) Duration);

impl Settings {
    /// The settings of flags (which clap has completed from the environment), `file` and defaults.
    ///
    /// # Errors
    /// When the file cannot be read, has a setting that does not exist, or a value that is none.
    pub(crate) fn read(
        file: Option<&Path>,
        store: Option<&StoreUrl>,
        listen: Listen,
        bucket: &BucketArgs,
        limits: &LimitArgs,
    ) -> Outcome<Self> {
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        let store = match (store, &file.store) {
            (Some(store), _) => store.clone(),
            (None, Some(store)) => store.parse()?,
            (None, None) => {
                return Err(Failure::new("no store is named").hint(
                    "add --store ./data, --store s3://bucket/prefix or --store memory:, or `store = …` to the file",
                ));
            }
        };
        let mut settings = Self {
            store,
            bucket: bucket.over(file.bucket)?,
            server: file.server,
            query: QueryOptions::default(),
            scrape: file.scrape,
            scraper: file.scraper,
            head: file.head,
            upkeep: Upkeep { compaction: file.compaction, retention: file.retention, collector: file.collector },
            cache: file.cache,
            wal: file.wal,
        };
        if let Some(bytes) = file.query.spill_bytes_max {
            settings.query.spill_bytes_max = bytes.0 as u64;
        }
        if let Some(bytes) = file.query.memory_bytes_max {
            settings.query.memory_bytes_max = bytes.0;
        }
        if let Some(partitions) = file.query.partitions {
            settings.query.partitions = partitions;
        }
        settings.query.sql_rows_max = file.query.sql_rows_max;
        settings.set(listen, limits);
        Ok(settings)
    }

    fn set(&mut self, listen: Listen, limits: &LimitArgs) {
        let Self { server, query, head, wal, upkeep, cache, .. } = self;
        if !limits.roles.is_empty() {
            server.roles.clone_from(&limits.roles);
        }
        let compaction = &mut upkeep.compaction;
        compaction.memory_bytes_max = limits.compaction_memory_bytes_max.or(compaction.memory_bytes_max);
        head.refresh_interval = limits.refresh_interval.map(Lasting).or(head.refresh_interval);
        server.listen = listen.http.unwrap_or(server.listen);
        server.postgres_listen = listen.postgres.or(server.postgres_listen);
        if let (Some(cert_file), Some(key_file)) = (&limits.tls_cert_file, &limits.tls_key_file) {
            let client_ca_file = server.tls.take().and_then(|tls| tls.client_ca_file);
            server.tls = Some(TlsFiles { cert_file: cert_file.clone(), key_file: key_file.clone(), client_ca_file });
        }
        server.request_bytes_max = limits.request_bytes_max.map_or(server.request_bytes_max, |bytes| bytes.0);
        server.deadline_max = limits.deadline_max.or(server.deadline_max);
        query.memory_bytes_max = limits.query_memory_bytes_max.map_or(query.memory_bytes_max, |bytes| bytes.0);
        query.spill_bytes_max = limits.query_spill_bytes_max.map_or(query.spill_bytes_max, |bytes| bytes.0 as u64);
        query.sql_rows_max = limits.sql_rows_max.or(query.sql_rows_max);
        head.writer = limits.writer.clone().or(head.writer.take());
        head.head_bytes_max = limits.head_bytes_max.or(head.head_bytes_max);
        head.flush_bytes = limits.flush_bytes.or(head.flush_bytes);
        head.flush_interval = limits.flush_interval.map(Lasting).or(head.flush_interval);
        cache.memory_bytes_max = limits.cache_memory_bytes_max.or(cache.memory_bytes_max);
        cache.dir = limits.cache_dir.clone().or(cache.dir.take());
        cache.disk_bytes_max = limits.cache_disk_bytes_max.or(cache.disk_bytes_max);
        wal.durability = limits.durability.map(DurabilityName).or(wal.durability);
        wal.folder = limits.wal.clone().or(wal.folder.take());
        wal.bytes_max = limits.wal_bytes_max.or(wal.bytes_max);
    }

    /// The settings that matter for tending `store`: those of `file` and of `bucket`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn of_store(file: Option<&Path>, store: &StoreUrl, bucket: &BucketArgs) -> Outcome<Self> {
        Self::read(file, Some(store), Listen::default(), bucket, &LimitArgs::default())
    }

    /// How to tend the store in `bucket`.
    ///
    /// # Errors
    /// When a tenant of a retention is none.
    pub(crate) fn compactor_options(&self, bucket: Bucket) -> Outcome<CompactorOptions> {
        Ok(self.upkeep.options(bucket)?)
    }

    fn wal_options(&self) -> WalOptions {
        let (wal, mut options) = (&self.wal, WalOptions::default());
        let by_store = if self.store == StoreUrl::Memory { Durability::None } else { Durability::Wal };
        options.durability = wal.durability.map_or(by_store, |name| name.0);
        options.files = self.wal_folder().map(|folder| Arc::new(OsFiles::new(folder)) as _);
        options.bytes_max = wal.bytes_max.map_or(options.bytes_max, |bytes| bytes.0 as u64);
        options.put_interval = wal.put_interval.map_or(options.put_interval, |lasting| lasting.0);
        options
    }

    /// The folder of the log. In the modes that do not write it, it is looked at for what an earlier start has left.
    fn wal_folder(&self) -> Option<PathBuf> {
        match (&self.wal.folder, &self.store) {
            (Some(folder), _) => Some(folder.clone()),
            (None, StoreUrl::Folder(store)) => {
                let mut name = store.file_name().unwrap_or_default().to_owned();
                name.push("-wal");
                Some(store.with_file_name(name))
            }
            (None, StoreUrl::S3 { .. }) => Some(PathBuf::from("./flamestore-wal")),
            (None, StoreUrl::Memory) => {
                self.wal.durability.filter(|name| name.0 == Durability::Wal).map(|_| PathBuf::from("./flamestore-wal"))
            }
        }
    }

    /// How to open the store.
    ///
    /// # Errors
    /// When the bucket's settings are wrong or its folder cannot be made.
    pub(crate) fn store_options(&self) -> Outcome<StoreOptions> {
        let mut options = StoreOptions::new(self.store.open(&self.bucket)?);
        let head = self.head.clone();
        options.writer = head.writer.unwrap_or(options.writer);
        options.wal = self.wal_options();
        options.head_bytes_max = head.head_bytes_max.map_or(options.head_bytes_max, |bytes| bytes.0);
        options.flush_bytes = head.flush_bytes.map_or(options.flush_bytes, |bytes| bytes.0);
        options.flush_interval = head.flush_interval.map_or(options.flush_interval, |lasting| lasting.0);
        options.retry_window = head.retry_window.map_or(options.retry_window, |lasting| lasting.0);
        options.refresh_interval = head.refresh_interval.map_or(options.refresh_interval, |lasting| lasting.0);
        options.series_max = self.server.series_max()?;
        if !self.server.has_role(Role::Ingest) {
            options.access = Access::ReadOnly;
        }
        options.uploads_max = head.uploads_max.unwrap_or(options.uploads_max);
        options.dictionary_cache_bytes =
            head.dictionary_cache_bytes.map_or(options.dictionary_cache_bytes, |bytes| bytes.0);
        let cache = &self.cache;
        options.footer_cache_bytes = cache.footer_bytes_max.map_or(options.footer_cache_bytes, |bytes| bytes.0);
        let bytes = |set: Option<ByteSize>, default: u64| set.map_or(default, |bytes| bytes.0 as u64);
        options.cache.memory_bytes_max = bytes(cache.memory_bytes_max, options.cache.memory_bytes_max);
        options.cache.folder.clone_from(&cache.dir);
        options.cache.disk_bytes_max = bytes(cache.disk_bytes_max, options.cache.disk_bytes_max);
        Ok(options)
    }
}

impl BucketArgs {
    /// The options of these flags and the environment.
    ///
    /// # Errors
    /// When a variable is wrong or the credentials file cannot be read.
    pub(crate) fn options(&self) -> Outcome<BucketOptions> {
        self.over(BucketSection::default())
    }

    fn over(&self, file: BucketSection) -> Outcome<BucketOptions> {
        let options = BucketOptions {
            endpoint: self.s3_endpoint.clone().or(file.endpoint),
            region: self.s3_region.clone().or(file.region),
            virtual_hosted_style: self.s3_virtual_hosted_style || file.virtual_hosted_style,
            allow_http: self.s3_allow_http || file.allow_http,
            access_key_id: file.access_key_id,
            secret_access_key: file.secret_access_key,
            session_token: file.session_token,
            credentials_file: self.s3_credentials_file.clone().or(file.credentials_file),
            credentials_profile: file.credentials_profile,
            retry_timeout: None,
        };
        Ok(options.or_from_env()?)
    }
}

/// Reads a store URL given by a flag.
pub(crate) fn store_url(text: &str) -> flamestore_model::Result<StoreUrl> {
    text.parse()
}

fn durability(text: &str) -> flamestore_model::Result<Durability> {
    text.parse()
}

/// Reads an address to listen on given by a flag.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "not an IP address and a port; examples: 127.0.0.1:4040, 0.0.0.0:4040, [::]:4040".to_owned())
}

fn read_file(path: &Path) -> Outcome<File> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(format!("--config {}", path.display()), &e))?;
    parse(&text).map_err(|e| Failure::new(format!("--config {}: {e}", path.display())))
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|e: toml::de::Error| e.to_string().trim_end().to_owned())
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a number of bytes; examples: 1048576, 64MiB, 1GB".to_owned();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = text[..digits].parse().map_err(|_| wrong())?;
        let unit: usize = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    /// A number, or text as on the command line.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(usize),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(bytes) => Ok(Self(bytes)),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl TryFrom<String> for DurabilityName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|e: flamestore_model::Error| e.to_string())
    }
}

impl TryFrom<String> for Lasting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text).map(Self).map_err(|e| format!("{text:?} is not a duration: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        store = "./from-file"
        [server]
        listen = "127.0.0.1:1"
        [head]
        flush_interval = "30s"
        head_bytes_max = "1MiB"
        [wal]
        durability = "bucket"
        bytes_max = "2MiB"
        [query]
        memory_bytes_max = 5
        spill_bytes_max = 6
        sql_rows_max = 9
    "#;

    fn settings(limits: &LimitArgs, listen: Option<&str>, store: Option<&str>) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flamestore.toml");
        std::fs::write(&path, FILE).unwrap();
        let listen = Listen { http: listen.map(|listen| listen.parse().unwrap()), postgres: None };
        let store = store.map(|store| store.parse().unwrap());
        Settings::read(Some(&path), store.as_ref(), listen, &BucketArgs::default(), limits).unwrap()
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let plain = settings(&LimitArgs::default(), None, None);
        assert_eq!(plain.store.to_string(), "./from-file");
        assert_eq!(plain.server.listen.port(), 1);
        assert_eq!((plain.query.memory_bytes_max, plain.head.head_bytes_max), (5, Some(ByteSize(1 << 20))));
        assert_eq!(plain.server.requests_max, ServerConfig::default().requests_max);
        assert_eq!((plain.query.sql_rows_max, plain.query.spill_bytes_max), (Some(9), 6));
        let limits = LimitArgs { query_memory_bytes_max: Some(ByteSize(7)), ..LimitArgs::default() };
        let flags = settings(&limits, Some("127.0.0.1:2"), Some("memory:"));
        assert_eq!((flags.server.listen.port(), flags.query.memory_bytes_max), (2, 7));
        assert_eq!(flags.store, StoreUrl::Memory);
    }

    #[test]
    fn a_file_with_a_wrong_setting_says_which() {
        for (text, expected) in [
            ("port = 1", "unknown field `port`"),
            ("[head]\nflush_interval = \"soon\"", "not a duration"),
            ("[query]\nmemory_bytes_max = \"lots\"", "memory_bytes_max"),
            ("[server]\nlisten = \"here\"", "listen"),
            ("[[scrape]]\njob_name = \"a\"\nscrape_intervall = \"1s\"", "unknown field `scrape_intervall`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_without_a_store_says_how_to_name_one() {
        let error =
            Settings::read(None, None, Listen::default(), &BucketArgs::default(), &LimitArgs::default()).unwrap_err();
        assert!(error.to_string().contains("--store ./data"), "{error}");
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("7", 7), ("64MiB", 64 << 20), ("1 GB", 1_000_000_000), ("2k", 2048)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "1 parsec", "-1", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
