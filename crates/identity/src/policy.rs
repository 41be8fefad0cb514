//! Policy: roles and bindings, compiled and indexed by subject, and the decision over one request. Follows the
//! store object by object; a decision looks only at the caller's own bindings in the request's project.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use model::Scope;
use model::identity::{Role, RoleBinding, SubjectKind};

use crate::rule::{CompiledRule, Rules};
use crate::{Attributes, Principal, builtin};

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow {
        by: Ground,
    },
    /// `why` is a sentence for the caller, with the remedy.
    Deny {
        why: String,
    },
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// What an allowed request rests on, for the audit line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// A built-in rule: `component`, `everyone`, or a built-in group's name.
    BuiltIn(&'static str),
    Binding {
        binding: Arc<str>,
        role: Arc<str>,
    },
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(rule) => write!(f, "built-in rule {rule}"),
            Self::Binding { binding, role } => write!(f, "role binding {binding} (role {role})"),
        }
    }
}

/// The projects in which a caller holds any right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisibleProjects {
    All,
    These(BTreeSet<String>),
}

/// All roles and bindings of the cloud.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<String, Rules>,
    bindings: HashMap<String, Arc<Binding>>,
    users: HashMap<String, Places>,
    groups: HashMap<String, Places>,
}

#[derive(Debug)]
struct Binding {
    name: Arc<str>,
    role: Arc<str>,
    subjects: Vec<(SubjectKind, String)>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Everywhere,
    Projects(BTreeSet<String>),
}

/// One subject's bindings, by where they hold.
#[derive(Debug, Default)]
struct Places {
    everywhere: Vec<Arc<Binding>>,
    projects: HashMap<String, Vec<Arc<Binding>>>,
}

impl Policy {
    pub fn upsert_role(&mut self, role: &Role) {
        self.roles.insert(role.metadata.name.clone(), Rules::compile(&role.spec));
    }

    /// Bindings of a role that is gone grant and deny nothing.
    pub fn remove_role(&mut self, name: &str) {
        self.roles.remove(name);
    }

    pub fn upsert_binding(&mut self, binding: &RoleBinding) {
        self.remove_binding(&binding.metadata.name);
        let binding = Arc::new(Binding::new(binding));
        for (kind, subject) in &binding.subjects {
            self.places_mut(*kind).entry(subject.clone()).or_default().insert(&binding);
        }
        self.bindings.insert(binding.name.to_string(), binding);
    }

    pub fn remove_binding(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else { return };
        for (kind, subject) in &binding.subjects {
            let index = self.places_mut(*kind);
            if let Some(places) = index.get_mut(subject) {
                places.remove(&binding);
                if places.is_empty() {
                    index.remove(subject);
                }
            }
        }
    }

    /// Decides. Deny wins over allow, except over the cloud's own components; what no rule allows is denied.
    ///
    /// A binding for listed projects says nothing about cloud-wide kinds, and a list or watch over all projects
    /// needs a binding that holds everywhere, and is refused when any binding of the caller denies it in any
    /// project.
    pub fn decide(&self, principal: &Principal, request: &Attributes<'_>) -> Decision {
        if principal.is_component() {
            return Decision::Allow { by: Ground::BuiltIn("component") };
        }
        let project = if request.scope() == Scope::Cloud { None } else { request.project };
        let reach = match (request.scope(), project) {
            (Scope::Project, None) => Reach::AllProjects,
            (_, project) => Reach::In(project),
        };
        let denying = |rule: &CompiledRule| rule.denies(request);
        if let Some(binding) = self.find(principal, reach, |rules| rules.denies.iter().any(denying)) {
            return Decision::Deny { why: denied(principal, request, binding) };
        }
        if let Some(rule) = builtin::allows(principal, request, |project| self.sees(principal, project)) {
            return Decision::Allow { by: Ground::BuiltIn(rule) };
        }
        let allowing = |rule: &CompiledRule| rule.allows(request);
        match self.find(principal, Reach::In(project), |rules| rules.allows.iter().any(allowing)) {
            Some(Binding { name, role, .. }) => {
                Decision::Allow { by: Ground::Binding { binding: name.clone(), role: role.clone() } }
            }
            None => Decision::Deny {
                why: format!(
                    "user {:?} may not {request}: no role binding allows it; ask an administrator for one",
                    principal.user
                ),
            },
        }
    }

    /// The projects whose `Project` objects the caller may see.
    pub fn visible_projects(&self, principal: &Principal) -> VisibleProjects {
        if principal.is_component() || principal.is_admin() {
            return VisibleProjects::All;
        }
        let mut seen = BTreeSet::new();
        for places in self.places_of(principal) {
            if places.everywhere.iter().any(|b| self.grants_anything(b)) {
                return VisibleProjects::All;
            }
            for (project, bindings) in &places.projects {
                if bindings.iter().any(|b| self.grants_anything(b)) {
                    seen.insert(project.clone());
                }
            }
        }
        VisibleProjects::These(seen)
    }

    fn sees(&self, principal: &Principal, project: &str) -> bool {
        self.places_of(principal)
            .flat_map(|places| places.reached(Reach::In(Some(project))))
            .any(|binding| self.grants_anything(binding))
    }

    fn grants_anything(&self, binding: &Binding) -> bool {
        self.roles.get(&*binding.role).is_some_and(|rules| !rules.allows.is_empty())
    }

    /// The caller's rules within `reach`, each with its binding's role name resolved.
    pub(crate) fn rules_of<'a>(
        &'a self,
        principal: &'a Principal,
        reach: Reach<'a>,
    ) -> impl Iterator<Item = &'a Rules> {
        self.places_of(principal)
            .flat_map(move |places| places.reached(reach))
            .filter_map(|binding| self.roles.get(&*binding.role))
    }

    /// Role and projects of every binding of a subject; `*` where it holds everywhere.
    pub(crate) fn bound_to<'a>(
        &'a self,
        kind: SubjectKind,
        name: &str,
    ) -> impl Iterator<Item = (&'a Rules, Vec<String>)> {
        let places = match kind {
            SubjectKind::User => self.users.get(name),
            SubjectKind::Group => self.groups.get(name),
        };
        let bindings = places.into_iter().flat_map(|places| places.reached(Reach::AllProjects));
        bindings.filter_map(|binding| {
            let projects = match &binding.place {
                Place::Everywhere => vec!["*".to_string()],
                Place::Projects(projects) => projects.iter().cloned().collect(),
            };
            Some((self.roles.get(&*binding.role)?, projects))
        })
    }

    fn find<'a>(
        &'a self,
        principal: &'a Principal,
        reach: Reach<'a>,
        wanted: impl Fn(&Rules) -> bool,
    ) -> Option<&'a Binding> {
        self.places_of(principal)
            .flat_map(move |places| places.reached(reach))
            .find(|binding| self.roles.get(&*binding.role).is_some_and(&wanted))
    }

    fn places_of<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = &'a Places> {
        let groups = principal.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&principal.user).into_iter().chain(groups)
    }

    fn places_mut(&mut self, kind: SubjectKind) -> &mut HashMap<String, Places> {
        match kind {
            SubjectKind::User => &mut self.users,
            SubjectKind::Group => &mut self.groups,
        }
    }
}

fn denied(principal: &Principal, request: &Attributes<'_>, binding: &Binding) -> String {
    let hint = if request.name.is_none() { ", perhaps only for some names; give one" } else { "" };
    format!(
        "user {:?} may not {request}: role binding {:?} (role {:?}) denies it{hint}",
        principal.user, binding.name, binding.role
    )
}

/// Which bindings count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// Those that hold everywhere, and those of this project.
    In(Option<&'a str>),
    /// All of them, in whatever project.
    AllProjects,
}

impl Binding {
    fn new(object: &RoleBinding) -> Self {
        let spec = &object.spec;
        let place = if spec.projects.iter().any(|project| project == "*") {
            Place::Everywhere
        } else {
            Place::Projects(spec.projects.iter().cloned().collect())
        };
        let mut subjects: Vec<_> = spec.subjects.iter().map(|s| (s.kind, s.name.clone())).collect();
        subjects.sort_unstable_by(|a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)));
        subjects.dedup();
        Self { name: object.metadata.name.as_str().into(), role: spec.role.as_str().into(), subjects, place }
    }
}

impl Places {
    fn insert(&mut self, binding: &Arc<Binding>) {
        match &binding.place {
            Place::Everywhere => self.everywhere.push(binding.clone()),
            Place::Projects(projects) => {
                for project in projects {
                    self.projects.entry(project.clone()).or_default().push(binding.clone());
                }
            }
        }
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        match &binding.place {
            Place::Everywhere => self.everywhere.retain(|b| !Arc::ptr_eq(b, binding)),
            Place::Projects(projects) => {
                for project in projects {
                    if let Some(bindings) = self.projects.get_mut(project) {
                        bindings.retain(|b| !Arc::ptr_eq(b, binding));
                        if bindings.is_empty() {
                            self.projects.remove(project);
                        }
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.projects.is_empty()
    }

    fn reached<'a>(&'a self, reach: Reach<'a>) -> impl Iterator<Item = &'a Binding> {
        let (one, all) = match reach {
            Reach::In(project) => (project.and_then(|p| self.projects.get(p)), None),
            Reach::AllProjects => (None, Some(self.projects.values().flatten())),
        };
        let in_projects = one.into_iter().flatten().chain(all.into_iter().flatten());
        self.everywhere.iter().chain(in_projects).map(|binding| &**binding)
    }
}
