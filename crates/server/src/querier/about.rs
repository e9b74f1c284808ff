//! What clients ask a server about itself: features, the version of the API.

use flamestore_proto::capabilities::v1::feature_flags_service_server::FeatureFlagsService;
use flamestore_proto::capabilities::v1::{FeatureFlag, GetFeatureFlagsRequest, GetFeatureFlagsResponse};
use flamestore_proto::version::v1::version_server::Version;
use flamestore_proto::version::v1::{VersionRequest, VersionResponse};
use tonic::{Request, Response, Status};

/// The version of the read API that is spoken.
const QUERIER_API: u64 = 1;
/// Features that clients look for, and whether they are there.
const FEATURES: [(&str, bool, &str); 4] = [
    ("v2StorageLayer", true, "Heat maps and exemplars, and what else Pyroscope has since its second storage."),
    ("pyroscopeRuler", false, "Rules that make metrics of profiles."),
    ("pyroscopeRulerFunctions", false, "Such rules for single functions."),
    ("utf8LabelNames", true, "Label names of any characters, for clients that say they take them."),
];

/// Answers `capabilities.v1.FeatureFlagsService` and `version.v1.Version`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About;

#[tonic::async_trait]
impl FeatureFlagsService for About {
    async fn get_feature_flags(
        &self,
        _: Request<GetFeatureFlagsRequest>,
    ) -> Result<Response<GetFeatureFlagsResponse>, Status> {
        let flag = |(name, enabled, description): (&str, bool, &str)| FeatureFlag {
            name: name.to_owned(),
            enabled,
            description: Some(description.to_owned()),
            documentation_url: None,
        };
        Ok(Response::new(GetFeatureFlagsResponse { feature_flags: FEATURES.map(flag).to_vec() }))
    }
}

#[tonic::async_trait]
impl Version for About {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse { querier_api: QUERIER_API }))
    }
}
