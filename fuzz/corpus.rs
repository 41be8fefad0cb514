//! Inputs that are worth keeping, in the folder `fuzz` of the crate that takes this in: all of them, and some like them.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// Changes of an input: where, how, and with what.
pub(super) fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    proptest::collection::vec((any::<Index>(), 0..5_u8, any::<u8>()), 1..6)
}

pub(super) fn changed(mut input: Vec<u8>, changes: &[(Index, u8, u8)]) -> Vec<u8> {
    for (place, way, byte) in changes {
        let at = place.index(input.len() + 1);
        match (way, input.get_mut(at)) {
            (0, Some(old)) => *old = *byte,
            (1, Some(_)) => drop(input.remove(at)),
            (2, _) => input.truncate(at),
            (3, _) => input.extend_from_within(at..),
            _ => input.insert(at, *byte),
        }
    }
    input
}

/// One of the inputs that were kept.
pub(super) fn kept(name: &str, which: Index) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name);
    let files: Vec<_> = std::fs::read_dir(folder).expect("a corpus").collect();
    std::fs::read(which.get(&files).as_ref().expect("a file").path()).expect("an input")
}

/// Every input that was kept, among them all that ever broke a law.
pub(super) fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name);
    let mut tried = 0;
    for file in std::fs::read_dir(&folder).expect("a corpus") {
        let path = file.expect("a file").path();
        // Said where it fails.
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("an input"));
        tried += 1;
    }
    assert!(tried > 0, "{} is empty", folder.display());
}
