//! From the ids a profile gives its rows to row numbers.

use flamestore_model::{Error, NONE, Result};
use hashbrown::HashMap;

use super::layout::row;

/// The rows of one table by id. Writers number rows from 1, or nearly so, or use addresses: each has its own form.
#[derive(Debug, Default)]
pub(super) struct IdMap {
    kind: Kind,
    rows: u64,
    /// Row by id, where ids are nearly dense; [`NONE`] where no row has the id.
    table: Vec<u32>,
    hashed: HashMap<u64, u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Row `i` has id `i + 1`.
    #[default]
    Counted,
    Table,
    Hashed,
}

impl IdMap {
    /// Takes the ids of a table, in the order of its rows.
    pub(super) fn build(&mut self, ids: &[u64], what: &str) -> Result<()> {
        self.rows = ids.len() as u64;
        self.table.clear();
        self.hashed.clear();
        if ids.iter().zip(1..).all(|(id, counted)| *id == counted) {
            self.kind = Kind::Counted;
            return Ok(());
        }
        if let Some(at) = ids.iter().position(|id| *id == 0) {
            return Err(Error::invalid(format!("{what} {at} has id 0, which means none")));
        }
        let twice = |at: usize, id: u64| Error::invalid(format!("{what} {at}: id {id} stands twice"));
        let id_max = ids.iter().copied().max().unwrap_or(0);
        if id_max <= self.rows * 4 + 64 {
            self.kind = Kind::Table;
            self.table.resize(row(id_max) as usize + 1, NONE);
            for (at, id) in ids.iter().enumerate() {
                let slot = &mut self.table[row(*id) as usize];
                if *slot != NONE {
                    return Err(twice(at, *id));
                }
                *slot = row(at as u64);
            }
            return Ok(());
        }
        self.kind = Kind::Hashed;
        self.hashed.reserve(ids.len());
        for (at, id) in ids.iter().enumerate() {
            if self.hashed.insert(*id, row(at as u64)).is_some() {
                return Err(twice(at, *id));
            }
        }
        Ok(())
    }

    /// The row of `id`; [`NONE`] when no row has it.
    #[inline(always)]
    pub(super) fn get(&self, id: u64) -> u32 {
        if self.kind == Kind::Counted {
            let at = id.wrapping_sub(1);
            return if at < self.rows { row(at) } else { NONE };
        }
        self.get_sparse(id)
    }

    /// Adds the rows of `ids` to `out`.
    ///
    /// # Errors
    /// The first id that no row has.
    #[inline(always)]
    pub(super) fn extend(&self, ids: &[u64], out: &mut Vec<u32>) -> Result<(), u64> {
        if self.kind != Kind::Counted {
            return self.extend_sparse(ids, out);
        }
        // Bit 63 of either term says that `at`, or what is left above it, is below 0: no row.
        let last = self.rows.wrapping_sub(1);
        let outside = |id: u64| {
            let at = id.wrapping_sub(1);
            at | last.wrapping_sub(at)
        };
        if ids.iter().fold(0, |any, id| any | outside(*id)) >> 63 != 0 {
            return Err(ids.iter().copied().find(|id| outside(*id) >> 63 != 0).unwrap_or_default());
        }
        out.extend(ids.iter().map(|id| row(*id).wrapping_sub(1)));
        Ok(())
    }

    #[inline(never)]
    fn extend_sparse(&self, ids: &[u64], out: &mut Vec<u32>) -> Result<(), u64> {
        for id in ids {
            match self.get_sparse(*id) {
                NONE => return Err(*id),
                found => out.push(found),
            }
        }
        Ok(())
    }

    #[inline]
    fn get_sparse(&self, id: u64) -> u32 {
        let found = match self.kind {
            Kind::Hashed => self.hashed.get(&id),
            _ => usize::try_from(id).ok().and_then(|at| self.table.get(at)),
        };
        found.copied().unwrap_or(NONE)
    }
}
