//! Amounts as vectors: what a host has, what is promised, what is free. A new resource is a new dimension here.

use model::{Bytes, CpuMillis, Resources};

use crate::Reason;
use crate::score::LOAD_MAX;

pub(crate) const DIMENSIONS: usize = 3;
/// Memory, cpu, disk: the order in which shortages are reported.
pub(crate) type Amounts = [u64; DIMENSIONS];

const SHORTAGES: [Reason; DIMENSIONS] = [Reason::ShortOfMemory, Reason::ShortOfCpu, Reason::ShortOfDisk];
/// The dimensions that count as load; disk only has to suffice.
const LOADED: usize = 2;

pub(crate) fn amounts(resources: &Resources) -> Amounts {
    [resources.memory.0, resources.cpu.0, resources.disk.0]
}

pub(crate) fn resources(amounts: &Amounts) -> Resources {
    Resources { memory: Bytes(amounts[0]), cpu: CpuMillis(amounts[1]), disk: Bytes(amounts[2]) }
}

pub(crate) fn fits(demand: &Amounts, free: &Amounts) -> bool {
    demand[0] <= free[0] && demand[1] <= free[1] && demand[2] <= free[2]
}

/// The first dimension in which `demand` is more than `free`.
pub(crate) fn shortage(demand: &Amounts, free: &Amounts) -> Option<(Reason, usize)> {
    (0..DIMENSIONS).find(|d| demand[*d] > free[*d]).map(|d| (SHORTAGES[d], d))
}

/// What a host has and what of it is promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    allocatable: Amounts,
    /// Wide enough that facts which overdraw a host never saturate, so that taking them back is exact.
    promised: [u128; DIMENSIONS],
}

impl Room {
    pub(crate) fn resize(&mut self, allocatable: Amounts) {
        self.allocatable = allocatable;
    }

    pub(crate) fn claim(&mut self, demand: &Amounts) {
        for (promised, amount) in self.promised.iter_mut().zip(demand) {
            *promised += u128::from(*amount);
        }
    }

    pub(crate) fn release(&mut self, demand: &Amounts) {
        for (promised, amount) in self.promised.iter_mut().zip(demand) {
            *promised -= u128::from(*amount);
        }
    }

    /// What is left; nothing where the host is overdrawn.
    pub(crate) fn free(&self) -> Amounts {
        std::array::from_fn(|d| {
            u64::try_from(self.promised[d]).map_or(0, |promised| self.allocatable[d].saturating_sub(promised))
        })
    }

    /// Whether `demand` would fit were `returned` given back first. To ask for nothing of a resource is fine
    /// even where it is overdrawn.
    pub(crate) fn fits_without(&self, demand: &Amounts, returned: &[u128; DIMENSIONS]) -> bool {
        (0..DIMENSIONS).all(|d| demand[d] == 0 || self.has_room(d, demand[d], returned[d]))
    }

    /// Whether a claim may become `new`: what does not grow is fine even where the host is overdrawn.
    pub(crate) fn may_change(&self, old: &Amounts, new: &Amounts) -> bool {
        (0..DIMENSIONS).all(|d| new[d] <= old[d] || self.has_room(d, new[d], u128::from(old[d])))
    }

    fn has_room(&self, dimension: usize, demand: u64, returned: u128) -> bool {
        let left = self.promised[dimension] - returned;
        left + u128::from(demand) <= u128::from(self.allocatable[dimension])
    }

    /// The scarcest resource's share that is promised, in whole per cent.
    pub(crate) fn load(&self) -> u8 {
        let free = self.free();
        let share = |d: usize| {
            let (all, used) = (self.allocatable[d], self.allocatable[d] - free[d]);
            let percent = used.saturating_mul(u64::from(LOAD_MAX)).checked_div(all);
            percent.map_or(0, |p| u8::try_from(p).unwrap_or(LOAD_MAX))
        };
        (0..LOADED).map(share).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdrawn_host_has_no_room_and_recovers_exactly() {
        let mut room = Room::default();
        room.resize([100, 100, 0]);
        room.claim(&[u64::MAX, 10, 0]);
        room.claim(&[u64::MAX, 10, 0]);
        assert_eq!(room.free(), [0, 80, 0]);
        room.release(&[u64::MAX, 10, 0]);
        room.release(&[u64::MAX, 10, 0]);
        assert_eq!(room.free(), [100, 100, 0]);
    }

    #[test]
    fn load_is_that_of_the_scarcest_resource() {
        let mut room = Room::default();
        room.resize([200, 1000, 0]);
        room.claim(&[50, 300, 0]);
        assert_eq!(room.load(), 30);
        room.claim(&[150, 0, 0]);
        assert_eq!(room.load(), 100);
    }
}
