//! What all Describe calls have in common: ids, filters, pages. Written once.

use std::borrow::Cow;

use crate::failure::Failure;
use crate::params::Params;
use crate::tags::Tags;
use crate::xml::Xml;

/// Smallest and largest page that a client may ask for, and what it gets unasked.
const PAGE_MIN: i64 = 1;
const PAGE_MAX: i64 = 1000;
/// Most values of one filter.
const FILTER_VALUES_MAX: usize = 200;

/// What a Describe call shows of one thing.
pub(crate) trait Item {
    /// Filters beside those of tags.
    const FILTERS: &'static [&'static str];

    fn id(&self) -> &str;
    /// Its place among the others, after which a page goes on: no two have the same.
    fn place(&self) -> &str {
        self.id()
    }
    fn tags(&self) -> Option<&Tags> {
        None
    }
    /// The value of one tag.
    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        self.tags()?.get(key).map(|value| Cow::Borrowed(value.as_str()))
    }
    /// What a filter compares: the values of this thing.
    fn facts(&self, filter: &str) -> Vec<String>;
    fn write(&self, x: &mut Xml);
}

/// How a Describe call names things: its parameter of ids, and what it says of one that is not there.
pub(crate) struct Ids {
    pub(crate) parameter: &'static str,
    pub(crate) none: fn(&str) -> Failure,
}

/// Those that were asked for, and how to go on.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// Picks by ids and filters, and cuts a page.
pub(crate) fn select<T: Item>(params: &Params, ids: &Ids, mut items: Vec<T>) -> Result<Page<T>, Failure> {
    let wanted = params.list(ids.parameter);
    if let Some(missing) = wanted.iter().find(|id| !items.iter().any(|item| item.id() == id.as_str())) {
        return Err((ids.none)(missing));
    }
    let filters = filters::<T>(params)?;
    items.retain(|item| {
        (wanted.is_empty() || wanted.iter().any(|id| id == item.id()))
            && filters.iter().all(|filter| filter.lets_through(item))
    });
    page(params, items, !wanted.is_empty())
}

/// The answer of most Describe calls: a list, and where it goes on.
pub(crate) fn answer<T: Item>(list: &str, page: &Page<T>) -> Xml {
    let mut x = Xml::new();
    x.list(list, &page.items, |x, item| item.write(x));
    x.given("nextToken", page.next.as_deref().unwrap_or(""));
    x
}

fn page<T: Item>(params: &Params, items: Vec<T>, has_ids: bool) -> Result<Page<T>, Failure> {
    let max = params.number("MaxResults")?;
    if max.is_some() && has_ids {
        let message = "The parameter MaxResults cannot be used together with ids";
        return Err(Failure::new("InvalidParameterCombination", message));
    }
    if let Some(max) = max.filter(|max| !(PAGE_MIN..=PAGE_MAX).contains(max)) {
        let message =
            format!("Value ({max}) for parameter maxResults is invalid: it must be 1 to {PAGE_MAX}");
        return Err(Failure::value(message));
    }
    let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let bad = || Failure::new("InvalidNextToken", "The token is not one that was given");
    let (items, next) = crate::page::page(items, T::place, params.get("NextToken"), max).ok_or_else(bad)?;
    Ok(Page { items, next })
}

struct Filter {
    name: String,
    values: Vec<Pattern>,
}

fn filters<T: Item>(params: &Params) -> Result<Vec<Filter>, Failure> {
    let entries = params.structs("Filter").into_iter();
    let filter = |entry: Params| {
        let name = entry.require("Name")?.to_owned();
        let values = entry.list("Value");
        if values.len() > FILTER_VALUES_MAX {
            let message = format!("The filter {name} has more than {FILTER_VALUES_MAX} values");
            return Err(Failure::new("FilterLimitExceeded", message));
        }
        let is_known = name.starts_with("tag:") || name == "tag-key" || T::FILTERS.contains(&name.as_str());
        if !is_known {
            return Err(Failure::value(format!("The filter '{name}' is invalid")));
        }
        Ok(Filter { name, values: values.iter().map(|value| Pattern::read(value)).collect() })
    };
    entries.map(filter).collect()
}

impl Filter {
    /// One of the filter's values is one of the thing's.
    fn lets_through<T: Item>(&self, item: &T) -> bool {
        let matches = |fact: &str| self.values.iter().any(|pattern| pattern.matches(fact));
        if let Some(key) = self.name.strip_prefix("tag:") {
            return item.tag(key).is_some_and(|value| matches(&value));
        }
        if self.name == "tag-key" {
            return item.tags().is_some_and(|tags| tags.keys().any(|key| matches(key)));
        }
        item.facts(&self.name).iter().any(|fact| matches(fact))
    }
}

/// What a filter's value stands for, read once for all that it is held against.
enum Pattern {
    /// Nothing in it has a meaning of its own.
    Plain(String),
    Parts(Vec<Part>),
}

impl Pattern {
    fn read(text: &str) -> Self {
        if text.contains(['*', '?', '\\']) { Self::Parts(parts(text)) } else { Self::Plain(text.to_owned()) }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Plain(plain) => plain == text,
            Self::Parts(parts) => parts_match(parts, text),
        }
    }
}

/// `*` stands for any text, `?` for one character, `\` takes both their meaning.
fn parts_match(pattern: &[Part], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Part::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Part::One) => (p, t) = (p + 1, t + 1),
            Some(Part::Just(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|part| matches!(part, Part::Any))
}

enum Part {
    Any,
    One,
    Just(char),
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Just(chars.next().unwrap_or('\\')),
            c => Part::Just(c),
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Thing(String, Tags);

    impl Item for Thing {
        const FILTERS: &'static [&'static str] = &["length"];

        fn id(&self) -> &str {
            &self.0
        }
        fn tags(&self) -> Option<&Tags> {
            Some(&self.1)
        }
        fn facts(&self, _: &str) -> Vec<String> {
            vec![self.0.len().to_string()]
        }
        fn write(&self, x: &mut Xml) {
            x.text("id", &self.0);
        }
    }

    fn things() -> Vec<Thing> {
        let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        vec![
            Thing("ccc".into(), tags(&[("Name", "web-1"), ("env", "a*b")])),
            Thing("a".into(), tags(&[("Name", "web-2")])),
            Thing("bb".into(), Tags::new()),
        ]
    }

    fn found(query: &str) -> Result<(Vec<String>, Option<String>), String> {
        let params = Params::parse(query.as_bytes(), &[]).map_err(|e| e.code.to_string())?;
        let ids = Ids { parameter: "Id", none: |id| Failure::new("None", id) };
        let page = select(&params, &ids, things()).map_err(|e| e.code.to_string())?;
        Ok((page.items.into_iter().map(|thing| thing.0).collect(), page.next))
    }

    #[test]
    fn ids_filters_and_pages() {
        let check = |query: &str, expected: &[&str]| {
            assert_eq!(found(query).expect(query).0, expected, "{query}");
        };
        check("", &["a", "bb", "ccc"]);
        check("Id.1=bb&Id.2=a", &["a", "bb"]);
        check("Filter.1.Name=length&Filter.1.Value.1=1&Filter.1.Value.2=3", &["a", "ccc"]);
        check("Filter.1.Name=tag:Name&Filter.1.Value.1=web-*", &["a", "ccc"]);
        check("Filter.1.Name=tag-key&Filter.1.Value.1=env", &["ccc"]);
        check("Filter.1.Name=tag:env&Filter.1.Value.1=a%5C*b", &["ccc"]);
        check("Filter.1.Name=tag-key&Filter.1.Value.1=*&Filter.2.Name=length&Filter.2.Value.1=1", &["a"]);
        check("Filter.1.Name=length", &[]);
        for (query, code) in [
            ("Id.1=x", "None"),
            ("Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue"),
            ("Filter.1.Value.1=red", "MissingParameter"),
            ("MaxResults=0", "InvalidParameterValue"),
            ("MaxResults=2&Id.1=a", "InvalidParameterCombination"),
            ("NextToken=%00", "InvalidNextToken"),
        ] {
            assert_eq!(found(query), Err(code.into()), "{query}");
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let (first, next) = found("MaxResults=2").expect("a page");
        assert_eq!(first, ["a", "bb"]);
        let (rest, end) = found(&format!("MaxResults=2&NextToken={}", next.expect("more"))).expect("a page");
        assert_eq!((rest, end), (vec!["ccc".to_owned()], None));
    }

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::read(pattern).matches(text)
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("Web", "web", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_every_star_before_it(text in "[a-z.]{0,20}", pattern in "[a-c*?\\\\]{0,12}") {
            prop_assert!(matches(&text, &text));
            let starred = format!("*{text}*");
            prop_assert!(matches(&starred, &text));
            let _ = matches(&pattern, &text);
        }
    }
}
