//! Attributes: what one request wants to do to what, as the authorizer sees it.

use std::fmt;

use model::{KindInfo, Scope};

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    /// A subresource's own verb, such as `exec`.
    Custom(&'static str),
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Custom(verb) => verb,
        }
    }

    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One request, as rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    pub verb: Verb,
    pub group: &'a str,
    /// The kind's plural name.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// None for cloud-wide kinds, and for a list or watch over all projects.
    pub project: Option<&'a str>,
    /// None for requests to a collection. For a creation the new object's name, when the client gives one; for a
    /// list or watch that a field selector limits to one name, that name. Without a name a rule that allows by
    /// name does not allow, and one that denies by name denies.
    pub name: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub fn new(verb: Verb, info: &KindInfo, project: Option<&'a str>, name: Option<&'a str>) -> Self {
        Self { verb, group: info.group, resource: info.plural, subresource: "", project, name }
    }

    #[must_use]
    pub fn on(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }

    /// The kind's scope; things that are no kind of the model are taken to live in projects.
    pub(crate) fn scope(&self) -> Scope {
        model::kind_by_resource(self.group, self.resource).map_or(Scope::Project, |kind| kind.info.scope)
    }
}

impl fmt::Display for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = self.name {
            write!(f, " {name:?}")?;
        }
        match (self.project, self.scope()) {
            (Some(project), Scope::Project) => write!(f, " in project {project:?}"),
            (None, Scope::Project) => f.write_str(" in all projects"),
            (_, Scope::Cloud) => Ok(()),
        }
    }
}
