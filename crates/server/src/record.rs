//! How objects lie in the store: their JSON without `resourceVersion`, which only the commit decides. It is
//! spliced in when an object is read, so that reads and lists need no decoding.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;
use model::{AnyObject, ApiError, KindEntry};
use store::{Entry, Revision};

/// Stands at the start of the metadata of every stored object: `name` is always written, and first.
const METADATA: &[u8] = b"\"metadata\":{";

/// The stored form of an object.
pub(crate) fn encode(object: &mut dyn AnyObject) -> Bytes {
    object.metadata_mut().resource_version.clear();
    Bytes::from(object.encode())
}

/// Reads a stored object, with its version set.
pub(crate) fn decode(kind: &KindEntry, entry: &Entry) -> Result<Box<dyn AnyObject>, ApiError> {
    let mut object = (kind.decode)(&entry.value, false)
        .map_err(|e| ApiError::internal(format!("the stored object {} cannot be read: {e}", entry.key)))?;
    object.metadata_mut().resource_version = entry.mod_revision.to_string();
    Ok(object)
}

/// The wire form of a stored object.
pub(crate) fn wire(value: &[u8], revision: Revision) -> Bytes {
    let mut out = BytesMut::with_capacity(value.len() + 48);
    append_wire(&mut out, value, revision);
    out.freeze()
}

/// Appends the wire form of a stored object.
pub(crate) fn append_wire(out: &mut BytesMut, value: &[u8], revision: Revision) {
    let Some(at) = memmem::find(value, METADATA) else {
        out.put_slice(value);
        return;
    };
    let (head, tail) = value.split_at(at + METADATA.len());
    out.put_slice(head);
    out.put_slice(b"\"resourceVersion\":\"");
    put_number(out, revision);
    out.put_slice(b"\",");
    out.put_slice(tail);
}

fn put_number(out: &mut BytesMut, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// Entries for tests.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use model::ObjectMeta;
    use model::compute::{KeyPair, KeyPairSpec};

    /// Of a key pair whose label `at` says which version it is.
    pub(crate) fn entry(name: &str, revision: Revision) -> Entry {
        let mut pair = KeyPair::new(ObjectMeta::in_project("p", name), KeyPairSpec::default());
        pair.metadata.labels.insert("at".into(), revision.to_string());
        Entry {
            key: format!("/k/p/{name}").into(),
            value: encode(&mut pair),
            create_revision: 1,
            mod_revision: revision,
            lease: None,
        }
    }

    pub(crate) fn kind() -> &'static KindEntry {
        model::entry_of::<KeyPair>()
    }
}
