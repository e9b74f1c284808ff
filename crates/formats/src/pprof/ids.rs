//! From the ids a profile gives its rows to row numbers.

use flamestore_model::{Error, NONE, Result};
use hashbrown::HashMap;

use super::layout::row;
use crate::wire::Reader;

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

    /// Adds the rows of all ids in `run` to `out`. `dangling` is the error of an id that no row has.
    #[inline(always)]
    pub(super) fn extend(
        &self,
        mut run: Reader<'_>,
        out: &mut Vec<u32>,
        dangling: impl Fn(u64) -> Error,
    ) -> Result<()> {
        let start = out.len();
        if self.kind == Kind::Counted && run.counted_rows(row(self.rows), out)? {
            return Ok(());
        }
        out.truncate(start);
        while !run.is_done() {
            let id = run.varint()?;
            match self.get(id) {
                NONE => return Err(dangling(id)),
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
