//! Names and uids: they become URLs, store keys, file and host names.

use model::{Name, Uid};
use proptest::prelude::*;

#[test]
fn names_are_dns_names() {
    let longest_label = "a".repeat(63);
    let longest = [longest_label.as_str(), &longest_label, &longest_label, &"b".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for good in ["a", "0", "web-1", "a.b", "a--b", "1.2.3.4", &longest_label, &longest] {
        assert_eq!(Name::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
    }
    let too_long = format!("{longest}c");
    let too_long_label = "a".repeat(64);
    for bad in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a-.b",
        "a.-b",
        "A",
        "ä",
        "a_b",
        "a/b",
        "a b",
        "a\n",
        "a\0",
        "../etc",
        "%2e",
        &too_long,
        &too_long_label,
    ] {
        let error = Name::new(bad).unwrap_err().to_string();
        assert!(error.contains("is not a valid name: use 1 to 253 lower-case letters"), "{error}");
        assert!(serde_json::from_value::<Name>(bad.into()).is_err(), "{bad:?} got in through JSON");
    }
}

#[test]
fn uids_are_hexadecimal_and_short() {
    assert_eq!(Uid::parse("0A-fF").unwrap().as_str(), "0a-ff");
    let long = "0".repeat(65);
    for bad in ["", "g", "a/b", "..", "a b", &long] {
        assert_eq!(Uid::parse(bad), None, "{bad:?}");
    }
    assert!(serde_json::from_str::<Uid>("\"\"").unwrap().is_unset());
    assert!(serde_json::from_str::<Uid>("\"../x\"").is_err());
}

proptest! {
    /// Whatever is accepted can stand in a path and in a host name as it is.
    #[test]
    fn an_accepted_name_needs_no_escaping(text in "[a-zA-Z0-9./_ -]{0,70}") {
        if let Ok(name) = Name::new(&text) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            prop_assert!(name.as_str().chars().all(plain));
            prop_assert!(name.as_str().split('.').all(|label| !label.is_empty() && label.len() <= 63));
        }
    }

    #[test]
    fn random_bytes_make_a_uid_that_is_read_back(bytes in any::<[u8; 16]>()) {
        let uid = Uid::from_random(bytes);
        prop_assert_eq!(Uid::parse(uid.as_str()), Some(uid.clone()));
        let json = serde_json::to_string(&uid).unwrap();
        prop_assert_eq!(serde_json::from_str::<Uid>(&json).unwrap(), uid);
    }
}
