//! Floating addresses: out of a pool, each once in the whole cloud.

use model::network::{Address, AddressPool, FloatingIp, FloatingIpSpec};
use model::{ApiError, FieldErrors, Resource};
use store::ListOptions;

use crate::allocation::Choice;
use crate::claims::{Draft, key_of};
use crate::server::{Server, store_error};

impl Server {
    pub(super) async fn complete_floating_ip(
        &self,
        floating: &mut FloatingIp,
        old: Option<&FloatingIp>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if let Some(old) = old {
            if floating.spec.pool.is_empty() {
                floating.spec.pool.clone_from(&old.spec.pool);
            }
            floating.spec.address = floating.spec.address.or(old.spec.address);
            return Ok(());
        }
        if floating.spec.pool.is_empty() {
            floating.spec.pool = self.only_pool().await?.unwrap_or_default();
        }
        let Some(pool) = self.read::<AddressPool>("", &floating.spec.pool).await? else { return Ok(()) };
        match floating.spec.address {
            Some(address) => {
                if !pool.spec.ranges.iter().any(|range| range.contains(address.0)) {
                    let ranges: Vec<String> = pool.spec.ranges.iter().map(ToString::to_string).collect();
                    let message = format!("{address} is not in pool {:?}", pool.metadata.name);
                    errors.push("spec.address", format!("{message}, which has {}", ranges.join(", ")));
                }
                let claim = FloatingIpSpec::address_claim(address);
                self.require_free(&claim, &key_of(floating), errors).await
            }
            None => self.give_floating_address(floating, &pool, draft, errors).await,
        }
    }

    async fn give_floating_address(
        &self,
        floating: &mut FloatingIp,
        pool: &AddressPool,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let ranges = &pool.spec.ranges;
        let total = ranges.iter().map(model::network::AddressRange::count).sum();
        let address = |mut n: u128| {
            for range in ranges {
                if let Some(found) = range.nth(n) {
                    return Some(Address(found));
                }
                n -= range.count();
            }
            None
        };
        let claim = |n: u128| address(n).map(|a| FloatingIpSpec::address_claim(a).key).unwrap_or_default();
        let choice = Choice { prefix: FloatingIpSpec::addresses(), total, claim: &claim };
        floating.spec.address = self.choose(&choice, draft).await?.and_then(address);
        if floating.spec.address.is_none() {
            let message = format!(
                "all {total} addresses of pool {:?} are in use; release floating ips that are no longer \
                 needed, or use another pool",
                pool.metadata.name
            );
            errors.push("spec.address", message);
        }
        Ok(())
    }

    /// The pool's name, where there is exactly one.
    async fn only_pool(&self) -> Result<Option<String>, ApiError> {
        let options = ListOptions { limit: 2, ..ListOptions::default() };
        let page = self.inner.store.list(&AddressPool::KIND.prefix(), options).await.map_err(store_error)?;
        let [only] = page.entries.as_slice() else { return Ok(None) };
        Ok(only.key.rsplit('/').next().map(str::to_owned))
    }
}
