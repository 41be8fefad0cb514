//! Vpcs: their overlay's number, and ranges that hold their subnets.

use std::net::{IpAddr, Ipv6Addr};

use model::network::{Cidr, Subnet, SubnetSpec, Vpc, VpcSpec};
use model::{ApiError, FieldErrors, Reason, Spec, Uid};

use crate::allocation::Choice;
use crate::claims::{Draft, key_of};
use crate::server::Server;

/// The first number given to an overlay; those below are left to people.
const FIRST_VNI: u32 = 4096;
/// Numbers of overlays have 24 bits (RFC 7348).
const VNIS: u32 = 1 << 24;

impl Server {
    pub(super) async fn complete_vpc(
        &self,
        vpc: &mut Vpc,
        old: Option<&Vpc>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let Some(old) = old else {
            if vpc.spec.is_default && vpc.spec.ipv6_range.is_none() {
                vpc.spec.ipv6_range = unique_local(&vpc.metadata.uid);
            }
            vpc.status.vni = self.choose_vni(draft).await?;
            return Ok(());
        };
        if vpc.spec.ipv6_range.is_none() && vpc.spec.is_default {
            vpc.spec.ipv6_range = old.spec.ipv6_range;
        }
        if vpc.spec.ranges().eq(old.spec.ranges()) {
            return Ok(());
        }
        // No subnet may come while its range goes.
        let key = key_of(vpc);
        self.one_at_a_time(&key, draft).await?;
        for name in self.users_of_kind(&key, &SubnetSpec::KIND).await? {
            let Some(subnet) = self.read::<Subnet>(&vpc.metadata.namespace, &name).await? else { continue };
            for cidr in subnet.spec.cidrs().filter(|cidr| !vpc.spec.ranges().any(|range| range.holds(cidr))) {
                let field = if cidr.is_v4() { "spec.ipv4Ranges" } else { "spec.ipv6Range" };
                errors.push(field, format!("{cidr} of subnet {name:?} would be in none; delete that first"));
            }
        }
        Ok(())
    }

    async fn choose_vni(&self, draft: &mut Draft) -> Result<u32, ApiError> {
        let number = |n: u128| FIRST_VNI + u32::try_from(n).unwrap_or(0);
        let claim = move |n: u128| VpcSpec::vni_claim(number(n)).key;
        let choice = Choice { prefix: "vni/", total: u128::from(VNIS - FIRST_VNI), claim: &claim };
        let chosen = self.choose(&choice, draft).await?;
        let full = || {
            let message = format!("all {} numbers of overlays are in use; delete vpcs", VNIS - FIRST_VNI);
            ApiError::new(Reason::Invalid, message)
        };
        chosen.map(number).ok_or_else(full)
    }
}

/// A range of unique local addresses (RFC 4193) that follows from a uid, and is the uid's alone in all
/// likelihood.
fn unique_local(uid: &Uid) -> Option<Cidr> {
    let digits: String = uid.as_str().chars().filter(char::is_ascii_hexdigit).take(10).collect();
    let global = u128::from(u64::from_str_radix(&digits, 16).ok()?);
    let address = (0xfd_u128 << 120) | (global << 80);
    Cidr::around(IpAddr::from(Ipv6Addr::from(address)), 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_gives_a_range() {
        let uid = Uid::parse("0123abcd-4567-89ab-cdef-0123456789ab").expect("a uid");
        assert_eq!(unique_local(&uid).expect("a range").to_string(), "fd01:23ab:cd45::/48");
    }
}
