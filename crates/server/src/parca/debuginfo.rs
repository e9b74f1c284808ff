//! `DebuginfoService`: debug information that agents upload, chunk by chunk, into the bucket. Nothing reads it yet.
//!
//! ```text
//! ShouldInitiateUpload ─▶ InitiateUpload ─▶ Upload: info, chunk, chunk, … ─▶ MarkUploadFinished
//! ```
//!
//! What agents act upon: a reason that says "in progress" word for word, or `FAILED_PRECONDITION`, makes them come again in five
//! minutes; any other reason, `ALREADY_EXISTS` and `INVALID_ARGUMENT` make them give the file up; any other code makes them come
//! again when they see the file again.
//!
//! Bounds: `debuginfo_bytes_max` a file, `debuginfo_uploads_max` uploads at the same time, [`CHUNK_TIME_MAX`] for each chunk to
//! come in, the store's bound on the time and the memory of an upload.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flamestore_model::{Error, Result, Tenant, UploadId};
use flamestore_proto::parca::debuginfo::debuginfo_service_server::DebuginfoService;
use flamestore_proto::parca::debuginfo::upload_instructions::UploadStrategy;
use flamestore_proto::parca::debuginfo::upload_request::Data;
use flamestore_proto::parca::debuginfo::{
    DebuginfoType, InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest,
    MarkUploadFinishedResponse, ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadInstructions,
    UploadRequest, UploadResponse,
};
use flamestore_store::{
    Begun, Debuginfo, DebuginfoClaim, DebuginfoKey, DebuginfoKind, DebuginfoState, DebuginfoUpload, Ended, Opened,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::ServerConfig;
use crate::status::tenant_of;
use crate::telemetry::{DEBUGINFO_BYTES_TOTAL, DEBUGINFO_UPLOADS_TOTAL};

use super::answer;

/// What agents look for, word for word.
const IN_PROGRESS: &str =
    "A previous upload is still in-progress and not stale yet (only stale uploads can be retried).";
const ABSENT: &str = "There is no debug information of this build yet.";
const STALE: &str = "A previous upload did not end in its time.";
const UPLOADED: &str = "There is debug information of this build.";
const FORCED: &str = "There is debug information of this build, which the upload would replace.";

/// How long a client may take for a chunk.
const CHUNK_TIME_MAX: Duration = Duration::from_secs(30);
/// When an upload that found no place may be tried again.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// The most bytes of what a client calls a file's hash.
const HASH_BYTES_MAX: usize = 256;

/// Answers `parca.debuginfo.v1alpha1.DebuginfoService` for one store.
#[derive(Clone, Debug)]
pub(crate) struct DebuginfoUploads {
    debuginfo: Debuginfo,
    places: Arc<Semaphore>,
    uploads_max: usize,
    bytes_max: u64,
}

impl DebuginfoUploads {
    /// Takes uploads into `debuginfo` as `config` bounds them.
    pub(crate) fn new(debuginfo: Debuginfo, config: &ServerConfig) -> Self {
        let uploads_max = config.debuginfo_uploads_max.min(Semaphore::MAX_PERMITS);
        let bytes_max = u64::try_from(config.debuginfo_bytes_max).unwrap_or(u64::MAX);
        Self { debuginfo, places: Arc::new(Semaphore::new(uploads_max)), uploads_max, bytes_max }
    }

    fn full(&self) -> Status {
        let full = Error::exhausted("the server takes as many uploads as debuginfo_uploads_max allows; retry later");
        answer(&full.with("debuginfo_uploads_max", self.uploads_max).retry_after(RETRY_DELAY))
    }

    async fn initiate(&self, tenant: Tenant, request: InitiateUploadRequest) -> Result<UploadInstructions, Status> {
        let InitiateUploadRequest { build_id, size, hash, force, r#type, build_id_type } = request;
        let key = key(tenant, &build_id, r#type)?;
        let bytes = self.announced(size)?;
        // it would find no place for its chunks, and others would wait for it in vain
        if self.places.available_permits() == 0 {
            return Err(self.full());
        }
        if hash.len() > HASH_BYTES_MAX {
            let long = Error::invalid("the hash is too long").with("bytes", hash.len()).with("limit", HASH_BYTES_MAX);
            return Err(answer(&long));
        }
        let build_id_type = u32::try_from(build_id_type).unwrap_or_default();
        let claim = DebuginfoClaim { build_id: build_id.clone(), build_id_type, hash, bytes, force };
        match self.debuginfo.begin(&key, claim).await.map_err(|error| answer(&error))? {
            Begun::New(id) => Ok(UploadInstructions {
                build_id,
                upload_id: id.to_string(),
                upload_strategy: UploadStrategy::Grpc.into(),
                signed_url: String::new(),
                r#type,
            }),
            Begun::InProgress => Err(Status::failed_precondition(IN_PROGRESS)),
            Begun::Uploaded => Err(Status::already_exists(UPLOADED)),
        }
    }

    /// The size that a client states; 0, which agents send of files that they do not strip, where it states none.
    fn announced(&self, size: i64) -> Result<u64, Status> {
        let negative = || answer(&Error::invalid("the size is negative").with("size", size));
        let bytes = u64::try_from(size).map_err(|_| negative())?;
        if bytes > self.bytes_max {
            let large = Error::exhausted("the file is over the limit debuginfo_bytes_max");
            return Err(answer(&large.with("limit", self.bytes_max).with("bytes", bytes)));
        }
        Ok(bytes)
    }

    async fn take(&self, tenant: Tenant, mut messages: Streaming<UploadRequest>) -> Result<UploadResponse, Status> {
        let Some(Data::Info(info)) = next(&mut messages).await?.and_then(|message| message.data) else {
            return Err(answer(&Error::invalid("the first message of an upload is not its info")));
        };
        let key = key(tenant, &info.build_id, info.r#type)?;
        let id = upload_id(&info.upload_id)?;
        let Ok(_place) = self.places.try_acquire() else {
            self.debuginfo.abandon(&key, id).await;
            return Err(self.full());
        };
        let mut upload = self.open(&key, id).await?;
        while let Some(message) = next(&mut messages).await? {
            let chunk = match message.data {
                Some(Data::ChunkData(chunk)) => chunk,
                Some(Data::Info(_)) => return Err(answer(&Error::invalid("a later message of an upload is its info"))),
                // of a kind that is not known here; it takes its time all the same
                None => Bytes::new(),
            };
            upload.write(&chunk).await.map_err(|error| answer(&error))?;
        }
        let size = upload.finish().await.map_err(|error| answer(&error))?;
        metrics::counter!(DEBUGINFO_BYTES_TOTAL).increment(size);
        Ok(UploadResponse { build_id: info.build_id, size })
    }

    async fn open(&self, key: &DebuginfoKey, id: UploadId) -> Result<Box<DebuginfoUpload>, Status> {
        match self.debuginfo.open(key, id, self.bytes_max).await.map_err(|error| answer(&error))? {
            Opened::Upload(upload) => Ok(upload),
            Opened::Uploaded => Err(Status::already_exists(UPLOADED)),
            Opened::Stale => Err(Status::failed_precondition("the upload is stale: initiate a new one")),
            Opened::Unknown => Err(Status::failed_precondition("there is no such upload of this build: initiate one")),
        }
    }
}

/// The next message of an upload; none at its end.
async fn next(messages: &mut Streaming<UploadRequest>) -> Result<Option<UploadRequest>, Status> {
    let late = |_| Status::deadline_exceeded("the client's next chunk did not come in time");
    tokio::time::timeout(CHUNK_TIME_MAX, messages.message()).await.map_err(late)?
}

fn key(tenant: Tenant, build_id: &str, kind: i32) -> Result<DebuginfoKey, Status> {
    let kind = match DebuginfoType::try_from(kind) {
        Ok(DebuginfoType::DebuginfoUnspecified) => DebuginfoKind::Debuginfo,
        Ok(DebuginfoType::Executable) => DebuginfoKind::Executable,
        Ok(DebuginfoType::Sources) => DebuginfoKind::Sources,
        Ok(DebuginfoType::SourceMap) => DebuginfoKind::SourceMap,
        Err(_) => return Err(answer(&Error::invalid("the type of debug information is unknown").with("type", kind))),
    };
    DebuginfoKey::new(tenant, build_id, kind).map_err(|error| answer(&error))
}

fn upload_id(text: &str) -> Result<UploadId, Status> {
    text.parse().map_err(|error| answer(&error))
}

fn count<T>(uploaded: &Result<T, Status>) {
    let outcome = uploaded.as_ref().map_or_else(|status| crate::status::code_name(status.code()), |_| "OK");
    metrics::counter!(DEBUGINFO_UPLOADS_TOTAL, "code" => outcome).increment(1);
}

#[tonic::async_trait]
impl DebuginfoService for DebuginfoUploads {
    async fn should_initiate_upload(
        &self,
        request: Request<ShouldInitiateUploadRequest>,
    ) -> Result<Response<ShouldInitiateUploadResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| answer(&error))?;
        let request = request.into_inner();
        let key = key(tenant, &request.build_id, request.r#type)?;
        let state = self.debuginfo.find(&key).await.map_err(|error| answer(&error))?;
        let (should_initiate_upload, reason) = match state {
            DebuginfoState::Absent => (true, ABSENT),
            DebuginfoState::Stale => (true, STALE),
            DebuginfoState::InProgress => (false, IN_PROGRESS),
            DebuginfoState::Uploaded if request.force => (true, FORCED),
            DebuginfoState::Uploaded => (false, UPLOADED),
        };
        Ok(Response::new(ShouldInitiateUploadResponse { should_initiate_upload, reason: reason.to_owned() }))
    }

    async fn initiate_upload(
        &self,
        request: Request<InitiateUploadRequest>,
    ) -> Result<Response<InitiateUploadResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| answer(&error))?;
        let instructions = self.initiate(tenant, request.into_inner()).await?;
        Ok(Response::new(InitiateUploadResponse { upload_instructions: Some(instructions) }))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| answer(&error))?;
        let uploaded = self.take(tenant, request.into_inner()).await;
        count(&uploaded);
        uploaded.map(Response::new)
    }

    async fn mark_upload_finished(
        &self,
        request: Request<MarkUploadFinishedRequest>,
    ) -> Result<Response<MarkUploadFinishedResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| answer(&error))?;
        let MarkUploadFinishedRequest { build_id, upload_id: id, r#type } = request.into_inner();
        let key = key(tenant, &build_id, r#type)?;
        match self.debuginfo.ended(&key, upload_id(&id)?).await.map_err(|error| answer(&error))? {
            Ended::Uploaded => Ok(Response::new(MarkUploadFinishedResponse {})),
            Ended::Unfinished => Err(Status::failed_precondition("the file of the upload has not come in")),
            Ended::Unknown => Err(Status::not_found("there is no such upload of this build")),
        }
    }
}
