//! Words that name kinds and objects: `instances`, `image/tiny`, `web`.

use model::compute::Instance;
pub(crate) use model::entry_of as of;
use model::{KindEntry, Name, Resource};

use crate::failure::Failure;

/// One object that a command is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static KindEntry,
    pub(crate) name: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn new(kind: &'static KindEntry, name: &'a str) -> Result<Self, Failure> {
        Name::new(name).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Self { kind, name })
    }

    /// `KIND/NAME`, or the name of an instance.
    pub(crate) fn parse(word: &'a str) -> Result<Self, Failure> {
        match word.split_once('/') {
            Some((kind, name)) => Self::new(named(kind)?, name),
            None => Self::new(of::<Instance>(), word),
        }
    }

    pub(crate) fn parse_all(words: &'a [String]) -> Result<Vec<Self>, Failure> {
        words.iter().map(|word| Self::parse(word)).collect()
    }

    /// `instance.compute.corten.dev/web`: how results name objects, as kubectl does.
    pub(crate) fn full_name(&self) -> String {
        full_name(self.kind, self.name)
    }

    /// What to say beside "not found" when the words look like another command's.
    pub(crate) fn or_hint(&self, failure: Failure) -> Failure {
        let meant = model::kind_of(self.name).filter(|_| self.kind.info == Instance::KIND);
        match meant {
            Some(kind) if failure.exit == crate::failure::Exit::NotFound => {
                failure.hint(format!("to name objects of other kinds write {}/NAME", kind.info.singular))
            }
            _ => failure,
        }
    }
}

/// What `get` and `show` take: `KIND`, `KIND NAME...` or `KIND/NAME...`.
#[derive(Debug)]
pub(crate) enum Selection<'a> {
    All(Vec<&'static KindEntry>),
    Named(Vec<Target<'a>>),
}

impl<'a> Selection<'a> {
    pub(crate) fn parse(words: &'a [String]) -> Result<Self, Failure> {
        let [first, names @ ..] = words else {
            return Err(Failure::usage("name a kind").hint("`corten explain` lists them"));
        };
        if first.contains('/') {
            return Target::parse_all(words).map(Self::Named);
        }
        let kinds = first.split(',').map(named).collect::<Result<Vec<_>, _>>()?;
        match (kinds.as_slice(), names) {
            (_, []) => Ok(Self::All(kinds)),
            ([kind], names) => {
                names.iter().map(|name| Target::new(kind, name)).collect::<Result<_, _>>().map(Self::Named)
            }
            _ => Err(Failure::usage("names can follow one kind only")),
        }
    }
}

/// The kind a person means.
pub(crate) fn named(word: &str) -> Result<&'static KindEntry, Failure> {
    model::kind_of(word).ok_or_else(|| {
        Failure::usage(format!("there is no kind {word:?}")).hint("`corten explain` lists the kinds")
    })
}

pub(crate) fn full_name(kind: &KindEntry, name: &str) -> String {
    let info = &kind.info;
    if info.group.is_empty() {
        format!("{}/{name}", info.singular)
    } else {
        format!("{}.{}/{name}", info.singular, info.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_objects() {
        let check = |word: &str, expected: Option<&str>| {
            let found = Target::parse(word).map(|t| t.full_name());
            assert_eq!(found.ok().as_deref(), expected, "{word:?}");
        };
        check("web", Some("instance.compute.corten.dev/web"));
        check("vm/web", Some("instance.compute.corten.dev/web"));
        check("images/tiny", Some("image.compute.corten.dev/tiny"));
        check("instances.compute.corten.dev/web", Some("instance.compute.corten.dev/web"));
        check("ev/x", Some("event/x"));
        check("unicorn/x", None);
        check("image/../x", None);
        check("Upper", None);
        check("", None);
    }

    #[test]
    fn words_for_get() {
        let check = |words: &[&str], expected: &str| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let found = match Selection::parse(&words) {
                Ok(Selection::All(kinds)) => {
                    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.info.plural).collect();
                    format!("all {}", kinds.join(" "))
                }
                Ok(Selection::Named(targets)) => {
                    targets.iter().map(Target::full_name).collect::<Vec<_>>().join(" ")
                }
                Err(failure) => failure.message,
            };
            assert_eq!(found, expected, "{words:?}");
        };
        check(&["instances"], "all instances");
        check(&["hosts,images"], "all hosts images");
        check(&["image", "a", "b"], "image.compute.corten.dev/a image.compute.corten.dev/b");
        check(&["image/a", "b"], "image.compute.corten.dev/a instance.compute.corten.dev/b");
        check(&["hosts,images", "a"], "names can follow one kind only");
        check(&["unicorns"], "there is no kind \"unicorns\"");
        check(&[], "name a kind");
    }

    #[test]
    fn a_kind_in_place_of_a_name_gets_a_hint() {
        let missing = || Failure::not_found("instance \"image\" not found");
        let target = Target::parse("image").unwrap();
        assert!(target.or_hint(missing()).hint.unwrap().contains("image/NAME"));
        assert_eq!(Target::parse("web").unwrap().or_hint(missing()).hint, None);
    }
}
