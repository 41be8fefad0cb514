//! The packet filter of a VPC's namespace, written as the difference to what is there. What we wrote ourselves is
//! remembered together with the kernel's count of changes: while that stays the same, it need not be read.

use std::collections::HashMap;
use std::net::IpAddr;

use nft::{Actual, Batch, Connection, Difference, NftError, Table};

use crate::error::VpcError;
use crate::rules;

/// Somebody else changes the filter while we do, this often at most.
const ATTEMPTS: usize = 8;

/// What the kernel has for as long as it counts the same generation.
#[derive(Debug)]
pub(crate) struct Written {
    generation: u32,
    tables: [Table; 2],
}

/// What came of writing.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Floating addresses that were taken away.
    pub(crate) gone: Vec<IpAddr>,
    /// There is only more than we wrote last time, and nobody else has written meanwhile: what passed may pass on.
    pub(crate) only_more: bool,
    pub(crate) written: Option<Written>,
}

/// Makes the tables true in the namespace of the calling thread, both at one moment.
pub(crate) fn write(wanted: [Table; 2], known: Option<Written>) -> Result<Outcome, VpcError> {
    let reading = "read the packet filter";
    let mut connection = Connection::open()?;
    for _ in 0..ATTEMPTS {
        let generation = connection.generation().map_err(VpcError::filter(reading))?;
        let known = known.as_ref().filter(|known| known.generation == generation);
        let (differences, gone) = match known {
            Some(known) => compare(&wanted, &known.tables),
            None => read(&mut connection, &wanted).map_err(VpcError::filter(reading))?,
        };
        let only_more = known.is_some() && !differences.iter().any(|difference| difference.takes_away);
        let mut batch = Batch::new();
        for difference in differences {
            batch.append(difference.batch);
        }
        match connection.commit_if(generation, &batch) {
            Err(e) if e.is_outdated() => continue,
            done => done.map_err(VpcError::filter("write the packet filter"))?,
        }
        let after = connection.generation().map_err(VpcError::filter(reading))?;
        // Ours was one step. Another count means that somebody has written since.
        let ours = generation.wrapping_add(u32::from(!batch.is_empty()));
        let written = (after == ours).then_some(Written { generation: after, tables: wanted });
        return Ok(Outcome { gone, only_more, written });
    }
    Err(VpcError::Invalid("somebody keeps changing the packet filter of a VPC; look who it is".into()))
}

/// Packets by the port's device that it should not have sent, of IP and ARP. In the VPC's namespace.
pub(crate) fn spoofed() -> Result<HashMap<u32, u64>, VpcError> {
    let mut connection = Connection::open()?;
    let mut all = HashMap::new();
    for family in rules::FAMILIES {
        let counts = connection.counts(family, rules::TABLE, rules::SPOOFING);
        for (key, packets) in counts.map_err(VpcError::filter("read counts of the packet filter"))? {
            if let Ok(device) = key.try_into() {
                *all.entry(u32::from_ne_bytes(device)).or_default() += packets;
            }
        }
    }
    Ok(all)
}

/// Whether the kernel still has what was written.
pub(crate) fn is_untouched(known: &Written) -> Result<bool, VpcError> {
    let generation = Connection::open()?.generation().map_err(VpcError::filter("read the packet filter"))?;
    Ok(generation == known.generation)
}

fn compare(wanted: &[Table; 2], known: &[Table; 2]) -> (Vec<Difference>, Vec<IpAddr>) {
    let mut gone = Vec::new();
    let mut differences = Vec::new();
    for (wanted, known) in wanted.iter().zip(known) {
        let elements =
            |map: &'static str| known.sets.get(map).into_iter().flat_map(|set| set.elements.iter());
        gone.extend(rules::lost_floating(wanted, elements));
        differences.push(wanted.difference_from(known));
    }
    (differences, gone)
}

fn read(
    connection: &mut Connection,
    wanted: &[Table; 2],
) -> Result<(Vec<Difference>, Vec<IpAddr>), NftError> {
    let mut gone = Vec::new();
    let mut differences = Vec::new();
    for wanted in wanted {
        let actual = Actual::read(connection, wanted.family, &wanted.name)?;
        gone.extend(rules::lost_floating(wanted, |map| actual.elements(map)));
        differences.push(wanted.difference(&actual));
    }
    Ok((differences, gone))
}
