//! What one transaction may carry. Owns the numbers and their check; every backend asks before anything else.

use crate::{Op, StoreError, Txn};

pub const MAX_KEY_BYTES: usize = 1024;
/// What etcd takes in one request by default, so that no backend takes more than another.
pub const MAX_VALUE_BYTES: usize = 1536 * 1024;
pub const MAX_TXN_BYTES: usize = 4 * 1024 * 1024;
/// Comparisons and operations alike.
pub const MAX_TXN_OPS: usize = 512;
pub const MAX_LEASE_KEYS: usize = 32 * 1024;

pub(crate) fn check(txn: &Txn) -> Result<(), StoreError> {
    at_most("the list of comparisons", txn.compares.len(), MAX_TXN_OPS)?;
    at_most("the list of operations", txn.ops.len(), MAX_TXN_OPS)?;
    for compare in &txn.compares {
        at_most("the key", compare.key.len(), MAX_KEY_BYTES)?;
    }
    for op in &txn.ops {
        match op {
            Op::Put { key, value, .. } => {
                at_most("the key", key.len(), MAX_KEY_BYTES)?;
                at_most("the value", value.len(), MAX_VALUE_BYTES)?;
            }
            Op::Delete { key } => at_most("the key", key.len(), MAX_KEY_BYTES)?,
        }
    }
    at_most("the transaction", size(txn), MAX_TXN_BYTES)
}

/// Bytes of keys and values.
pub(crate) fn size(txn: &Txn) -> usize {
    txn.ops
        .iter()
        .map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        })
        .sum()
}

pub(crate) fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}
