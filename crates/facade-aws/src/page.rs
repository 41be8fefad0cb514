//! Pages of lists. A page goes on after a key, not after a number: what comes or goes meanwhile shifts nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A page of at most `max` things, and what the next one is asked for with. `token` is what the page before gave;
/// `None`: no page gave it.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> &str,
    token: Option<&str>,
    max: usize,
) -> Option<(Vec<T>, Option<String>)> {
    items.sort_by(|a, b| key(a).cmp(key(b)));
    if let Some(token) = token {
        let after = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        items.retain(|item| key(item) > after.as_str());
    }
    let more = items.len() > max;
    items.truncate(max);
    let next = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
    Some((items, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_everything_once_whatever_comes_meanwhile() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let page = |names: &[&str], token: Option<&str>| page(list(names), |name| name, token, 2);
        let (first, next) = page(&["c", "a", "b"], None).expect("no token is no wrong token");
        assert_eq!(first, ["a", "b"]);
        let (second, end) = page(&["aa", "b", "c"], next.as_deref()).expect("a token that was given");
        assert_eq!((second, end), (list(&["c"]), None));
        assert!(page(&["a"], Some("%")).is_none());
    }
}
