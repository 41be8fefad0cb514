//! A tree of texts and the way EC2 lists it: folders end in `/` in a listing, leaves do not, and no listing ends
//! in a new line.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Debug)]
pub(super) enum Node {
    Leaf(Bytes),
    Folder(BTreeMap<String, Child>),
}

#[derive(Debug)]
pub(super) struct Child {
    /// How it stands in the listing, where that is neither `name` nor `name/`.
    pub(super) listed: Option<String>,
    pub(super) node: Node,
}

/// Builds a folder.
#[derive(Debug, Default)]
pub(super) struct Folder(BTreeMap<String, Child>);

impl Folder {
    pub(super) fn leaf(mut self, name: impl Into<String>, text: impl AsRef<[u8]>) -> Self {
        let node = Node::Leaf(Bytes::copy_from_slice(text.as_ref()));
        self.0.insert(name.into(), Child { listed: None, node });
        self
    }

    /// A leaf of one line per item; not there when there are none.
    pub(super) fn lines<T: ToString>(self, name: &str, items: impl IntoIterator<Item = T>) -> Self {
        let lines: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        if lines.is_empty() { self } else { self.leaf(name, lines.join("\n")) }
    }

    /// A leaf that is not there when its text is empty.
    pub(super) fn unless_empty(self, name: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.leaf(name, text) }
    }

    /// A folder that is not there when nothing is in it.
    pub(super) fn folder(mut self, name: impl Into<String>, folder: Self) -> Self {
        if !folder.0.is_empty() {
            self.0.insert(name.into(), Child { listed: None, node: folder.done() });
        }
        self
    }

    /// A child that its parent lists as `listed`.
    pub(super) fn listed_as(mut self, name: impl Into<String>, listed: String, node: Node) -> Self {
        self.0.insert(name.into(), Child { listed: Some(listed), node });
        self
    }

    pub(super) fn done(self) -> Node {
        Node::Folder(self.0)
    }
}

impl Node {
    /// The text at a path below this node: a leaf's own, or a folder's listing. A slash at the end says nothing:
    /// EC2's clients leave it out and put it in as they like.
    pub(super) fn find(&self, path: &[&str]) -> Option<Bytes> {
        match (self, path) {
            (Self::Leaf(text), []) => Some(text.clone()),
            (Self::Leaf(_), _) => None,
            (Self::Folder(children), []) => Some(list(children)),
            (Self::Folder(children), [name, rest @ ..]) => children.get(*name)?.node.find(rest),
        }
    }
}

fn list(children: &BTreeMap<String, Child>) -> Bytes {
    let line = |(name, child): (&String, &Child)| match (&child.listed, &child.node) {
        (Some(listed), _) => listed.clone(),
        (None, Node::Leaf(_)) => name.clone(),
        (None, Node::Folder(_)) => format!("{name}/"),
    };
    children.iter().map(line).collect::<Vec<_>>().join("\n").into()
}
