//! Who there is in IAM, and what holds for each: follows the objects one by one.

use std::collections::HashMap;
use std::sync::Arc;

use model::identity::{Grants, IamGroup, IamPolicy, IamRole, IamUser};
use model::{ObjectMeta, Timestamp};

use super::condition::Facts;
use super::decide::{Named, Permissions};
use super::document::Document;
use super::managed::managed;
use super::session::{Session, SessionOf};

/// Who signed, in IAM's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    pub name: String,
    pub path: String,
    /// The object's uid, of which the ids are made.
    pub uid: String,
    pub permissions: Permissions,
    /// When temporary credentials were given.
    pub issued: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorKind {
    User,
    Role { session: String },
}

/// Everyone in IAM, in all projects.
#[derive(Debug, Default)]
pub struct Directory {
    users: Table<Entity>,
    groups: Table<Entity>,
    roles: Table<Entity>,
    policies: Table<Arc<Document>>,
}

#[derive(Debug)]
struct Entity {
    meta: (String, String),
    name: String,
    path: String,
    groups: Vec<String>,
    inline: Vec<Named>,
    attached: Vec<String>,
    boundary: String,
    /// Who may take it, of a role.
    trust: Option<Document>,
}

/// By project and by name in lower case; and where an object stands, by project and its own name.
#[derive(Debug)]
struct Table<T> {
    by_name: HashMap<(String, String), T>,
    objects: HashMap<(String, String), String>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), objects: HashMap::new() }
    }
}

impl<T> Table<T> {
    fn put(&mut self, meta: &ObjectMeta, name: &str, value: T) {
        self.remove(&meta.namespace, &meta.name);
        let name = name.to_ascii_lowercase();
        self.objects.insert((meta.namespace.clone(), meta.name.clone()), name.clone());
        self.by_name.insert((meta.namespace.clone(), name), value);
    }

    fn remove(&mut self, project: &str, object: &str) {
        if let Some(name) = self.objects.remove(&(project.to_owned(), object.to_owned())) {
            self.by_name.remove(&(project.to_owned(), name));
        }
    }

    fn get(&self, project: &str, name: &str) -> Option<&T> {
        self.by_name.get(&(project.to_owned(), name.to_ascii_lowercase()))
    }
}

impl Entity {
    fn of(meta: &ObjectMeta, name: &str, path: &str, grants: &Grants, boundary: &str) -> Self {
        let inline = grants.policies.iter().map(|(name, text)| (name.clone(), document(text))).collect();
        Self {
            meta: (meta.namespace.clone(), meta.uid.to_string()),
            name: name.to_owned(),
            path: path.to_owned(),
            groups: Vec::new(),
            inline,
            attached: grants.attached.clone(),
            boundary: boundary.to_owned(),
            trust: None,
        }
    }
}

fn document(text: &str) -> Arc<Document> {
    Arc::new(Document::policy(text).unwrap_or_else(|_| Document::refusing()))
}

impl Directory {
    pub fn upsert_user(&mut self, user: &IamUser) {
        let spec = &user.spec;
        let mut entity = Entity::of(&user.metadata, &spec.name, &spec.path, &spec.grants, &spec.boundary);
        entity.groups.clone_from(&spec.groups);
        self.users.put(&user.metadata, &spec.name, entity);
    }

    pub fn upsert_group(&mut self, group: &IamGroup) {
        let spec = &group.spec;
        let entity = Entity::of(&group.metadata, &spec.name, &spec.path, &spec.grants, "");
        self.groups.put(&group.metadata, &spec.name, entity);
    }

    pub fn upsert_role(&mut self, role: &IamRole) {
        let spec = &role.spec;
        let mut entity = Entity::of(&role.metadata, &spec.name, &spec.path, &spec.grants, &spec.boundary);
        entity.trust = Document::trust(&spec.trust).ok();
        self.roles.put(&role.metadata, &spec.name, entity);
    }

    pub fn upsert_policy(&mut self, policy: &IamPolicy) {
        let read = policy.spec.document().map_or_else(|| Arc::new(Document::refusing()), document);
        self.policies.put(&policy.metadata, &policy.spec.name, read);
    }

    /// Forgets an object of a kind, by the kind's plural.
    pub fn remove(&mut self, plural: &str, project: &str, object: &str) {
        match plural {
            "iamusers" => self.users.remove(project, object),
            "iamgroups" => self.groups.remove(project, object),
            "iamroles" => self.roles.remove(project, object),
            "iampolicies" => self.policies.remove(project, object),
            _ => {}
        }
    }

    /// A user who signs with a key of his own.
    pub fn user(&self, project: &str, name: &str) -> Option<Actor> {
        let user = self.users.get(project, name)?;
        let mut permissions = self.permissions(user);
        for group in user.groups.iter().filter_map(|name| self.groups.get(project, name)) {
            permissions.own.extend(self.permissions(group).own);
        }
        Some(actor(user, ActorKind::User, permissions, None))
    }

    /// A role, as a session of this name would have it.
    pub fn role(&self, project: &str, name: &str, session: &str) -> Option<Actor> {
        let role = self.roles.get(project, name)?;
        Some(actor(role, ActorKind::Role { session: session.to_owned() }, self.permissions(role), None))
    }

    /// Whether a role lets one of these principals, each with its type, take it.
    pub fn trusts(&self, project: &str, role: &str, principals: &[(&str, &str)], facts: &Facts) -> bool {
        let trust = self.roles.get(project, role).and_then(|role| role.trust.as_ref());
        trust.is_some_and(|trust| trust.trusts(principals, "sts:AssumeRole", facts))
    }

    /// The one behind temporary credentials; none for a user of Corten.
    pub fn of_session(&self, session: &Session) -> Option<Actor> {
        let mut actor = match &session.who {
            SessionOf::Corten { .. } => return None,
            SessionOf::IamUser { name } => self.user(&session.project, name)?,
            SessionOf::Role { name, session: own } => self.role(&session.project, name, own)?,
        };
        actor.issued = Some(Timestamp(session.issued));
        if !session.policies.is_empty() {
            let bound = session.policies.iter().map(|text| ("session policy".to_owned(), document(text)));
            actor.permissions.bounds.push(bound.collect());
        }
        Some(actor)
    }

    fn permissions(&self, entity: &Entity) -> Permissions {
        let project = &entity.meta.0;
        let mut own = entity.inline.clone();
        own.extend(entity.attached.iter().filter_map(|arn| self.attached(project, arn)));
        let bounds = if entity.boundary.is_empty() {
            Vec::new()
        } else {
            // A boundary that is not there lets nothing through.
            vec![self.attached(project, &entity.boundary).into_iter().collect()]
        };
        Permissions { own, bounds }
    }

    /// A policy by its ARN: one of those that are everywhere, or one of the project's.
    fn attached(&self, project: &str, arn: &str) -> Option<Named> {
        let text = match managed(arn) {
            Some(managed) => document(managed.document),
            None => Arc::clone(self.policies.get(project, arn.rsplit('/').next()?)?),
        };
        Some((arn.to_owned(), text))
    }
}

fn actor(entity: &Entity, kind: ActorKind, permissions: Permissions, issued: Option<Timestamp>) -> Actor {
    Actor {
        kind,
        name: entity.name.clone(),
        path: entity.path.clone(),
        uid: entity.meta.1.clone(),
        permissions,
        issued,
    }
}
