//! Quota: what a project holds is counted from the store, and what is on its way to the store is held as a
//! reservation until the count has seen it. There is no counter that could drift.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::identity::{Quota, QuotaSpec};
use model::{AnyObject, ApiError, KindInfo, Reason, Resource, Resources};
use parking_lot::Mutex;
use store::{ListOptions, Revision};

use crate::record;
use crate::server::{Server, store_error};

/// Most counts for one change: each but the first because others were faster.
const COUNTS_MAX: usize = 64;

/// What objects take: resources, and one of their kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resources: Resources,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// Reservations of changes on their way to the store, per project.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    projects: HashMap<String, Vec<Pending>>,
    /// The newest revision of all reservations that were dropped because a count had seen them. A count older
    /// than this misses changes that nothing else speaks of any more.
    settled: Revision,
    next_id: u64,
}

/// A count too old to decide by: another has settled what this one has not seen.
#[derive(Debug)]
struct Outdated;

#[derive(Debug)]
struct Pending {
    id: u64,
    usage: Usage,
    /// Known once committed: a count at this revision or later includes it.
    committed: Option<Revision>,
}

/// Holds room in a quota until the change is counted; dropped without a commit, it frees the room.
#[derive(Debug)]
pub(crate) struct Reservation {
    held: Option<(Ledger, String, u64)>,
}

impl Server {
    /// Reserves what `new` takes more than `old`, with what is made beside it in the same project. In a project without quota this costs one look-up.
    pub(crate) async fn reserve_quota(
        &self,
        old: Option<&dyn AnyObject>,
        new: &dyn AnyObject,
        companions: &[Box<dyn AnyObject>],
    ) -> Result<Reservation, ApiError> {
        let none = Reservation { held: None };
        let info = new.info();
        let project = &new.metadata().namespace;
        if !info.is_project_scoped() || info.group == Quota::KIND.group {
            return Ok(none);
        }
        let mut extra = extra(info, old, new);
        for companion in companions {
            *extra.counts.entry(companion.info().plural).or_default() += 1;
            extra.resources += companion.charge();
        }
        if extra == Usage::default() {
            return Ok(none);
        }
        let prefix = format!("{}{project}/", Quota::KIND.prefix());
        let quotas = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
        if quotas.entries.is_empty() {
            return Ok(none);
        }
        let quotas: Vec<Quota> = quotas
            .entries
            .iter()
            .map(|entry| serde_json::from_slice(&entry.value))
            .collect::<Result<_, _>>()
            .map_err(|e| ApiError::internal(e.to_string()))?;
        for _ in 0..COUNTS_MAX {
            let (used, counted_at) = match self.usage(project).await {
                Err(e) if e.reason == Reason::Expired => continue,
                counted => counted?,
            };
            if let Ok(reserved) = self.inner.ledger.reserve(project, &used, counted_at, &extra, &quotas) {
                return reserved;
            }
        }
        let message = format!("too many changes at once in project {project:?}; try again");
        Err(ApiError::new(Reason::TooManyRequests, message))
    }

    /// Counts what a project holds, from what exists at one revision.
    pub(crate) async fn usage(&self, project: &str) -> Result<(Usage, Revision), ApiError> {
        let mut usage = Usage::default();
        let counted_at = self.inner.store.revision();
        for kind in model::kinds().iter().filter(|k| k.info.is_project_scoped()) {
            let prefix = format!("{}{project}/", kind.info.prefix());
            let options = ListOptions { at: Some(counted_at), ..ListOptions::default() };
            let page = self.inner.store.list(&prefix, options).await.map_err(store_error)?;
            if page.entries.is_empty() {
                continue;
            }
            usage.counts.insert(kind.info.plural, page.entries.len() as u64);
            // The others take nothing that there is only so much of.
            if ["instances", "volumes"].contains(&kind.info.plural) {
                for entry in &page.entries {
                    usage.resources += record::decode(kind, entry)?.charge();
                }
            }
        }
        Ok((usage, counted_at))
    }
}

fn extra(info: KindInfo, old: Option<&dyn AnyObject>, new: &dyn AnyObject) -> Usage {
    let before = old.map_or(Resources::ZERO, AnyObject::charge);
    let mut extra = Usage { resources: new.charge() - before, counts: BTreeMap::new() };
    if old.is_none() {
        extra.counts.insert(info.plural, 1);
    }
    extra
}

impl Ledger {
    /// Holds room for `extra` within all quotas, or says which one it exceeds.
    fn reserve(
        &self,
        project: &str,
        used: &Usage,
        counted_at: Revision,
        extra: &Usage,
        quotas: &[Quota],
    ) -> Result<Result<Reservation, ApiError>, Outdated> {
        let mut book = self.book.lock();
        if counted_at < book.settled {
            return Err(Outdated);
        }
        book.settle(project, counted_at);
        let pending = book.projects.get(project).map_or(&[][..], Vec::as_slice);
        if let Err(e) = quotas.iter().try_for_each(|quota| within(quota, used, pending, extra)) {
            return Ok(Err(e));
        }
        let id = book.next_id;
        book.next_id += 1;
        let entry = Pending { id, usage: extra.clone(), committed: None };
        book.projects.entry(project.to_owned()).or_default().push(entry);
        Ok(Ok(Reservation { held: Some((self.clone(), project.to_owned(), id)) }))
    }
}

impl Book {
    /// Drops the reservations that a count at this revision includes.
    fn settle(&mut self, project: &str, counted_at: Revision) {
        let Some(pending) = self.projects.get_mut(project) else { return };
        let settled = &mut self.settled;
        pending.retain(|p| match p.committed.filter(|revision| *revision <= counted_at) {
            Some(revision) => {
                *settled = revision.max(*settled);
                false
            }
            None => true,
        });
        if pending.is_empty() {
            self.projects.remove(project);
        }
    }
}

impl Reservation {
    /// The change is in the store at `revision`: keep the room until a count includes it.
    pub(crate) fn commit(mut self, revision: Revision) {
        if let Some((ledger, project, id)) = self.held.take()
            && let Some(pending) = ledger.book.lock().projects.get_mut(&project)
            && let Some(entry) = pending.iter_mut().find(|p| p.id == id)
        {
            entry.committed = Some(revision);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((ledger, project, id)) = self.held.take() {
            let mut book = ledger.book.lock();
            if let Some(pending) = book.projects.get_mut(&project) {
                pending.retain(|p| p.id != id);
                if pending.is_empty() {
                    book.projects.remove(&project);
                }
            }
        }
    }
}

fn within(quota: &Quota, used: &Usage, pending: &[Pending], extra: &Usage) -> Result<(), ApiError> {
    let mut total = used.clone();
    for more in pending.iter().map(|p| &p.usage).chain([extra]) {
        total.resources += more.resources;
        for (kind, count) in &more.counts {
            *total.counts.entry(kind).or_default() += count;
        }
    }
    let QuotaSpec { cpu, memory, disk, counts } = &quota.spec;
    let over = |what: &str, limit: &dyn std::fmt::Display, used: &dyn std::fmt::Display| {
        Err(ApiError::new(
            Reason::Forbidden,
            format!(
                "quota {:?} of project {:?} is exceeded: {what} would be {used}, the limit is {limit}; delete \
                 something or ask for a higher quota",
                quota.metadata.name, quota.metadata.namespace
            ),
        ))
    };
    let now = &total.resources;
    if let Some(limit) = cpu.filter(|limit| now.cpu > *limit && extra.resources.cpu.0 > 0) {
        return over("cpu", &limit, &now.cpu);
    }
    if let Some(limit) = memory.filter(|limit| now.memory > *limit && extra.resources.memory.0 > 0) {
        return over("memory", &limit, &now.memory);
    }
    if let Some(limit) = disk.filter(|limit| now.disk > *limit && extra.resources.disk.0 > 0) {
        return over("disk", &limit, &now.disk);
    }
    for (kind, limit) in counts {
        let count = total.counts.get(kind.as_str()).copied().unwrap_or(0);
        if count > *limit && extra.counts.contains_key(kind.as_str()) {
            return over(kind, limit, &count);
        }
    }
    Ok(())
}
