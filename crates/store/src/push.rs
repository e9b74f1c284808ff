//! What a producer hands in, and its checked form.

use flamestore_model::{Labels, ProfileBatch, ProfileId, Tenant};

/// A profile to store.
#[derive(Clone, Debug)]
pub struct PushProfile {
    /// Whose it is.
    pub tenant: Tenant,
    /// The labels of its series. `service_name` defaults to `unknown_service`; `__name__` replaces the family that the
    /// sample types would give; the other labels derived from the profile type are ignored.
    pub labels: Labels,
    /// The decoded profile.
    pub batch: ProfileBatch,
    /// Its id, if the producer may send it again: a second push of the same id is accepted and not counted.
    pub id: Option<ProfileId>,
    /// When it was taken, in nanoseconds since 1970; what the profile says, or now, where nothing is given.
    pub time_unix_nano: Option<i64>,
}
