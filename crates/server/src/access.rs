//! Who may do what, as the store has it now: follows users, keys, roles and bindings, and answers from memory.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use identity::aws::{Message, SignatureError};
use identity::{Attributes, Authenticator, Decision, Holder, Policy, Principal, Signer, Token};
use model::identity::{AccessKey, IamGroup, IamPolicy, IamRole, IamUser, Role, RoleBinding, User};
use model::{ApiError, KindInfo, Reason, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use signal::Signal;
use store::{Entry, ListOptions, Revision, Store, StoreError};

use crate::environment::Environment;
use crate::iam::LastUsed;
use crate::server::store_error;

/// The store prefix of everything that decides about access.
const PREFIXES: [KindInfo; 8] = [
    User::KIND,
    AccessKey::KIND,
    Role::KIND,
    RoleBinding::KIND,
    IamUser::KIND,
    IamGroup::KIND,
    IamRole::KIND,
    IamPolicy::KIND,
];

/// How exactly it is known when a key last signed, in milliseconds. It is told by the second.
const USE_MS: i64 = 1000;

/// How far the store has been followed; nothing when it is followed no longer, and nobody needs to wait.
type Seen = Signal<Option<Revision>>;

struct Tables {
    authenticator: Authenticator,
    policy: Policy,
}

/// The current rules. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access {
    tables: Arc<RwLock<Tables>>,
    environment: Arc<dyn Environment>,
    /// Per prefix, how far the store has been followed.
    seen: [Arc<Seen>; 8],
    /// By key, for people; kept as long as the server runs.
    used: Arc<RwLock<HashMap<String, LastUsed>>>,
}

impl Access {
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, ApiError> {
        let authenticator = Authenticator::new(environment.master_key());
        let tables = Arc::new(RwLock::new(Tables { authenticator, policy: Policy::default() }));
        let mut seen = Vec::new();
        for info in PREFIXES {
            let from = load(&*store, &info, &tables).await?;
            let here = Arc::new(Seen::new(Some(from)));
            let (store, tables, seen_here) = (Arc::clone(&store), Arc::clone(&tables), Arc::downgrade(&here));
            tokio::spawn(async move {
                follow(&*store, &info, from, &tables, &seen_here).await;
                if let Some(seen) = seen_here.upgrade() {
                    seen.set(None);
                }
            });
            seen.push(here);
        }
        let seen = seen.try_into().map_err(|_| ApiError::internal("one signal per prefix"))?;
        Ok(Self { tables, environment, seen, used: Arc::default() })
    }

    pub(crate) fn decide(&self, caller: &Principal, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        match self.tables.read().policy.decide(caller, attributes) {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { why } => Err(ApiError::new(Reason::Forbidden, why)),
        }
    }

    pub(crate) fn authenticate(&self, token: &str) -> Result<Principal, ApiError> {
        self.tables
            .read()
            .authenticator
            .authenticate(&Token::presented(token), self.environment.now())
            .map_err(|e| ApiError::new(Reason::Unauthorized, e.to_string()))
    }

    /// Who signed a request as AWS's clients do.
    pub(crate) fn verify(
        &self,
        message: &Message<'_>,
        regions: impl Fn(&str, &str) -> bool,
    ) -> Result<Signer, SignatureError> {
        let now = self.environment.now();
        let signer = self.tables.read().authenticator.verify(message, regions, now)?;
        // Temporary credentials are too many to remember, and nobody asks.
        if signer.expires.is_none() {
            self.note_use(&signer.access_key_id, &signer.service, &signer.region);
        }
        Ok(signer)
    }

    /// Written down at most once in [`USE_MS`], so that calls do not wait for each other here.
    pub(crate) fn note_use(&self, key: &str, service: &str, region: &str) {
        let now = self.environment.now();
        let is_noted = |used: &LastUsed| {
            used.service == service && used.region == region && (0..USE_MS).contains(&(now.0 - used.at.0))
        };
        if self.used.read().get(key).is_some_and(is_noted) {
            return;
        }
        let used = LastUsed { at: now, service: service.to_owned(), region: region.to_owned() };
        self.used.write().insert(key.to_owned(), used);
    }

    pub(crate) fn last_used(&self, key: &str) -> Option<LastUsed> {
        self.used.read().get(key).cloned()
    }

    pub(crate) fn with_iam<T>(&self, ask: impl FnOnce(&identity::iam::Directory) -> T) -> T {
        ask(self.tables.read().authenticator.iam())
    }

    /// Whose a signing key is.
    pub(crate) fn holder(&self, access_key_id: &str, token: Option<&str>) -> Option<Holder> {
        self.tables.read().authenticator.holder(access_key_id, token, self.environment.now())
    }

    /// Runs a check against the current policy.
    pub(crate) fn with_policy<T>(&self, check: impl FnOnce(&Policy) -> T) -> T {
        check(&self.tables.read().policy)
    }

    /// Waits until a change of this kind at `revision` counts, so that a token works as soon as its creation
    /// was answered.
    pub(crate) async fn follow(&self, info: &KindInfo, revision: Revision) {
        let Some(at) = PREFIXES.iter().position(|p| p.plural == info.plural && p.group == info.group) else {
            return;
        };
        self.seen[at].until(|seen| seen.is_none_or(|seen| seen >= revision)).await;
    }
}

async fn load(store: &dyn Store, info: &KindInfo, tables: &RwLock<Tables>) -> Result<Revision, ApiError> {
    let page = store.list(&info.prefix(), ListOptions::default()).await.map_err(store_error)?;
    let mut tables = tables.write();
    for entry in &page.entries {
        tables.apply(info, &entry.key, Some(entry));
    }
    Ok(page.revision)
}

/// Follows one prefix until the store fails or nobody asks any more.
async fn follow(
    store: &dyn Store,
    info: &KindInfo,
    from: Revision,
    tables: &RwLock<Tables>,
    seen: &Weak<Seen>,
) {
    let prefix = info.prefix();
    let mut watcher = store.watch(&prefix, from).await;
    loop {
        let batch = match &mut watcher {
            Ok(watcher) => watcher.next().await,
            Err(e) => Err(e.clone()),
        };
        match batch {
            Ok(batch) => {
                let mut tables = tables.write();
                for event in &batch.events {
                    tables.apply(info, &event.key, event.entry.as_ref());
                }
                drop(tables);
                let Some(seen) = seen.upgrade() else { return };
                seen.set(Some(batch.revision));
            }
            Err(StoreError::Compacted { .. }) => {
                // Too slow: start over from the present state. What was deleted meanwhile is only removed
                // together with everything else, so forget it all first.
                tables.write().forget(info);
                // What was forgotten with it is loaded with it.
                for other in PREFIXES.iter().filter(|other| other.plural != info.plural) {
                    if load(store, other, tables).await.is_err() {
                        return;
                    }
                }
                let Ok(from) = load(store, info, tables).await else { return };
                let Some(seen) = seen.upgrade() else { return };
                seen.set(Some(from));
                watcher = store.watch(&prefix, from).await;
            }
            Err(_) => return,
        }
    }
}

impl Tables {
    fn apply(&mut self, info: &KindInfo, key: &str, entry: Option<&Entry>) {
        let name = key.rsplit('/').next().unwrap_or(key);
        match info.plural {
            "users" => match entry.and_then(read::<User>) {
                Some(user) => self.authenticator.upsert_user(&user),
                None => self.authenticator.remove_user(name),
            },
            "accesskeys" => match entry.and_then(read::<AccessKey>) {
                Some(key) => self.authenticator.upsert_key(&key),
                None => self.authenticator.remove_key(name),
            },
            "roles" => match entry.and_then(read::<Role>) {
                Some(role) => self.policy.upsert_role(&role),
                None => self.policy.remove_role(name),
            },
            "iamusers" | "iamgroups" | "iamroles" | "iampolicies" => self.apply_iam(info, key, entry),
            _ => match entry.and_then(read::<RoleBinding>) {
                Some(binding) => self.policy.upsert_binding(&binding),
                None => self.policy.remove_binding(name),
            },
        }
    }

    fn apply_iam(&mut self, info: &KindInfo, key: &str, entry: Option<&Entry>) {
        let mut parts = key.rsplit('/');
        let (name, project) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let authenticator = &mut self.authenticator;
        let known = match info.plural {
            "iamusers" => entry.and_then(read::<IamUser>).map(|o| authenticator.upsert_iam_user(&o)),
            "iamgroups" => entry.and_then(read::<IamGroup>).map(|o| authenticator.iam_mut().upsert_group(&o)),
            "iamroles" => entry.and_then(read::<IamRole>).map(|o| authenticator.iam_mut().upsert_role(&o)),
            _ => entry.and_then(read::<IamPolicy>).map(|o| authenticator.iam_mut().upsert_policy(&o)),
        };
        match (known, info.plural) {
            (Some(()), _) => {}
            (None, "iamusers") => authenticator.remove_iam_user(project, name),
            (None, plural) => authenticator.iam_mut().remove(plural, project, name),
        }
    }

    /// Denies everyone what this kind granted, until it is loaded again.
    fn forget(&mut self, info: &KindInfo) {
        match info.plural {
            "users" | "accesskeys" | "iamusers" | "iamgroups" | "iamroles" | "iampolicies" => {
                self.authenticator = self.authenticator.emptied();
            }
            _ => self.policy = Policy::default(),
        }
    }
}

/// An unreadable object grants nothing.
fn read<R: DeserializeOwned>(entry: &Entry) -> Option<R> {
    serde_json::from_slice(&entry.value).ok()
}
