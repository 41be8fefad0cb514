//! What the server chooses where the user did not: any of many that nobody has a claim on. The choice is only a
//! guess that is good at the moment; the transaction that writes the claim decides, and who loses chooses again.

use std::collections::HashSet;

use model::ApiError;
use store::ListOptions;

use crate::claims::{Draft, claim_key};
use crate::server::{Server, store_error};

/// So many are tried before all that are taken are read.
const PROBES: usize = 8;

/// Things to choose from, by number.
pub(crate) struct Choice<'a> {
    /// Below this lie all claims on them.
    pub(crate) prefix: &'a str,
    pub(crate) total: u128,
    /// The claim on the `n`th.
    pub(crate) claim: &'a (dyn Fn(u128) -> String + Send + Sync),
}

impl Server {
    /// A number whose claim nobody has, noted in the draft; `None` when all are taken.
    pub(crate) async fn choose(
        &self,
        choice: &Choice<'_>,
        draft: &mut Draft,
    ) -> Result<Option<u128>, ApiError> {
        if choice.total == 0 {
            return Ok(None);
        }
        for _ in 0..PROBES {
            let n = self.random_below(choice.total);
            let claim = (choice.claim)(n);
            if !draft.has_chosen(&claim) && self.look(&claim_key(&claim)).await?.is_none() {
                draft.choose(&claim);
                return Ok(Some(n));
            }
        }
        let page = self.inner.store.list(&claim_key(choice.prefix), ListOptions::default()).await;
        let page = page.map_err(store_error)?;
        let taken: HashSet<&str> = page.entries.iter().map(|entry| &*entry.key).collect();
        // Of one more than are taken, one is free.
        let steps = (taken.len() + draft.chosen()) as u128;
        let start = self.random_below(choice.total);
        for step in 0..=steps.min(choice.total - 1) {
            let n = (start + step) % choice.total;
            let claim = (choice.claim)(n);
            if !taken.contains(claim_key(&claim).as_str()) && draft.choose(&claim) {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }

    fn random_below(&self, total: u128) -> u128 {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.inner.environment.random()[..16]);
        u128::from_le_bytes(bytes) % total
    }
}
