//! The checksums by which what arrived is told to be what was sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;

/// Of the bytes of a stream, or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Checksum {
    algorithm: CrcAlgorithm,
    value: u64,
    len: u64,
}

/// Those that can be joined from the checksums of parts, with the bytes of each. Digests cannot be.
const JOINABLE: [(&str, CrcAlgorithm); 3] = [
    ("crc64nvme", CrcAlgorithm::Crc64Nvme),
    ("crc32c", CrcAlgorithm::Crc32Iscsi),
    ("crc32", CrcAlgorithm::Crc32IsoHdlc),
];

impl Checksum {
    /// What the command sends with everything.
    pub(crate) const HEADER: &str = "x-amz-checksum-crc64nvme";

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::by(CrcAlgorithm::Crc64Nvme, bytes)
    }

    fn by(algorithm: CrcAlgorithm, bytes: &[u8]) -> Self {
        Self { algorithm, value: crc_fast::checksum(algorithm, bytes), len: bytes.len() as u64 }
    }

    /// The same kind of checksum, of other bytes.
    pub(crate) fn like(self, bytes: &[u8]) -> Self {
        Self::by(self.algorithm, bytes)
    }

    /// Of these bytes and then the next ones.
    #[must_use]
    pub(crate) fn then(self, next: Self) -> Self {
        let value = crc_fast::checksum_combine(self.algorithm, self.value, next.value, next.len);
        Self { value, len: self.len + next.len, ..self }
    }

    /// As S3 writes it.
    pub(crate) fn encoded(self) -> String {
        STANDARD.encode(&self.value.to_be_bytes()[8 - width(self.algorithm)..])
    }

    /// One of no bytes, of the kind in which a store tells what it has, and what it tells; nothing where it tells none
    /// that can be joined.
    pub(crate) fn told<'a>(of: impl Fn(&str) -> Option<&'a str>) -> Option<(Self, &'a str)> {
        JOINABLE.into_iter().find_map(|(name, algorithm)| Some((Self::by(algorithm, &[]), of(name)?)))
    }
}

fn width(algorithm: CrcAlgorithm) -> usize {
    if algorithm == CrcAlgorithm::Crc64Nvme { 8 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_parts_make_that_of_the_whole() {
        for (name, algorithm) in JOINABLE {
            let empty = Checksum::by(algorithm, &[]);
            let joined = empty.then(empty.like(b"1234")).then(empty).then(empty.like(b"56789"));
            assert_eq!(joined, empty.like(b"123456789"), "{name}");
        }
        // The check values of both, as their catalogue has them.
        assert_eq!(
            Checksum::of(b"123456789").encoded(),
            STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes())
        );
        let (crc32, said) = Checksum::told(|name| (name == "crc32").then_some("x")).unwrap();
        assert_eq!(
            (crc32.like(b"123456789").encoded(), said),
            (STANDARD.encode(0xcbf4_3926_u32.to_be_bytes()), "x")
        );
    }
}
