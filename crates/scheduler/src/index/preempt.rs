//! Preemption: whose going would make room for a more important instance.

use std::cmp::Reverse;

use super::Index;
use super::bindings::Binding;
use super::hash;
use super::hosts::Host;
use super::query::{Obstacle, Query};
use super::room::DIMENSIONS;
use super::shape::Wish;
use crate::{Preemption, Request};

impl Index {
    /// The host where a request that was refused could run if the least important instances there made room:
    /// only instances of strictly lower priority, the highest of them as low as possible, then as few as
    /// possible. Nothing when that would not help, or when the request fits somewhere as things are.
    pub fn preempt(&mut self, request: &Request) -> Option<Preemption> {
        let id = self.prepare(request);
        let query = Query::new(self, &self.shapes.slab[id], request);
        let mut best: Option<(Cost, Plan)> = None;
        for (host, id, judgement) in query.judgements() {
            match judgement {
                Ok(_) => return None,
                Err(Obstacle::Short(..)) => {}
                Err(_) => continue,
            }
            let Some(victims) = victims(&query, host) else { continue };
            let cost = Cost {
                highest_priority: victims.last()?.priority,
                count: victims.len(),
                lot: hash::mix(query.seed ^ u64::from(id.raw())),
            };
            if best.as_ref().is_none_or(|(lowest, _)| cost < *lowest) {
                best = Some((cost, Plan { host, victims }));
            }
        }
        let (_, plan) = best?;
        Some(Preemption {
            host: plan.host.name.clone(),
            victims: plan.victims.iter().map(|victim| victim.key.clone()).collect(),
        })
    }
}

/// What a preemption costs, the most important first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest_priority: i32,
    count: usize,
    lot: u64,
}

struct Plan<'a> {
    host: &'a Host,
    victims: Vec<&'a Binding>,
}

/// The instances of a host that must go, the least important first; nothing when all that may go do not suffice.
fn victims<'a>(query: &Query<'a>, host: &'a Host) -> Option<Vec<&'a Binding>> {
    let demand = &query.shape.demand;
    let bound = host.bound.iter().map(|id| query.index.bindings.get(*id));
    let mut chosen: Vec<&Binding> =
        bound.filter(|b| b.priority < query.shape.priority && !is_wanted_neighbour(query, b)).collect();
    chosen.sort_unstable_by_key(|b| (b.priority, Reverse(b.demand), b.key.clone()));
    let mut returned = [0_u128; DIMENSIONS];
    let enough = chosen.iter().position(|victim| {
        add(&mut returned, victim);
        host.room.fits_without(demand, &returned)
    })?;
    chosen.truncate(enough + 1);
    // Some of the first may not be needed beside a larger one that came later: spare the most important first.
    for i in (0..chosen.len()).rev() {
        let mut fewer = returned;
        subtract(&mut fewer, chosen[i]);
        if host.room.fits_without(demand, &fewer) {
            returned = fewer;
            chosen.remove(i);
        }
    }
    Some(chosen)
}

/// Whether the request requires to be near such an instance: its going could take away the reason to be here.
fn is_wanted_neighbour(query: &Query, binding: &Binding) -> bool {
    let groups = &query.index.neighbours.roles[binding.role].groups;
    let near = query.shape.rules.iter().filter(|rule| matches!(rule.wish, Wish::Near) && !rule.prefer);
    near.into_iter().any(|rule| groups.contains(&rule.group))
}

fn add(sum: &mut [u128; DIMENSIONS], binding: &Binding) {
    for (total, amount) in sum.iter_mut().zip(binding.demand) {
        *total += u128::from(amount);
    }
}

fn subtract(sum: &mut [u128; DIMENSIONS], binding: &Binding) {
    for (total, amount) in sum.iter_mut().zip(binding.demand) {
        *total -= u128::from(amount);
    }
}
