//! Reads for one tenant.
//!
//! ```text
//! question ─ which type has the values? ─▶ a merge, one per group of labels, or two laid over each other
//! ```
//!
//! Parca makes time of counts of samples when it is asked; here that was done when they were stored, as a type of its own. So a
//! question about `samples:count` is answered from the type of its period, where there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use flamestore_calltree::{ValueTree, merge};
use flamestore_model::{
    Error, Labels, MatchOp, Matcher, ProfileType, Result, Selector, Temporality, Tenant, TimeRange, names,
};
use flamestore_query::{Engine, Memory, Query};

use super::ask::Asked;
use crate::compute::Compute;

/// Groups of labels in one answer: each is a merge.
const GROUPS_MAX: usize = 1024;

/// What reads for the tenant of one request.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) engine: Arc<Engine>,
    pub(super) compute: Compute,
    pub(super) tenant: Tenant,
}

/// What a question is answered from.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The type that has the values.
    pub(super) ty: ProfileType,
    pub(super) query: Query,
    /// Whether there are no such series.
    pub(super) is_empty: bool,
}

impl Reader {
    /// A query of this tenant.
    pub(super) fn query(&self, selector: Selector, range: TimeRange) -> Query {
        Query::new(self.tenant.clone(), selector, range)
    }

    /// What `asked` is answered from.
    ///
    /// # Errors
    /// Those of the engine; `NotFound` where there must be a profile and is none.
    pub(super) async fn find(&self, asked: &Asked) -> Result<Found> {
        let mut found = None;
        if let Some(ty) = period_of(&asked.ty) {
            found = Some(self.look(asked, ty).await?).filter(|found| !found.is_empty);
        }
        let found = match found {
            Some(found) => found,
            None => self.look(asked, asked.ty.clone()).await?,
        };
        if asked.is_single && (found.is_empty || self.engine.list_profiles(&found.query, 1).await?.value.is_empty()) {
            return Err(
                Error::not_found("there is no such profile at that time").with("time_unix_nano", asked.range.start)
            );
        }
        Ok(found)
    }

    async fn look(&self, asked: &Asked, ty: ProfileType) -> Result<Found> {
        let query = self.query(asked.selector_of(&ty)?, asked.range);
        let temporalities = self.engine.temporalities(&query).await?.value;
        let is_there =
            temporalities.iter().any(|(_, temporality)| (*temporality == Temporality::Delta) == asked.is_delta);
        Ok(Found { ty, query, is_empty: !is_there })
    }

    /// The merges of the selected profiles by the values of `labels`, held in `memory`; one merge where there are no labels.
    ///
    /// # Errors
    /// Those of the engine; `Exhausted` when there are too many groups, or they are too large together.
    pub(super) async fn merges(
        &self,
        found: &Found,
        labels: &[String],
        memory: &Memory,
    ) -> Result<Vec<(Vec<String>, ValueTree)>> {
        if found.is_empty {
            return Ok(Vec::new());
        }
        if labels.is_empty() {
            return Ok(vec![(Vec::new(), held(self.engine.merge(&found.query).await?.value, memory)?)]);
        }
        let mut merges = Vec::new();
        for values in self.groups(&found.query, labels).await? {
            let mut query = found.query.clone();
            for (name, value) in labels.iter().zip(&values) {
                query.selector.matchers.push(Matcher::new(name, MatchOp::Equal, value)?);
            }
            merges.push((values, held(self.engine.merge(&query).await?.value, memory)?));
        }
        Ok(merges)
    }

    /// The distinct values that the selected series have of `labels`; empty where a label is absent.
    async fn groups(&self, query: &Query, labels: &[String]) -> Result<BTreeSet<Vec<String>>> {
        let series = self.engine.series(query).await?.value;
        let values = |labels_of: &Labels| -> Vec<String> {
            labels.iter().map(|name| labels_of.get(name).unwrap_or_default().to_owned()).collect()
        };
        let groups: BTreeSet<Vec<String>> =
            series.into_iter().map(|entry| values(&entry.profile_type.add_derived_labels(entry.labels))).collect();
        match groups.len() > GROUPS_MAX {
            false => Ok(groups),
            true => Err(Error::exhausted("too many groups of labels, each of which is a merge; select fewer series")
                .with("groups_max", GROUPS_MAX)
                .with("found", groups.len())),
        }
    }

    /// Both selections in one tree, held in `memory`: what is compared, then the base.
    ///
    /// # Errors
    /// Those of the engine; `Exhausted` when it is too large.
    pub(super) async fn diff(&self, compared: &Found, base: &Found, memory: &Memory) -> Result<ValueTree> {
        let (found, column) = match (compared.is_empty, base.is_empty) {
            (true, true) => return Ok(ValueTree::empty(2)),
            (false, false) => return held(self.engine.diff(&compared.query, &base.query).await?.value, memory),
            (false, true) => (compared, 0),
            (true, false) => (base, 1),
        };
        let tree = held(self.engine.merge(&found.query).await?.value, memory)?;
        self.compute.run(move || Ok(merge(vec![(tree, column)], 2))).await
    }

    /// The names of the labels of the selected series, without those derived from the type.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn label_names(&self, query: &Query) -> Result<Vec<String>> {
        let names = self.engine.label_names(query).await?.value;
        Ok(names.into_iter().filter(|name| !names::DERIVED.contains(&name.as_str())).collect())
    }
}

/// `tree`, for which there is room in `memory`.
fn held(tree: ValueTree, memory: &Memory) -> Result<ValueTree> {
    memory.hold(&tree)?;
    Ok(tree)
}

/// The type of what counts of samples stand for.
fn period_of(ty: &ProfileType) -> Option<ProfileType> {
    let is_counted = ty.sample_type == "samples" && ty.sample_unit == "count";
    let has_period = !ty.period_type.is_empty() && ty.period_type != "samples";
    (is_counted && has_period).then(|| ProfileType {
        sample_type: ty.period_type.clone(),
        sample_unit: ty.period_unit.clone(),
        ..ty.clone()
    })
}
