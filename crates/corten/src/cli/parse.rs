//! Parsers of arguments: names, durations, amounts, pairs, and words out of the model's lists.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::compute::{ImageFormat, Instance, InstanceVolume, Isolation, OnHostLoss, RestartPolicy};
use model::network::{Cidr, CidrError};
use model::storage::WhenFull;
use model::{Bytes, CpuMillis, Name, Resource};

/// Longest time accepted, so that no sum of times overflows.
const DURATION_MAX: Duration = Duration::from_hours(10 * 365 * 24);

pub(crate) fn name(text: &str) -> Result<String, String> {
    Name::new(text).map(|name| name.as_str().to_owned()).map_err(|e| e.to_string())
}

/// A volume of an instance: `NAME`, or `NAME:PATH` where it is mounted.
pub(crate) fn volume(text: &str) -> Result<InstanceVolume, String> {
    let (volume, mount) = text.split_once(':').unwrap_or((text, ""));
    Ok(InstanceVolume { volume: name(volume)?, mount: mount.to_owned(), ..InstanceVolume::default() })
}

/// The name of an instance; `instance/NAME` is understood too.
pub(crate) fn instance(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((kind, rest)) if model::kind_of(kind).is_some_and(|k| k.info == Instance::KIND) => name(rest),
        Some(_) => Err("this is about instances only".into()),
        None => name(text),
    }
}

/// `90s`, `15m`, `2h`, `30d`, or a bare number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a time: write for example 90s, 15m, 2h or 30d");
    let (number, seconds_each) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1),
        Some('m') => (&text[..text.len() - 1], 60),
        Some('h') => (&text[..text.len() - 1], 3_600),
        Some('d') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    let number: u64 = number.parse().map_err(|_| error())?;
    let duration = number.checked_mul(seconds_each).map(Duration::from_secs);
    duration.filter(|d| *d <= DURATION_MAX).ok_or_else(error)
}

/// `KEY=VALUE`; the value may be empty and may hold further `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} must look like KEY=VALUE")),
    }
}

pub(crate) fn cpu(text: &str) -> Result<CpuMillis, String> {
    CpuMillis::parse(text).map_err(|e| e.to_string())
}

pub(crate) fn bytes(text: &str) -> Result<Bytes, String> {
    Bytes::parse(text).map_err(|e| e.to_string())
}

pub(crate) fn cidr(text: &str) -> Result<Cidr, String> {
    text.parse().map_err(|e: CidrError| e.to_string())
}

/// A file that is there.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_file() { Ok(path) } else { Err("there is no such file".into()) }
}

/// The isolations that an image can be run in.
pub(crate) fn isolation() -> impl TypedValueParser<Value = Isolation> {
    one_of(&[("vm", Isolation::Vm), ("microvm", Isolation::MicroVm), ("namespace", Isolation::Namespace)])
}

pub(crate) fn restart() -> impl TypedValueParser<Value = RestartPolicy> {
    one_of(&[
        ("always", RestartPolicy::Always),
        ("on-failure", RestartPolicy::OnFailure),
        ("never", RestartPolicy::Never),
    ])
}

pub(crate) fn when_full() -> impl TypedValueParser<Value = WhenFull> {
    one_of(&[("pause", WhenFull::Pause), ("error", WhenFull::Error)])
}

pub(crate) fn on_off() -> impl TypedValueParser<Value = bool> {
    one_of(&[("on", true), ("off", false)])
}

pub(crate) fn on_host_loss() -> impl TypedValueParser<Value = OnHostLoss> {
    one_of(&[("wait", OnHostLoss::Wait), ("restart", OnHostLoss::Restart)])
}

pub(crate) fn format() -> impl TypedValueParser<Value = ImageFormat> {
    PossibleValuesParser::new(ImageFormat::ALL.map(ImageFormat::as_str)).try_map(|word| {
        ImageFormat::ALL.into_iter().find(|format| format.as_str() == word).ok_or("unknown format")
    })
}

fn one_of<T: Copy + Send + Sync + 'static>(words: &'static [(&str, T)]) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).try_map(move |given| {
        words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or("unknown word")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text:?}");
        };
        check("0", Some(0));
        check("90", Some(90));
        check("90s", Some(90));
        check("15m", Some(900));
        check("2h", Some(7_200));
        check("30d", Some(2_592_000));
        check("", None);
        check("s", None);
        check("-1s", None);
        check("+1s", None);
        check("1.5h", None);
        check("10 s", None);
        check("1é", None);
        check("99999999999999999999d", None);
        check("9999999999d", None);
    }

    #[test]
    fn pairs() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(pair(text).ok(), expected, "{text:?}");
        };
        check("a=b", Some(("a", "b")));
        check("a=", Some(("a", "")));
        check("a=b=c", Some(("a", "b=c")));
        check("a", None);
        check("=b", None);
    }

    #[test]
    fn names() {
        for good in ["a", "web-1", "t3.micro"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "Upper", "../x", "a/b", "a b", "-a", &"a".repeat(254)] {
            assert!(name(bad).unwrap_err().contains("is not a valid name"), "{bad:?}");
        }
    }
}
