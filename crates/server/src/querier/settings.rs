//! Settings that pages keep for a tenant: which columns they show, which services people look at.
//!
//! They are kept in the memory of this process, and are gone when it ends: they are the pages' convenience, and no object of
//! the bucket is worth them yet. Of several processes, each has its own.
//!
//! Bounds: [`TENANTS_MAX`] tenants, [`SETTINGS_MAX`] settings each, [`NAME_BYTES_MAX`] and [`VALUE_BYTES_MAX`] bytes each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flamestore_model::{Error, Result, Tenant};
use flamestore_proto::settings::v1;
use flamestore_proto::settings::v1::settings_service_server::SettingsService;
use flamestore_store::Clock;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::ask;
use crate::status::{status_of, tenant_of};

const TENANTS_MAX: usize = 1000;
const SETTINGS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 16 << 10;

/// The settings of one tenant, by name.
type Own = BTreeMap<String, v1::Setting>;

/// Answers `settings.v1.SettingsService`.
#[derive(Clone)]
pub(crate) struct Settings {
    tenants: Arc<Mutex<HashMap<Tenant, Own>>>,
    clock: Arc<dyn Clock>,
}

impl Settings {
    /// Nobody's settings.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { tenants: Arc::default(), clock }
    }

    fn keep(&self, tenant: Tenant, setting: Option<v1::Setting>) -> Result<v1::Setting> {
        let mut setting = setting.ok_or_else(|| Error::invalid("the request has no setting"))?;
        if setting.name.is_empty() {
            return Err(Error::invalid("the setting has no name"));
        }
        for (what, found, max) in
            [("name", setting.name.len(), NAME_BYTES_MAX), ("value", setting.value.len(), VALUE_BYTES_MAX)]
        {
            if found > max {
                let large = Error::exhausted(format!("the {what} of a setting is too long"));
                return Err(large.with("bytes_max", max).with("found", found));
            }
        }
        if setting.modified_at == 0 {
            setting.modified_at = ask::millis(self.clock.now_unix_nano());
        }
        let mut tenants = self.tenants.lock();
        if !tenants.contains_key(&tenant) && tenants.len() >= TENANTS_MAX {
            return Err(Error::exhausted("too many tenants have settings").with("tenants_max", TENANTS_MAX));
        }
        let own = tenants.entry(tenant).or_default();
        match own.get(&setting.name) {
            None if own.len() >= SETTINGS_MAX => {
                return Err(Error::exhausted("the tenant has too many settings").with("settings_max", SETTINGS_MAX));
            }
            Some(kept) if kept.modified_at > setting.modified_at => {
                return Err(Error::conflict("a later setting is kept").with("modifiedAt", kept.modified_at));
            }
            _ => {}
        }
        own.insert(setting.name.clone(), setting.clone());
        Ok(setting)
    }

    fn all(&self, tenant: &Tenant) -> Vec<v1::Setting> {
        self.tenants.lock().get(tenant).map(|own| own.values().cloned().collect()).unwrap_or_default()
    }

    fn forget(&self, tenant: &Tenant, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::invalid("the request has no name of a setting"));
        }
        let mut tenants = self.tenants.lock();
        if let Some(own) = tenants.get_mut(tenant) {
            own.remove(name);
            if own.is_empty() {
                tenants.remove(tenant);
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl SettingsService for Settings {
    async fn get(&self, request: Request<v1::GetSettingsRequest>) -> Result<Response<v1::GetSettingsResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::GetSettingsResponse { settings: self.all(&tenant) }))
    }

    async fn set(&self, request: Request<v1::SetSettingsRequest>) -> Result<Response<v1::SetSettingsResponse>, Status> {
        let kept = tenant_of(request.metadata()).and_then(|tenant| self.keep(tenant, request.into_inner().setting));
        let kept = kept.map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::SetSettingsResponse { setting: Some(kept) }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteSettingsRequest>,
    ) -> Result<Response<v1::DeleteSettingsResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        self.forget(&tenant, &request.into_inner().name).map_err(|error| status_of(&error))?;
        Ok(Response::new(v1::DeleteSettingsResponse {}))
    }
}
