//! Reads for one tenant, or for several at once.
//!
//! Tenants are read one after another, each by a query of its own under the engine's bounds; what they answer is added up,
//! or is a union.

use std::collections::BTreeSet;
use std::sync::Arc;

use flamestore_calltree::{Interner, SealSelection, ValueTree, merge};
use flamestore_model::{Error, ProfileBatch, ProfileType, Result, Tenant};
use flamestore_proto::google::v1::Profile;
use flamestore_query::{Combine, Engine, Memory, Pick, ProfileEntry, Query, SeriesEntry, Steps, TimeSeries};

use super::ask::Asked;
use super::pprof;
use crate::compute::Compute;

/// So many single profiles are looked at for one answer.
const PROFILES_MAX: usize = 1 << 20;

/// What reads for the tenants of one request.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) engine: Arc<Engine>,
    pub(super) compute: Compute,
    /// At least one.
    pub(super) tenants: Vec<Tenant>,
}

impl Reader {
    fn queries(&self, asked: &Asked) -> impl Iterator<Item = Query> {
        let (selector, range) = (asked.selector.clone(), asked.range);
        self.tenants.iter().cloned().map(move |tenant| Query::new(tenant, selector.clone(), range))
    }

    /// The selected profiles as one call tree, values over time combined by `combine`.
    ///
    /// # Errors
    /// Those of [`Engine::merge`]; `Invalid` also when the sum over tenants leaves 64 bits.
    pub(super) async fn merge(&self, asked: &Asked, combine: Combine) -> Result<ValueTree> {
        let mut trees = Vec::new();
        for query in self.queries(asked) {
            trees.push(self.engine.merge(&Query { combine, ..query }).await?.value);
        }
        self.sum(trees).await
    }

    /// The sum of what `pick` asks for as one call tree.
    ///
    /// # Errors
    /// As [`Reader::merge`].
    pub(super) async fn merge_picked(&self, asked: &Asked, pick: &Pick) -> Result<ValueTree> {
        let mut trees = Vec::new();
        for query in self.queries(asked) {
            let batch = self.engine.merge_picked(&query, pick).await?.value;
            trees.push(self.compute.run(move || tree_of(&batch)).await?);
        }
        self.sum(trees).await
    }

    async fn sum(&self, mut trees: Vec<ValueTree>) -> Result<ValueTree> {
        match trees.len() {
            1 => Ok(trees.pop().unwrap_or_else(|| ValueTree::empty(1))),
            _ => self.compute.run(move || sum(trees)).await,
        }
    }

    /// The sum of what `pick` asks for as one pprof.
    ///
    /// # Errors
    /// Those of [`Engine::merge_picked`].
    pub(super) async fn merge_pprof(&self, asked: &Asked, pick: &Pick) -> Result<Profile> {
        let mut all: Option<Profile> = None;
        for query in self.queries(asked) {
            let batch = self.engine.merge_picked(&query, pick).await?.value;
            let before = all.take();
            let put_together = move || {
                let profile = pprof::message(&batch);
                Ok(match before {
                    None => profile,
                    Some(before) => pprof::append(before, profile),
                })
            };
            all = Some(self.compute.run(put_together).await?);
        }
        Ok(all.unwrap_or_default())
    }

    /// The selected profiles, the newest first, reserved in `memory`.
    ///
    /// # Errors
    /// `Exhausted` when there are more than [`PROFILES_MAX`], or more than fit into `query_memory_bytes_max`.
    pub(super) async fn profiles(&self, asked: &Asked, memory: &Memory) -> Result<Vec<ProfileEntry>> {
        let mut all = Vec::new();
        for query in self.queries(asked) {
            let room = PROFILES_MAX - all.len();
            all.extend(self.engine.list_profiles_in(&query, room + 1, memory).await?.value);
            if all.len() > PROFILES_MAX {
                let many = "too many profiles to look at one by one; ask for a shorter range, or fewer series";
                return Err(Error::exhausted(many).with("profiles_max", PROFILES_MAX));
            }
        }
        Ok(all)
    }

    /// Totals over time, tenant by tenant.
    ///
    /// # Errors
    /// Those of [`Engine::totals`].
    pub(super) async fn totals(&self, asked: &Asked, steps: &Steps, group_by: &[String]) -> Result<Vec<TimeSeries>> {
        let mut series = Vec::new();
        for query in self.queries(asked) {
            series.extend(self.engine.totals(&query, steps, group_by).await?.value);
        }
        Ok(series)
    }

    /// The names of the labels of the selected series, sorted.
    ///
    /// # Errors
    /// Those of [`Engine::label_names`].
    pub(super) async fn label_names(&self, asked: &Asked) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for query in self.queries(asked) {
            names.extend(self.engine.label_names(&query).await?.value);
        }
        Ok(names)
    }

    /// The values of one label of the selected series, sorted.
    ///
    /// # Errors
    /// Those of [`Engine::label_values`].
    pub(super) async fn label_values(&self, asked: &Asked, name: &str) -> Result<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        for query in self.queries(asked) {
            values.extend(self.engine.label_values(&query, name).await?.value);
        }
        Ok(values)
    }

    /// The types of the selected series, by id.
    ///
    /// # Errors
    /// Those of [`Engine::profile_types`].
    pub(super) async fn profile_types(&self, asked: &Asked) -> Result<Vec<ProfileType>> {
        let mut types = BTreeSet::new();
        for query in self.queries(asked) {
            types.extend(self.engine.profile_types(&query).await?.value.into_iter().map(|ty| (ty.to_string(), ty)));
        }
        Ok(types.into_iter().map(|(_, ty)| ty).collect())
    }

    /// The selected series.
    ///
    /// # Errors
    /// Those of [`Engine::series`].
    pub(super) async fn series(&self, asked: &Asked) -> Result<BTreeSet<SeriesEntry>> {
        let mut series = BTreeSet::new();
        for query in self.queries(asked) {
            series.extend(self.engine.series(&query).await?.value);
        }
        Ok(series)
    }
}

/// The first column of `batch` as a call tree.
fn tree_of(batch: &ProfileBatch) -> Result<ValueTree> {
    // What is interned here was stored: its hashes are nobody's to choose.
    let mut interner = Interner::new(0);
    let interned = interner.intern(batch)?;
    let sealed = interner.seal(&SealSelection::default()).sealed;
    let mut column = vec![0_i64; sealed.leaves.len()];
    for (row, stack) in interned.stacks.iter().enumerate() {
        let value = batch.values(row).first().copied().unwrap_or_default();
        let sum = &mut column[*stack as usize];
        *sum = sum.saturating_add(value);
    }
    Ok(ValueTree::from_stacks(sealed.dictionary, &sealed.tree, &sealed.leaves, &[&column]))
}

/// The sum of trees of several tenants.
fn sum(trees: Vec<ValueTree>) -> Result<ValueTree> {
    let magnitude =
        |tree: &ValueTree| tree.values[0].iter().map(|value| u128::from(value.unsigned_abs())).sum::<u128>();
    let all: u128 = trees.iter().map(magnitude).sum();
    match i64::try_from(all) {
        Ok(_) => Ok(merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1)),
        Err(_) => {
            Err(Error::invalid("the sum of the tenants leaves 64 bits; ask for a shorter range").with("sum", all))
        }
    }
}
