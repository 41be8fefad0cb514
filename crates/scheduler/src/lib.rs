//! The scheduler: a snapshot and a request in, a host and an explanation out. Does no I/O, reads no clock,
//! draws no random numbers, and never changes anything but its own [`Index`].
//!
//! # What a placement answers
//!
//! [`Index::place`] runs the *filters* (pinned host, zone, driver for the cell, host labels, taints, readiness,
//! cordon; affinity, anti-affinity in both directions, spread; memory, cpu, disk), then *scores* what is left
//! (load by strategy, image locality, preferred rules), and answers with a [`Placement`] or a [`Refusal`]. Both
//! say why. [`Index::verdicts`] gives the verdict of every single host; [`Index::preempt`] names instances of
//! lower priority whose going would make room.
//!
//! # The index
//!
//! ```text
//!   request ──► shape ──► class ───────► pools ─────► tournament tree ──► host
//!               (the       (which hosts   (hosts of    (leaves in the      (room, load,
//!               request    may serve it   equal cells  order zone, rack,   bindings)
//!               without    at all: one    and taints)  host; every node
//!               its name)  bit per host)               knows the best
//!                  │                                   below it)
//!                  └────► groups (project + label set): how many members on each host, rack and zone,
//!                         and how many instances that want no such neighbour
//! ```
//!
//! * A **shape** is a request without its name. It is compiled once: instances of one set share it.
//! * A **class** is what a shape asks of hosts that no binding changes (cell, zone, labels, taints). It keeps one
//!   bit per host, corrected when a host changes.
//! * A **pool** holds the hosts that serve the same cells and carry the same taints, in a tournament tree: a
//!   node knows the most free cpu, memory and disk and the lowest and highest load below it. A rack or zone is a run of neighbouring leaves, so a rule about a rack is decided once for the whole run.
//! * A **group** is a label set that some rule asks about. Its members are counted per host, rack and zone as
//!   they are bound; a **census** in it knows the emptiest domain for a spread rule without looking at any other.
//!
//! A placement walks the trees from the best child to the worst and cuts every branch that has too little room,
//! breaks a rule, or cannot beat the two best hosts found so far. A binding corrects one leaf and its ancestors.
//!
//! # What is guaranteed
//!
//! * A host is found if and only if one exists, and it satisfies every required rule at that moment.
//! * It has the best score of all such hosts, and the runner-up the second best, load being compared in whole
//!   per cent. Two limits make exceptions: of the hosts that have an image only [`IMAGE_HOLDERS_MAX`] are looked
//!   at for the sake of it, so that a better one may be missed by at most the points for images; and where many
//!   hosts seem to fulfil a preference and few do, a search ends after [`VISITS_MAX`] nodes with the best so far.
//! * Equal scores are decided by a hash of the request's key: the same request always gets the same host, but
//!   equal hosts share the work.
//! * [`Index::bind`] never promises more of anything than a host has. What the cloud already holds is told with
//!   [`Index::adopt`], which is believed even when it overdraws a host that has shrunk.
//!
//! # Rules worth knowing
//!
//! * Hosts without a rack are together one rack of their zone; hosts without a zone are together one zone.
//! * Affinity, anti-affinity and spread look at instances of the same project only. The first instance of a group
//!   whose affinity names itself may go anywhere.
//! * A spread compares the domains in which the request's class has at least one host: a zone that is cordoned
//!   as a whole, or cannot run the cell, does not hold the others back.

mod explain;
mod filter;
mod host;
mod index;
mod request;
mod score;

pub use explain::{Explanation, Nearest, Placement, Preemption, Reason, Refusal, RunnerUp, Verdict};
pub use host::HostView;
pub use index::{BindError, IMAGE_HOLDERS_MAX, Index, VISITS_MAX};
pub use request::Request;
pub use score::Score;
