//! Answers: the placement with its reasons, the refusal with its counts, every host's verdict on demand.

use std::cmp::Reverse;
use std::sync::Arc;

use super::query::{Obstacle, Query};
use super::room::{Amounts, resources};
use super::search::{self, Candidate, Found};
use super::{Index, hosts::Host};
use crate::{Explanation, Nearest, Placement, Reason, Refusal, Request, RunnerUp, Verdict};

/// Sizes that are offered instead are whole MiB of memory.
const MIB: u64 = 1 << 20;

impl Index {
    /// The best host for an instance that is not bound yet, or why there is none.
    pub fn place(&mut self, request: &Request) -> Result<Placement, Refusal> {
        let id = self.prepare(request);
        let shape = &self.shapes.slab[id];
        let is_pinned = !request.placement.host.is_empty();
        if let Some((version, refusal)) = &shape.refusal
            && *version == self.version
            && !is_pinned
        {
            return Err(refusal.clone());
        }
        let query = Query::new(self, shape, request);
        let found = search::run(&query);
        if let Some(best) = found.best {
            return Ok(placement(&query, best, &found));
        }
        let refusal = refusal(&query);
        if !is_pinned {
            self.shapes.slab[id].refusal = Some((self.version, refusal.clone()));
        }
        Err(refusal)
    }

    /// What every host says to the request, by host name.
    pub fn verdicts(&mut self, request: &Request) -> Vec<(Arc<str>, Verdict)> {
        let id = self.prepare(request);
        let query = Query::new(self, &self.shapes.slab[id], request);
        let judged = query.judgements().map(|(host, id, judgement)| {
            let verdict = match judgement {
                Ok(score) => Verdict::Fits(score),
                Err(o) => Verdict::Rejected { reason: query.reason(id, o), detail: query.detail(id, o) },
            };
            (host.name.clone(), verdict)
        });
        let mut verdicts: Vec<_> = judged.collect();
        verdicts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        verdicts
    }
}

fn placement(query: &Query, best: Candidate, found: &Found) -> Placement {
    let name = |candidate: Candidate| query.host(candidate.host).name.clone();
    Placement {
        host: name(best),
        explanation: Explanation {
            hosts: query.index.hosts.known,
            eligible: query.class.len,
            examined: found.examined,
            score: best.score,
            runner_up: found.second.map(|next| RunnerUp { host: name(next), score: next.score }),
        },
    }
}

fn refusal(query: &Query) -> Refusal {
    let mut counts = [0_usize; Reason::ALL.len()];
    let mut nearest: Option<(u128, Amounts, &Host)> = None;
    for (host, id, judgement) in query.judgements() {
        let Err(obstacle) = judgement else { continue };
        counts[query.reason(id, obstacle) as usize] += 1;
        if let Obstacle::Short(..) = obstacle
            && let Some((share, size)) = largest(&query.shape.demand, &host.room.free())
            && nearest.is_none_or(|(best, best_size, _)| (share, size) > (best, best_size))
        {
            nearest = Some((share, size, host));
        }
    }
    let counted = Reason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    let mut counts: Vec<_> = counted.collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    Refusal {
        hosts: query.index.hosts.known,
        counts,
        nearest: nearest
            .map(|(_, size, host)| Nearest { host: host.name.clone(), resources: resources(&size) }),
    }
}

/// The most of `demand` that fits into `free`, and how much of it that is in its scarcest part (in millionths);
/// nothing when some part would be left out altogether.
fn largest(demand: &Amounts, free: &Amounts) -> Option<(u128, Amounts)> {
    let mut size: Amounts = std::array::from_fn(|d| demand[d].min(free[d]));
    if size[0] < demand[0] {
        size[0] -= size[0] % MIB;
    }
    let asked = (0..size.len()).filter(|d| demand[*d] > 0);
    let share = asked.map(|d| u128::from(size[d]) * 1_000_000 / u128::from(demand[d])).min()?;
    let is_whole = (0..size.len()).all(|d| demand[d] == 0 || size[d] > 0);
    is_whole.then_some((share, size))
}
