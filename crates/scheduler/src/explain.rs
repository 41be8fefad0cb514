//! Answers in words and numbers: why this host, why none, what each host says, what would fit instead.

use std::fmt;
use std::sync::Arc;

use model::Resources;

use crate::Score;

/// Why a host cannot take an instance, in one word. Every host has exactly one: the first that applies, in this
/// order. Room comes last, so "short of memory" means that nothing else stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    OtherHost,
    OtherZone,
    NoDriver,
    OtherLabels,
    /// A pool with volumes of the instance is not there.
    NoPool,
    Tainted,
    NotReady,
    Cordoned,
    /// A required neighbour is not there.
    NotNear,
    /// An instance to keep away from is there.
    TooNear,
    /// An instance there keeps this one away.
    Repelled,
    /// The spread would become too uneven.
    Uneven,
    ShortOfMemory,
    ShortOfCpu,
    ShortOfDisk,
}

impl Reason {
    pub const ALL: [Self; 15] = [
        Self::OtherHost,
        Self::OtherZone,
        Self::NoDriver,
        Self::OtherLabels,
        Self::NoPool,
        Self::Tainted,
        Self::NotReady,
        Self::Cordoned,
        Self::NotNear,
        Self::TooNear,
        Self::Repelled,
        Self::Uneven,
        Self::ShortOfMemory,
        Self::ShortOfCpu,
        Self::ShortOfDisk,
    ];

    /// Reads well after a number: "7 short of memory".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::OtherHost => "not the asked-for host",
            Self::OtherZone => "in another zone",
            Self::NoDriver => "without a driver for it",
            Self::OtherLabels => "without the asked-for labels",
            Self::NoPool => "without its pool",
            Self::Tainted => "tainted",
            Self::NotReady => "not ready",
            Self::Cordoned => "cordoned",
            Self::NotNear => "not near the asked-for neighbour",
            Self::TooNear => "too near an instance to keep away from",
            Self::Repelled => "near an instance that keeps it away",
            Self::Uneven => "above the spread's limit",
            Self::ShortOfMemory => "short of memory",
            Self::ShortOfCpu => "short of cpu",
            Self::ShortOfDisk => "short of disk",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.phrase())
    }
}

/// What one host says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Fits(Score),
    Rejected {
        reason: Reason,
        /// What is wrong, to be read after the host's name.
        detail: String,
    },
}

impl Verdict {
    pub fn is_fit(&self) -> bool {
        matches!(self, Self::Fits(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits(score) => write!(f, "fits with a score of {score}"),
            Self::Rejected { detail, .. } => f.write_str(detail),
        }
    }
}

/// A host for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub host: Arc<str>,
    pub explanation: Explanation,
}

/// Why this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// All hosts there are.
    pub hosts: usize,
    /// Hosts that may serve the request, whatever is bound to them. How many of these have room and satisfy the
    /// rules about neighbours costs a look at each: ask for the verdicts.
    pub eligible: usize,
    /// Hosts that the search had to look at.
    pub examined: usize,
    pub score: Score,
    /// The second best, when there is one.
    pub runner_up: Option<RunnerUp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerUp {
    pub host: Arc<str>,
    pub score: Score,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "best of {} eligible among {} hosts with a score of {}",
            self.eligible, self.hosts, self.score
        )?;
        match &self.runner_up {
            Some(next) => write!(f, "; next {} with {}", next.host, next.score),
            None => f.write_str("; no other host fits"),
        }
    }
}

/// No host can take the instance now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub hosts: usize,
    /// Hosts per reason, the most frequent first; together they are all hosts.
    pub counts: Vec<(Reason, usize)>,
    /// What would fit instead, when room is all that is missing.
    pub nearest: Option<Nearest>,
}

/// The largest size, no larger than the asked-for one in anything, that fits now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    pub host: Arc<str>,
    pub resources: Resources,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    /// `0 of 12 hosts: 7 short of memory, 4 in another zone, 1 cordoned; the largest that fits now: 2 cpu,
    /// 1536Mi memory on host-7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0 of {} hosts: ", self.hosts)?;
        if self.counts.is_empty() {
            f.write_str("no host has joined yet")?;
        }
        for (i, (reason, count)) in self.counts.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{count} {reason}")?;
        }
        match &self.nearest {
            Some(nearest) => {
                write!(f, "; the largest that fits now: {} on {}", nearest.resources, nearest.host)
            }
            None => Ok(()),
        }
    }
}

/// Instances whose going makes room for a more important one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    pub host: Arc<str>,
    /// Keys (`project/name`), the least important first; never empty.
    pub victims: Vec<Arc<str>>,
}
