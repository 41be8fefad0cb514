//! What the names of images say.

use std::fmt;

use driver::Possession;
use model::Uid;

/// Between the parts of a name: in no uid, and in no name of a host.
const BETWEEN: char = '+';
/// The last part of the name of what is encrypted.
const ENCRYPTED: &str = "luks";

/// An image of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Volume(Record),
    /// A volume that is deleted, on which something stands still.
    Gone(Uid),
    /// What an image of the cloud shows, by the name of its file; volumes are cloned from its only snapshot.
    Image(String),
    /// Being made by a host, of this volume's uid or an image's name.
    Making {
        what: String,
        host: String,
    },
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) uid: Uid,
    /// How often the cloud has given it to another host.
    pub(crate) moves: u64,
    /// Of the last attachment.
    pub(crate) epoch: u64,
    /// The only one that changes it.
    pub(crate) host: String,
    /// The instance that may open it.
    pub(crate) holder: Option<Uid>,
    pub(crate) state: State,
    /// The image has a header of LUKS, and what only its key shows.
    pub(crate) encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Whole,
    /// Taken from a host that is lost; what has it open there is not cut off yet.
    Fencing,
    /// Being taken back to a snapshot; it had so many bytes before.
    Reverting(u64),
}

impl Record {
    pub(crate) fn new(uid: &Uid, host: &str) -> Self {
        Self {
            uid: uid.clone(),
            moves: 0,
            epoch: 0,
            host: host.to_owned(),
            holder: None,
            state: State::Whole,
            encrypted: false,
        }
    }

    /// The volume of this uid among `names`. One that a host was late to make stands behind one that was moved since.
    pub(crate) fn find(names: &[String], uid: &Uid) -> Option<Self> {
        let found = names.iter().filter_map(|name| match Name::parse(name)? {
            Name::Volume(record) if record.uid == *uid => Some(record),
            _ => None,
        });
        found.max_by_key(|record| (record.moves, record.epoch))
    }

    /// Others of the same volume: made by hosts that did not hear in time that it is another's to make.
    pub(crate) fn late(&self, names: &[String]) -> Vec<Self> {
        let found = names.iter().filter_map(|name| match Name::parse(name)? {
            Name::Volume(record) if record.uid == self.uid && record != *self => Some(record),
            _ => None,
        });
        found.collect()
    }

    pub(crate) fn possession(&self) -> Possession<'_> {
        let Self { host, moves, epoch, holder, .. } = self;
        Possession { host, moves: *moves, epoch: *epoch, holder: holder.as_ref() }
    }
}

impl Name {
    /// None for what Corten has not made.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split(BETWEEN).collect();
        let (parts, encrypted) = match &parts[..] {
            [volume @ .., ENCRYPTED] if volume.len() == 7 => (volume, true),
            parts => (parts, false),
        };
        Some(match *parts {
            ["volume", uid, moves, epoch, host, holder, state] => Self::Volume(Record {
                uid: Uid::parse(uid)?,
                moves: moves.parse().ok()?,
                epoch: epoch.parse().ok()?,
                host: host.to_owned(),
                holder: if holder.is_empty() { None } else { Some(Uid::parse(holder)?) },
                state: State::parse(state)?,
                encrypted,
            }),
            ["gone", uid] => Self::Gone(Uid::parse(uid)?),
            ["image", name] => Self::Image(name.to_owned()),
            ["making", what, host] => Self::Making { what: what.to_owned(), host: host.to_owned() },
            _ => return None,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(record) => record.fmt(f),
            Self::Gone(uid) => write!(f, "gone+{uid}"),
            Self::Image(name) => write!(f, "image+{name}"),
            Self::Making { what, host } => write!(f, "making+{what}+{host}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, moves, epoch, host, holder, state, encrypted } = self;
        let holder = holder.as_ref().map(Uid::as_str).unwrap_or_default();
        write!(f, "volume+{uid}+{moves}+{epoch}+{host}+{holder}+{state}")?;
        if *encrypted { write!(f, "{BETWEEN}{ENCRYPTED}") } else { Ok(()) }
    }
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => Self::Whole,
            "fencing" => Self::Fencing,
            text => Self::Reverting(text.strip_prefix("reverting-")?.parse().ok()?),
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Fencing => f.write_str("fencing"),
            Self::Reverting(size) => write!(f, "reverting-{size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap_or_default()
    }

    #[test]
    fn names_are_records() {
        let record = Record { moves: 3, epoch: 17, ..Record::new(&uid("aa-01"), "h-1.example.org") };
        for state in [State::Whole, State::Fencing, State::Reverting(1 << 40)] {
            for holder in [None, Some(uid("bb"))] {
                for encrypted in [false, true] {
                    let name =
                        Name::Volume(Record { holder: holder.clone(), state, encrypted, ..record.clone() });
                    assert_eq!(Name::parse(&name.to_string()), Some(name));
                }
            }
        }
        let others = [
            Name::Gone(uid("aa")),
            Name::Image("sha256-00".into()),
            Name::Making { what: "aa".into(), host: "h1".into() },
        ];
        for name in others {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for foreign in [
            "vm-100-disk-0",
            "volume+aa",
            "volume+zz+0+0+h++",
            "volume+aa+0+0+h++later",
            "gone+",
            "gone+luks",
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_newest_record_counts() {
        let record = |moves, epoch, host: &str| Record { moves, epoch, ..Record::new(&uid("aa"), host) };
        let (late, old, new) = (record(0, 0, "h3"), record(1, 9, "h1"), record(2, 1, "h2"));
        let names: Vec<String> = [&late, &new, &old].map(ToString::to_string).to_vec();
        assert_eq!(Record::find(&names, &uid("aa")), Some(new.clone()));
        assert_eq!(new.late(&names), [late, old]);
        assert_eq!(Record::find(&names, &uid("ab")), None);
    }
}
