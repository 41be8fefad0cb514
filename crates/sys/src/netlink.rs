//! Netlink (netlink(7)): messages and their attributes as bytes, and a socket that asks and waits. Knows no family
//! of messages; those who speak one (links and routes, nf_tables) bring its numbers.
//!
//! A socket belongs to the network namespace of the thread that opens it, for as long as it lives.

mod places;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

pub use places::Places;

/// Flags of a request beyond those that [`Socket`] sets itself (netlink(7)).
pub mod flags {
    pub const REPLACE: u16 = 0x100;
    pub const EXCLUSIVE: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP_INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
const CAPPED: u16 = 0x100;
const ACK_HAS_ATTRIBUTES: u16 = 0x200;

const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEAD: usize = 16;
/// In an answer's error: its text, as the kernel's extended acknowledgement.
const ERROR_TEXT: u16 = 1;

/// One read; the kernel fills at most 32 KiB per datagram of a dump.
const RECEIVE_BYTES: usize = 64 << 10;
/// Room for the answers of one batch.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A dump that changes under the reader is begun again this often.
const DUMPS_MAX: usize = 16;
/// The kernel answers while we ask; waiting longer than this means that it never will.
const PATIENCE_SECONDS: i64 = 10;

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel's own word: its errno, and its sentence where it has one.
    #[error("{}", refusal(*.errno, .text))]
    Refused { errno: Errno, text: String },
    #[error("the kernel's tables changed during each of {DUMPS_MAX} readings; try again")]
    Restless,
    #[error("the kernel's answer breaks off; this is a defect of the reader or of the kernel")]
    Garbled,
}

fn refusal(errno: Errno, text: &str) -> String {
    if text.is_empty() {
        errno.desc().to_lowercase()
    } else {
        format!("{} ({text})", errno.desc().to_lowercase())
    }
}

impl NetlinkError {
    pub fn is(&self, wanted: Errno) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }
}

/// Which family of messages a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Route,
    Netfilter,
}

/// A run of attributes, each padded to four bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an attribute; its value and four bytes of head fit into 64 KiB.
    #[must_use]
    pub fn put(mut self, kind: u16, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let length = u16::try_from(value.len() + 4);
        debug_assert!(length.is_ok(), "an attribute of {} bytes", value.len());
        self.0.extend_from_slice(&length.unwrap_or(u16::MAX).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// As [`Self::put`], with a NUL behind the text.
    #[must_use]
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.put(kind, [text.as_bytes(), &[0]].concat())
    }

    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    #[must_use]
    pub fn and(mut self, more: &Self) -> Self {
        self.0.extend_from_slice(&more.0);
        self
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in `bytes`, without the flags in their kinds; ends at the first that is not whole.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    /// The family's fixed head, then attributes.
    pub body: Vec<u8>,
}

impl Message {
    pub fn new(kind: u16, flags: u16, head: &[u8], attributes: &Attributes) -> Self {
        let mut body = head.to_vec();
        body.resize(head.len().next_multiple_of(4), 0);
        body.extend_from_slice(attributes.as_bytes());
        Self { kind, flags, body }
    }

    fn write(&self, extra: u16, sequence: u32, to: &mut Vec<u8>) {
        let length = u32::try_from(HEAD + self.body.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&length.to_ne_bytes());
        to.extend_from_slice(&self.kind.to_ne_bytes());
        to.extend_from_slice(&(self.flags | extra | REQUEST).to_ne_bytes());
        to.extend_from_slice(&sequence.to_ne_bytes());
        to.extend_from_slice(&0_u32.to_ne_bytes());
        to.extend_from_slice(&self.body);
        to.resize(to.len().next_multiple_of(4), 0);
    }
}

/// A message of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub kind: u16,
    flags: u16,
    sequence: u32,
    pub body: Vec<u8>,
}

impl Answer {
    /// Of news: what it tells of took the place of something else.
    pub fn replaces(&self) -> bool {
        self.flags & flags::REPLACE != 0
    }
}

/// What became of one message of a batch.
#[derive(Debug)]
pub struct Outcome {
    /// Its place in the batch.
    pub index: usize,
    pub result: Result<(), NetlinkError>,
}

/// Asks the kernel and waits for its answers. Not for many tasks at once: one question at a time.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// In the network namespace of the calling thread.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        Self::subscribed(protocol, 0)
    }

    /// As [`Self::open`], and hears what the kernel tells the groups of this mask.
    pub fn subscribed(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
        // Errors come with the kernel's sentence, and without a copy of what we sent.
        enable(&fd, libc::NETLINK_EXT_ACK)?;
        enable(&fd, libc::NETLINK_CAP_ACK)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // Connected to the kernel, nobody else can send to it.
        connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Has one thing done, or asks for one; returns what came before the acknowledgement.
    pub fn request(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError> {
        let sequence = self.send(std::slice::from_ref(message), ACK)?;
        let mut answers = Vec::new();
        loop {
            for answer in self.receive(MsgFlags::empty())?.into_iter().filter(|a| a.sequence == sequence) {
                if answer.kind == KIND_ERROR {
                    return verdict(&answer).map(|()| answers);
                }
                answers.push(answer);
            }
        }
    }

    /// Lists everything of a kind, as of one moment.
    pub fn dump(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError> {
        for _ in 0..DUMPS_MAX {
            let answers = self.dump_once(message)?;
            if answers.iter().all(|answer| answer.flags & DUMP_INTERRUPTED == 0) {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Restless)
    }

    /// Sends all messages as one datagram, which the kernel handles before this returns, and collects what it
    /// says to them. A message is acknowledged when its flags hold [`Self::ACKNOWLEDGE`] or when it fails.
    pub fn batch(&mut self, messages: &[Message]) -> Result<Vec<Outcome>, NetlinkError> {
        let first = self.send(messages, 0)?;
        let mut outcomes = Vec::new();
        loop {
            let answers = match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(answers) => answers,
                Err(NetlinkError::Socket(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(outcomes),
                Err(e) => return Err(e),
            };
            for answer in answers.iter().filter(|answer| answer.kind == KIND_ERROR) {
                let index = answer.sequence.wrapping_sub(first) as usize;
                if index < messages.len() {
                    outcomes.push(Outcome { index, result: verdict(answer) });
                }
            }
        }
    }

    /// Flag of a message of a batch that the kernel is to acknowledge.
    pub const ACKNOWLEDGE: u16 = ACK;

    /// What the kernel has told the groups of this socket since the last call; does not wait.
    pub fn news(&mut self) -> Result<Vec<Answer>, NetlinkError> {
        let mut news = Vec::new();
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(answers) => news.extend(answers),
                Err(NetlinkError::Socket(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(news),
                Err(e) => return Err(e),
            }
        }
    }

    fn dump_once(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError> {
        let sequence = self.send(std::slice::from_ref(message), DUMP)?;
        let mut answers = Vec::new();
        loop {
            for answer in self.receive(MsgFlags::empty())?.into_iter().filter(|a| a.sequence == sequence) {
                match answer.kind {
                    KIND_ERROR => return verdict(&answer).map(|()| answers),
                    KIND_DONE => {
                        verdict(&answer)?;
                        // Kept for its flags alone when it says that the dump was interrupted.
                        if answer.flags & DUMP_INTERRUPTED != 0 {
                            answers.push(answer);
                        }
                        return Ok(answers);
                    }
                    _ => answers.push(answer),
                }
            }
        }
    }

    /// Returns the sequence number of the first message; the others follow it.
    fn send(&mut self, messages: &[Message], extra: u16) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.write(extra, self.sequence, &mut bytes);
        }
        if bytes.len() > RECEIVE_BYTES {
            // A datagram larger than the socket's buffer is refused; the kernel doubles what it is told.
            setsockopt(&self.fd, sockopt::SndBufForce, &bytes.len())?;
        }
        let sent = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(first) }
    }

    fn receive(&mut self, flags: MsgFlags) -> Result<Vec<Answer>, NetlinkError> {
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags | MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => {}
                result => break result.map_err(io::Error::from)?,
            }
        };
        let bytes = self.buffer.get(..length).ok_or(NetlinkError::Garbled)?;
        parse(bytes).ok_or(NetlinkError::Garbled)
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = bytes.get(..length).filter(|message| message.len() >= HEAD)?;
        answers.push(Answer {
            kind: u16::from_ne_bytes(message[4..6].try_into().ok()?),
            flags: u16::from_ne_bytes(message[6..8].try_into().ok()?),
            sequence: u32_at(message, 8)?,
            body: message[HEAD..].to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(answers)
}

/// What an acknowledgement says (struct nlmsgerr), or the end of a dump.
fn verdict(answer: &Answer) -> Result<(), NetlinkError> {
    let code = u32_at(&answer.body, 0).map_or(0, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let copied =
        if answer.flags & CAPPED != 0 { HEAD } else { u32_at(&answer.body, 4).unwrap_or(0) as usize };
    let after = answer.body.get(4 + copied.next_multiple_of(4)..);
    let text = after
        .filter(|_| answer.flags & ACK_HAS_ATTRIBUTES != 0)
        .and_then(|bytes| attribute(bytes, ERROR_TEXT))
        .map(|text| String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned());
    Err(NetlinkError::Refused { errno: Errno::from_raw(-code), text: text.unwrap_or_default() })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[allow(unsafe_code)]
fn enable(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    /// Bytes of a C int.
    const LENGTH: libc::socklen_t = 4;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, which outlives the call.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), LENGTH)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let inner = Attributes::new().text(1, "lo").put(2, [7]);
        let bytes = Attributes::new().nest(3, &inner).put(4, 9_u32.to_ne_bytes());
        assert_eq!(bytes.as_bytes().len(), 4 + 16 + 8);
        let nested = attribute(bytes.as_bytes(), 3).unwrap();
        assert_eq!(attributes(nested).collect::<Vec<_>>(), [(1, &b"lo\0"[..]), (2, &[7][..])]);
        assert_eq!(attribute(bytes.as_bytes(), 4), Some(&9_u32.to_ne_bytes()[..]));
    }

    #[test]
    fn what_breaks_off_is_not_read() {
        let whole = Attributes::new().put(1, [1, 2, 3, 4]).put(2, [5, 6, 7, 8]);
        let cut = &whole.as_bytes()[..12];
        assert_eq!(attributes(cut).count(), 1);
        assert!(parse(&[200, 0, 0, 0, 1]).is_none());
    }

    #[test]
    fn the_kernel_lists_links_and_refuses_what_does_not_exist() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let links = socket.dump(&Message::new(18, 0, &[0; 16], &Attributes::new())).unwrap();
        assert!(!links.is_empty());
        let nobody = Attributes::new().text(3, "no-such-link");
        let refused = socket.request(&Message::new(18, 0, &[0; 16], &nobody)).unwrap_err();
        assert!(refused.is(Errno::ENODEV), "{refused}");
    }
}
