//! Requests in JSON and CBOR, read as what the query protocol would have said: `A.member.1.B`.

use std::collections::BTreeMap;

use ciborium::Value;

use crate::failure::Failure;
use crate::params::Params;

/// How deep a request may be, and how much it may say.
const DEPTH_MAX: usize = 16;
const VALUES_MAX: usize = 20_000;

/// The parameters of a body in CBOR or JSON.
pub(crate) fn params_of(body: &[u8], is_cbor: bool) -> Result<Params, Failure> {
    let value: Value = if body.is_empty() {
        Value::Map(Vec::new())
    } else if is_cbor {
        ciborium::de::from_reader_with_recursion_limit(body, DEPTH_MAX)
            .map_err(|e| malformed(&e.to_string()))?
    } else {
        serde_json::from_slice(body).map_err(|e| malformed(&e.to_string()))?
    };
    if !value.is_map() {
        return Err(malformed("the body is not a structure"));
    }
    let mut found = BTreeMap::new();
    put(&mut found, "", &value, 0)?;
    Ok(Params::of(found))
}

fn malformed(why: &str) -> Failure {
    Failure::new("SerializationException", format!("The request cannot be read: {why}"))
}

fn put(found: &mut BTreeMap<String, String>, at: &str, value: &Value, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX || found.len() >= VALUES_MAX {
        return Err(malformed("it is too deep or says too much"));
    }
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let text = match value {
        Value::Null => return Ok(()),
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Float(number) => number.to_string(),
        // A time is a number of seconds.
        Value::Tag(_, inner) => return put(found, at, inner, depth + 1),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                put(found, &below(&format!("member.{}", i + 1)), item, depth + 1)?;
            }
            return Ok(());
        }
        Value::Map(fields) => {
            for (name, item) in fields {
                let name = name.as_text().ok_or_else(|| malformed("a name is no text"))?;
                put(found, &below(name), item, depth + 1)?;
            }
            return Ok(());
        }
        _ => return Err(malformed("a value is of no type that is known")),
    };
    if found.insert(at.to_owned(), text).is_some() {
        return Err(malformed(&format!("{at} is given twice")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_say_what_a_query_would() {
        let json =
            br#"{"Id": "x", "Start": 1.5, "List": [{"Name": "a", "On": true}, {"Name": "b"}], "None": null}"#;
        let from_json = params_of(json, false).expect("JSON");
        let value: Value = serde_json::from_slice(json).expect("JSON");
        let mut cbor = Vec::new();
        ciborium::into_writer(&value, &mut cbor).expect("CBOR");
        assert_eq!(params_of(&cbor, true), Ok(from_json.clone()));
        let names: Vec<String> =
            from_json.structs("List.member").iter().map(|p| p.text("Name").into()).collect();
        assert_eq!(
            (names, from_json.text("Start"), from_json.has("None")),
            (vec!["a".into(), "b".into()], "1.5", false)
        );
        for wrong in [&b"[1]"[..], b"{", b"7"] {
            assert!(params_of(wrong, false).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), is_cbor: bool) {
            let _ = params_of(&body, is_cbor);
        }
    }
}
