//! One compiled rule of a role: does it match a request, does it cover or overlap what another rule speaks of.

use model::identity::{Effect, RoleSpec, Rule};

use crate::Attributes;

/// Subresources that belong to controllers, the scheduler and agents: `instances/*` does not reach them, only `*`
/// or their own names do.
const INTERNAL: [&str; 3] = ["status", "binding", "release"];

/// A role's rules, apart by effect.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) allows: Vec<CompiledRule>,
    pub(crate) denies: Vec<CompiledRule>,
}

impl Rules {
    pub(crate) fn compile(role: &RoleSpec) -> Self {
        let mut rules = Self::default();
        for rule in &role.rules {
            let list = match rule.effect {
                Effect::Allow => &mut rules.allows,
                Effect::Deny => &mut rules.denies,
            };
            list.push(CompiledRule::compile(rule));
        }
        rules
    }
}

#[derive(Debug)]
pub(crate) struct CompiledRule {
    verbs: Words,
    groups: Words,
    resources: Vec<Resources>,
    names: Words,
}

/// The smallest thing a rule speaks of: one verb (or all) on one pattern. Rules are compared atom by atom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Atom<'a> {
    pub(crate) verb: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
    pub(crate) resources: &'a Resources,
    pub(crate) name: Option<&'a str>,
}

impl CompiledRule {
    fn compile(rule: &Rule) -> Self {
        Self {
            verbs: Words::these(&rule.verbs),
            groups: Words::all_when_empty(&rule.groups),
            resources: rule.resources.iter().map(|text| Resources::parse(text)).collect(),
            names: Words::all_when_empty(&rule.names),
        }
    }

    /// Whether the rule speaks of the request. An allow must know every object the request reaches, so names
    /// never match a collection.
    pub(crate) fn allows(&self, request: &Attributes<'_>) -> bool {
        self.speaks_of(request) && self.names.has(request.name)
    }

    /// Whether a deny forbids the request. A deny must not be got around, so names match whatever request does
    /// not say its own: the named object may be what it reaches or makes.
    pub(crate) fn denies(&self, request: &Attributes<'_>) -> bool {
        self.speaks_of(request) && (request.name.is_none() || self.names.has(request.name))
    }

    fn speaks_of(&self, request: &Attributes<'_>) -> bool {
        self.verbs.has(Some(request.verb.as_str()))
            && self.resources.iter().any(|r| r.matches(request.resource, request.subresource))
            && self.groups.has(Some(request.group))
    }

    pub(crate) fn atoms(&self) -> impl Iterator<Item = Atom<'_>> {
        self.verbs.each().flat_map(move |verb| {
            self.groups.each().flat_map(move |group| {
                self.resources.iter().flat_map(move |resources| {
                    self.names.each().map(move |name| Atom { verb, group, resources, name })
                })
            })
        })
    }

    pub(crate) fn covers(&self, atom: &Atom<'_>) -> bool {
        self.verbs.has(atom.verb)
            && self.groups.has(atom.group)
            && self.names.has(atom.name)
            && self.resources.iter().any(|r| r.covers(atom.resources))
    }

    pub(crate) fn overlaps(&self, atom: &Atom<'_>) -> bool {
        self.verbs.touches(atom.verb)
            && self.groups.touches(atom.group)
            && self.names.touches(atom.name)
            && self.resources.iter().any(|r| r.overlaps(atom.resources))
    }
}

impl std::fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.unwrap_or("*"), self.resources)?;
        match self.group {
            None | Some("") => {}
            Some(group) => write!(f, " of {group}")?,
        }
        self.name.map_or(Ok(()), |name| write!(f, " {name:?}"))
    }
}

/// A set of words, or all words.
#[derive(Debug)]
enum Words {
    All,
    These(Vec<String>),
}

impl Words {
    fn these(words: &[String]) -> Self {
        if words.iter().any(|w| w == "*") { Self::All } else { Self::These(words.to_vec()) }
    }

    fn all_when_empty(words: &[String]) -> Self {
        if words.is_empty() { Self::All } else { Self::these(words) }
    }

    /// None stands for all words: only all words have that.
    fn has(&self, word: Option<&str>) -> bool {
        match (self, word) {
            (Self::All, _) => true,
            (Self::These(_), None) => false,
            (Self::These(words), Some(word)) => words.iter().any(|w| w == word),
        }
    }

    fn touches(&self, word: Option<&str>) -> bool {
        match (self, word) {
            (Self::These(words), None) => !words.is_empty(),
            _ => self.has(word),
        }
    }

    fn each(&self) -> impl Iterator<Item = Option<&str>> {
        let (all, words): (Option<Option<&str>>, &[String]) = match self {
            Self::All => (Some(None), &[]),
            Self::These(words) => (None, words),
        };
        all.into_iter().chain(words.iter().map(|w| Some(w.as_str())))
    }
}

/// The resources a rule speaks of: `*`, `instances`, `instances/console`, `instances/*`, `*/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resources {
    /// Everything, with all subresources.
    Everything,
    /// One kind, or all (None), and which part of it.
    Of { resource: Option<String>, part: Part },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object itself.
    Itself,
    /// Every subresource but the internal ones.
    AnySubresource,
    Subresource(String),
}

impl Resources {
    pub(crate) fn parse(text: &str) -> Self {
        if text == "*" {
            return Self::Everything;
        }
        let (resource, part) = match text.split_once('/') {
            None => (text, Part::Itself),
            Some((resource, "*")) => (resource, Part::AnySubresource),
            Some((resource, sub)) => (resource, Part::Subresource(sub.into())),
        };
        Self::Of { resource: (resource != "*").then(|| resource.into()), part }
    }

    fn matches(&self, wanted: &str, subresource: &str) -> bool {
        let Self::Of { resource, part } = self else { return true };
        resource.as_ref().is_none_or(|r| r == wanted) && part.has(subresource)
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (_, Self::Everything) => false,
            (Self::Of { resource, part }, Self::Of { resource: other, part: wanted }) => {
                (resource.is_none() || resource == other) && part.covers(wanted)
            }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => true,
            (Self::Of { resource: a, part }, Self::Of { resource: b, part: other }) => {
                (a.is_none() || b.is_none() || a == b) && (part.covers(other) || other.covers(part))
            }
        }
    }
}

impl Part {
    fn has(&self, subresource: &str) -> bool {
        match self {
            Self::Itself => subresource.is_empty(),
            Self::AnySubresource => !subresource.is_empty() && !INTERNAL.contains(&subresource),
            Self::Subresource(sub) => sub == subresource,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Itself => *self == Self::Itself,
            Self::AnySubresource => *self == Self::AnySubresource,
            Self::Subresource(sub) => self.has(sub),
        }
    }
}

impl std::fmt::Display for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Of { resource, part } = self else { return f.write_str("*") };
        f.write_str(resource.as_deref().unwrap_or("*"))?;
        match part {
            Part::Itself => Ok(()),
            Part::AnySubresource => f.write_str("/*"),
            Part::Subresource(sub) => write!(f, "/{sub}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, resource: &str, sub: &str, expected: bool| {
            let parsed = Resources::parse(pattern);
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(parsed.matches(resource, sub), expected, "{pattern} on {resource}/{sub}");
        };
        check("*", "instances", "status", true);
        check("instances", "instances", "", true);
        check("instances", "instances", "console", false);
        check("instances/console", "instances", "console", true);
        check("instances/console", "instances", "", false);
        check("instances/*", "instances", "console", true);
        check("instances/*", "instances", "", false);
        check("instances/*", "instances", "status", false);
        check("instances/*", "instances", "binding", false);
        check("instances/*", "instances", "release", false);
        check("instances/release", "instances", "release", true);
        check("*/status", "hosts", "status", true);
        check("*/status", "hosts", "", false);
        check("images", "instances", "", false);
    }

    #[test]
    fn covering_is_stricter_than_overlapping() {
        let check = |a: &str, b: &str, covers: bool, overlaps: bool| {
            let (x, y) = (Resources::parse(a), Resources::parse(b));
            assert_eq!(
                (x.covers(&y), x.overlaps(&y), y.overlaps(&x)),
                (covers, overlaps, overlaps),
                "{a} {b}"
            );
        };
        check("*", "instances", true, true);
        check("instances", "*", false, true);
        check("instances/*", "instances/exec", true, true);
        check("instances/exec", "instances/*", false, true);
        check("instances/*", "instances/status", false, false);
        check("instances", "instances/exec", false, false);
        check("*/exec", "instances/exec", true, true);
        check("*/exec", "instances/*", false, true);
        check("images", "instances", false, false);
    }
}
