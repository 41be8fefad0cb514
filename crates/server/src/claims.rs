//! Claims and uses in the store. A key per claim, with its holder's key as the value, is written and removed in
//! the transaction that writes or removes the holder; so is a key per object that another one needs. Whoever
//! deletes an object sees who needs it, and neither can be overtaken: see `docs/decisions/0012-unique-claims.md`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{AnyObject, ApiError, Cause, Claim, FieldErrors, Hold, KindEntry, Reason, Reference};
use serde::Deserialize;
use store::{Entry, ListOptions, Revision, Txn};

use crate::server::{Server, store_error};

/// How many of an object's users a refusal names.
const NAMED_MAX: usize = 3;
/// With no other finalizers than these, an object that is being deleted needs nothing any more.
const WAITING: [&str; 2] = ["foregroundDeletion", "orphan"];

/// What a change writes and relies on beside its object, in the same transaction.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Objects that are made together with the changed one.
    pub(crate) companions: Vec<Box<dyn AnyObject>>,
    /// Keys that must be as they were read, when the transaction commits.
    read: BTreeMap<String, Revision>,
    /// Keys that are written, so that others who have read them have to read again.
    touched: BTreeSet<String>,
    /// Claims made or chosen in this change.
    claimed: HashSet<String>,
}

impl Draft {
    /// The change counts only if the key is still as it was read.
    pub(crate) fn rely_on(&mut self, key: String, revision: Revision) {
        self.read.entry(key).or_insert(revision);
    }

    /// Takes a claim for this change; false when it is taken already.
    pub(crate) fn choose(&mut self, claim: &str) -> bool {
        self.claimed.insert(claim.to_owned())
    }

    pub(crate) fn has_chosen(&self, claim: &str) -> bool {
        self.claimed.contains(claim)
    }

    pub(crate) fn chosen(&self) -> usize {
        self.claimed.len()
    }

    fn makes(&self, key: &str) -> bool {
        self.companions.iter().any(|companion| key_of(&**companion) == key)
    }
}

/// The store key of an object.
pub(crate) fn key_of(object: &dyn AnyObject) -> String {
    object.info().key(&object.metadata().namespace, &object.metadata().name)
}

/// Where a claim lies in the store.
pub(crate) fn claim_key(claim: &str) -> String {
    format!("/claims/{claim}")
}

/// Written with every new use of an object, so that its deletion notices.
fn guard_key(target: &str) -> String {
    format!("/guards{target}")
}

/// Written by every change that has to see the one before it.
fn turns_key(object: &str) -> String {
    format!("/turns{object}")
}

/// Below this lies a key for every object that needs the target.
fn uses_prefix(target: &str) -> String {
    format!("/uses{target}/")
}

fn use_key(target: &str, holder: &str) -> String {
    format!("/uses{target}{holder}")
}

impl Server {
    /// Adds to a transaction everything beside the object itself: claims and uses that come and go with it, and
    /// what the draft relies on. `new` is `None` when the object goes.
    pub(crate) async fn with_claims(
        &self,
        mut txn: Txn,
        key: &str,
        old: Option<&dyn AnyObject>,
        new: Option<&dyn AnyObject>,
        draft: &Draft,
    ) -> Result<Txn, ApiError> {
        for (read, revision) in &draft.read {
            txn = txn.when(read, *revision);
        }
        for touched in &draft.touched {
            txn = txn.put(touched, key.to_owned());
        }
        let mut guards = BTreeSet::new();
        let mut seen = HashSet::new();
        txn = self.move_claims(txn, key, old, new, &mut seen).await?;
        txn = move_uses(txn, key, old, new, &mut guards);
        for companion in &draft.companions {
            let key = key_of(&**companion);
            txn = self.move_claims(txn, &key, None, Some(&**companion), &mut seen).await?;
            txn = move_uses(txn, &key, None, Some(&**companion), &mut guards);
        }
        for guard in guards {
            txn = txn.put(guard, key.to_owned());
        }
        if new.is_none() {
            for own in [guard_key(key), turns_key(key)] {
                if self.look(&own).await?.is_some() {
                    txn = txn.delete(own);
                }
            }
        }
        Ok(txn)
    }

    async fn move_claims(
        &self,
        mut txn: Txn,
        holder: &str,
        old: Option<&dyn AnyObject>,
        new: Option<&dyn AnyObject>,
        seen: &mut HashSet<String>,
    ) -> Result<Txn, ApiError> {
        let before = old.map(AnyObject::claims).unwrap_or_default();
        let after = new.map(AnyObject::claims).unwrap_or_default();
        let has = |claims: &[Claim], key: &str| claims.iter().any(|claim| claim.key == key);
        for claim in before.iter().filter(|claim| !has(&after, &claim.key)) {
            txn = txn.delete(claim_key(&claim.key));
        }
        for claim in after.iter().filter(|claim| !has(&before, &claim.key)) {
            if !seen.insert(claim.key.clone()) {
                return Err(taken(new, claim, "is asked for twice; once is enough"));
            }
            let key = claim_key(&claim.key);
            let revision = match self.look(&key).await? {
                Some(entry) if entry.value != holder.as_bytes() => {
                    return Err(taken(new, claim, &held_by(&entry, holder)));
                }
                found => found.map_or(0, |entry| entry.mod_revision),
            };
            txn = txn.when(&key, revision).put(&key, holder.to_owned());
        }
        Ok(txn)
    }

    /// Says in `errors` if another than the object itself has the claim.
    pub(crate) async fn require_free(
        &self,
        claim: &Claim,
        holder: &str,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        match self.look(&claim_key(&claim.key)).await? {
            Some(entry) if entry.value != holder.as_bytes() => {
                errors.push(&claim.field, format!("{} {}", claim.what, held_by(&entry, holder)));
            }
            _ => {}
        }
        Ok(())
    }

    /// The name of the object that holds a claim.
    pub(crate) async fn holder(&self, claim: &str) -> Result<Option<String>, ApiError> {
        let entry = self.look(&claim_key(claim)).await?;
        Ok(entry.and_then(|entry| Some(Holder::of(&entry.value)?.name.to_owned())))
    }

    /// Every object that is newly named has to be there; one that is to stay is held to its present state, so
    /// that it cannot go at the same time.
    pub(crate) async fn check_references(
        &self,
        object: &dyn AnyObject,
        old: Option<&dyn AnyObject>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let known: HashSet<String> =
            old.map(AnyObject::references).unwrap_or_default().iter().map(Reference::key).collect();
        for reference in object.references() {
            let key = reference.key();
            if known.contains(&key) || draft.makes(&key) {
                continue;
            }
            let (kind, name) = (reference.kind, &reference.name);
            let Some(entry) = self.look(&key).await? else {
                let place = if kind.is_project_scoped() {
                    format!(" in project {:?}", reference.project)
                } else {
                    String::new()
                };
                let message = format!(
                    "there is no {} {name:?}{place}; `corten get {}` lists them",
                    kind.singular, kind.plural
                );
                errors.push(reference.field, message);
                continue;
            };
            if Leaving::of(&entry).is_deleting() {
                errors.push(reference.field, format!("{} {name:?} is being deleted", kind.singular));
            } else if reference.hold == Hold::Kept {
                draft.rely_on(key, entry.mod_revision);
            }
        }
        Ok(())
    }

    /// The change counts only if no other one of those that call this for the same object came in between.
    pub(crate) async fn one_at_a_time(&self, object: &str, draft: &mut Draft) -> Result<(), ApiError> {
        let key = turns_key(object);
        let revision = self.look(&key).await?.map_or(0, |entry| entry.mod_revision);
        draft.rely_on(key.clone(), revision);
        draft.touched.insert(key);
        Ok(())
    }

    /// Names of the objects of a kind that need the target.
    pub(crate) async fn users_of_kind(
        &self,
        target: &str,
        kind: &model::KindInfo,
    ) -> Result<Vec<String>, ApiError> {
        let prefix = use_key(target, &kind.prefix());
        let page = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
        let names = page.entries.iter().filter_map(|entry| entry.key.rsplit('/').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Refuses the deletion of an object that others need, and has the draft notice those that come meanwhile.
    pub(crate) async fn require_unused(
        &self,
        object: &dyn AnyObject,
        draft: &mut Draft,
    ) -> Result<(), ApiError> {
        let target = key_of(object);
        let guard = guard_key(&target);
        // The guard first: a use that the list below does not show changes it.
        let Some(entry) = self.look(&guard).await? else {
            draft.rely_on(guard, 0);
            return Ok(());
        };
        draft.rely_on(guard, entry.mod_revision);
        let page = self.inner.store.list(&uses_prefix(&target), ListOptions::default()).await;
        let mut users = Vec::new();
        for entry in &page.map_err(store_error)?.entries {
            if users.len() > NAMED_MAX {
                break;
            }
            if self.still_needs(&entry.value).await? {
                users.extend(Holder::of(&entry.value).map(|holder| holder.in_words(&target)));
            }
        }
        if users.is_empty() || self.is_emptying(&object.metadata().namespace).await? {
            return Ok(());
        }
        let more = if users.len() > NAMED_MAX { " and others" } else { "" };
        users.truncate(NAMED_MAX);
        let (singular, name) = (object.info().singular, &object.metadata().name);
        Err(ApiError::conflict(format!(
            "{singular} {name:?} is in use by {}{more}: delete or change {} first",
            users.join(", "),
            if users.len() > 1 || !more.is_empty() { "those" } else { "that" }
        )))
    }

    /// One that is on its way out and that nobody holds any longer needs nothing.
    async fn still_needs(&self, holder: &[u8]) -> Result<bool, ApiError> {
        let Ok(key) = std::str::from_utf8(holder) else { return Ok(false) };
        let Some(entry) = self.look(key).await? else { return Ok(false) };
        let leaving = Leaving::of(&entry);
        Ok(!leaving.is_deleting() || leaving.is_held())
    }

    /// A project that goes, and in which no instance is left: the rest may go in any order, so that objects that
    /// name each other cannot keep each other for ever.
    async fn is_emptying(&self, project: &str) -> Result<bool, ApiError> {
        use model::Resource;
        use model::compute::Instance;
        use model::identity::Project;
        let found = if project.is_empty() { None } else { self.read::<Project>("", project).await? };
        if !found.is_some_and(|project| project.metadata.is_deleting()) {
            return Ok(false);
        }
        let prefix = format!("{}{project}/", Instance::KIND.prefix());
        let options = ListOptions { limit: 1, ..ListOptions::default() };
        let page = self.inner.store.list(&prefix, options).await.map_err(store_error)?;
        Ok(page.entries.is_empty())
    }

    pub(crate) async fn look(&self, key: &str) -> Result<Option<Entry>, ApiError> {
        self.inner.store.get(key, None).await.map_err(store_error)
    }
}

fn move_uses(
    mut txn: Txn,
    holder: &str,
    old: Option<&dyn AnyObject>,
    new: Option<&dyn AnyObject>,
    guards: &mut BTreeSet<String>,
) -> Txn {
    let kept = |object: Option<&dyn AnyObject>| -> BTreeSet<String> {
        let references = object.map(AnyObject::references).unwrap_or_default();
        references.iter().filter(|r| r.hold == Hold::Kept).map(Reference::key).collect()
    };
    let (before, after) = (kept(old), kept(new));
    for target in before.difference(&after) {
        txn = txn.delete(use_key(target, holder));
    }
    for target in after.difference(&before) {
        txn = txn.put(use_key(target, holder), holder.to_owned());
        guards.insert(guard_key(target));
    }
    txn
}

fn taken(object: Option<&dyn AnyObject>, claim: &Claim, why: &str) -> ApiError {
    let name = object.map(|o| format!("{} {:?}", o.info().kind, o.metadata().name)).unwrap_or_default();
    let message = format!("{} {why}", claim.what);
    ApiError {
        reason: Reason::Invalid,
        message: format!("{name} is invalid: {}: {message}", claim.field),
        causes: vec![Cause { reason: "FieldValueInvalid".into(), message, field: claim.field.clone() }],
    }
}

fn held_by(entry: &Entry, asker: &str) -> String {
    match Holder::of(&entry.value) {
        Some(holder) => {
            format!("is held by {}; choose another, or change or delete that first", holder.in_words(asker))
        }
        None => "is held by another; choose another".into(),
    }
}

/// An object, by its store key.
struct Holder<'a> {
    kind: &'static KindEntry,
    project: &'a str,
    name: &'a str,
}

impl<'a> Holder<'a> {
    fn of(key: &'a [u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let mut parts = key.strip_prefix('/')?.split('/');
        let resource = parts.next()?;
        let kind = model::kinds().iter().find(|kind| kind.info.is_resource(resource))?;
        let project = if kind.info.is_project_scoped() { parts.next()? } else { "" };
        Some(Self { kind, project, name: parts.next()? })
    }

    /// For whoever stands at another key. What others have in their projects is nobody's business.
    fn in_words(&self, reader: &str) -> String {
        let own = Holder::of(reader.as_bytes()).map_or("", |reader| reader.project);
        if own == self.project || self.project.is_empty() || own.is_empty() {
            let place = if own.is_empty() && !self.project.is_empty() {
                format!(" of project {:?}", self.project)
            } else {
                String::new()
            };
            return format!("{} {:?}{place}", self.kind.info.singular, self.name);
        }
        format!("a {} of another project", self.kind.info.singular)
    }
}

/// Whether a stored object is on its way out, without reading the rest of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Leaving {
    metadata: LeavingMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeavingMetadata {
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    finalizers: Vec<String>,
}

impl Leaving {
    fn of(entry: &Entry) -> Self {
        serde_json::from_slice(&entry.value).unwrap_or_default()
    }

    fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn is_held(&self) -> bool {
        self.metadata.finalizers.iter().any(|f| !WAITING.contains(&f.as_str()))
    }
}
