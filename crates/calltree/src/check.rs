//! Verification of sealed dictionaries and call trees that were read from somewhere.

use flamestore_model::Result;

use crate::{CallTree, Dictionary};

pub(crate) fn dictionary(_dictionary: &Dictionary) -> Result<()> {
    Ok(())
}

pub(crate) fn tree(_tree: &CallTree, _dictionary: &Dictionary) -> Result<()> {
    Ok(())
}
