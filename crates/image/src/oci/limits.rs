//! How much an image may ask for.

/// Bounds on one image; the defaults admit everything that is published for people to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An index, a manifest or a configuration.
    pub document_bytes: u64,
    /// Layers of one image: what overlayfs is mounted with at once.
    pub layers: usize,
    /// All layers together as they are stored.
    pub archive_bytes: u64,
    /// One layer's files.
    pub layer_bytes: u64,
    /// One layer's files, folders and links, or an archive's members.
    pub entries: u64,
    /// One path, also as the target of a link.
    pub path_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 << 20,
            layers: 127,
            archive_bytes: 32 << 30,
            layer_bytes: 32 << 30,
            entries: 1_000_000,
            path_bytes: 4095,
        }
    }
}
