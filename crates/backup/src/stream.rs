//! A disk on its way, from a host or in a file: one line of JSON, then frames, then the digest of all that was said.
//!
//! A frame is a letter and numbers, big-endian: `D`, the chunk's number, its SHA-256 and its bytes; `Z`, a number and
//! how many chunks from there are zero; `F`, a length and why there will be no more; `E` and the SHA-256 of everything
//! before it, where chunks count with their digests alone. Chunks come in order. Of a disk with no base, what is not
//! mentioned is zero; of one with a base it is as it was.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use image::Digest;

use crate::{CHUNK, Error, chunks};

const FORMAT: &str = "corten-backup-1";
const HEAD_MAX: u64 = 64 << 10;
const REASON_MAX: usize = 16 << 10;
/// Largest disk.
const SIZE_MAX: u64 = 16 << 40;

/// What is said first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    pub format: String,
    /// The disk's.
    pub size: u64,
    /// The backup that it tells the changes since; empty when it tells all.
    pub base: String,
    /// Of which volume, for people.
    pub volume: String,
    /// Why nothing follows; empty when something does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// The bytes of one chunk.
    Data(u64, Digest),
    Zeros {
        first: u64,
        count: u64,
    },
    End,
}

/// Writes a stream.
pub struct Sender<W> {
    to: W,
    said: ring::digest::Context,
    size: u64,
}

impl<W> std::fmt::Debug for Sender<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    pub async fn begin(mut to: W, head: &Head) -> std::io::Result<Self> {
        let mut line = serde_json::to_vec(&Head { format: FORMAT.into(), ..head.clone() })?;
        line.push(b'\n');
        let mut said = ring::digest::Context::new(&ring::digest::SHA256);
        said.update(&line);
        to.write_all(&line).await?;
        Ok(Self { to, said, size: head.size })
    }

    /// One chunk; the last of a disk is filled up with zeros.
    pub async fn data(&mut self, index: u64, data: &[u8]) -> std::io::Result<()> {
        let digest = Digest::of(data);
        self.say(b'D', &[&index.to_be_bytes(), digest.as_bytes()]).await?;
        self.to.write_all(data).await
    }

    pub async fn zeros(&mut self, first: u64, count: u64) -> std::io::Result<()> {
        self.say(b'Z', &[&first.to_be_bytes(), &count.to_be_bytes()]).await
    }

    pub async fn end(mut self) -> std::io::Result<W> {
        let digest = self.said.clone().finish();
        self.to.write_all(b"E").await?;
        self.to.write_all(digest.as_ref()).await?;
        self.to.flush().await?;
        Ok(self.to)
    }

    /// Instead of an end.
    pub async fn fail(mut self, why: &str) -> std::io::Result<()> {
        let why = &why.as_bytes()[..why.len().min(REASON_MAX)];
        self.to.write_all(b"F").await?;
        // Within REASON_MAX.
        self.to.write_all(&u32::try_from(why.len()).unwrap_or(0).to_be_bytes()).await?;
        self.to.write_all(why).await?;
        self.to.flush().await
    }

    async fn say(&mut self, tag: u8, parts: &[&[u8]]) -> std::io::Result<()> {
        let mut bytes = vec![tag];
        bytes.extend(parts.iter().copied().flatten());
        self.said.update(&bytes);
        self.to.write_all(&bytes).await
    }
}

/// Says why there is no stream.
pub async fn refuse<W: AsyncWrite + Unpin>(to: W, why: &str) -> std::io::Result<()> {
    let head = Head { error: why.chars().take(REASON_MAX / 4).collect(), ..Head::default() };
    let mut to = Sender::begin(to, &head).await?.to;
    to.flush().await
}

/// Reads a stream, and believes nothing of it.
pub struct Receiver<R> {
    from: R,
    said: ring::digest::Context,
    head: Head,
    /// Chunks below it were mentioned.
    next: u64,
}

impl<R> std::fmt::Debug for Receiver<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + AsyncBufRead + Unpin> Receiver<R> {
    pub async fn begin(mut from: R) -> Result<Self, Error> {
        let mut line = Vec::new();
        (&mut from).take(HEAD_MAX).read_until(b'\n', &mut line).await.map_err(Error::CutOff)?;
        if line.is_empty() {
            return Err(cut_off());
        }
        let head: Head = serde_json::from_slice(&line).map_err(|e| Error::Stream(e.to_string()))?;
        if !head.error.is_empty() {
            return Err(Error::Sender(head.error));
        }
        if head.format != FORMAT || head.size == 0 || head.size > SIZE_MAX {
            return Err(Error::Stream("its first line names another format, or a size out of bounds".into()));
        }
        let mut said = ring::digest::Context::new(&ring::digest::SHA256);
        said.update(&line);
        Ok(Self { from, said, head, next: 0 })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next frame; a chunk's bytes are put into `data`, and are what their digest says.
    pub async fn next(&mut self, data: &mut Vec<u8>) -> Result<Frame, Error> {
        let tag = self.from.read_u8().await.map_err(Error::CutOff)?;
        match tag {
            b'D' => {
                let mut said = [0; 1 + 8 + Digest::LEN];
                said[0] = tag;
                self.from.read_exact(&mut said[1..]).await.map_err(Error::CutOff)?;
                self.said.update(&said);
                let index = number(&said[1..9]);
                let mut digest = [0; Digest::LEN];
                digest.copy_from_slice(&said[9..]);
                let digest = Digest::from(digest);
                self.advance(index, 1)?;
                data.resize(CHUNK, 0);
                self.from.read_exact(data).await.map_err(Error::CutOff)?;
                let found = Digest::of(data);
                if found != digest {
                    let what = format!("chunk {index}");
                    return Err(Error::Digest { what, wanted: digest, found });
                }
                Ok(Frame::Data(index, digest))
            }
            b'Z' => {
                let mut said = [0; 17];
                said[0] = tag;
                self.from.read_exact(&mut said[1..]).await.map_err(Error::CutOff)?;
                self.said.update(&said);
                let (first, count) = (number(&said[1..9]), number(&said[9..]));
                self.advance(first, count)?;
                Ok(Frame::Zeros { first, count })
            }
            b'E' => {
                let (mut wanted, mut found) = ([0; Digest::LEN], [0; Digest::LEN]);
                self.from.read_exact(&mut wanted).await.map_err(Error::CutOff)?;
                found.copy_from_slice(self.said.clone().finish().as_ref());
                let (wanted, found) = (Digest::from(wanted), Digest::from(found));
                if wanted != found {
                    return Err(Error::Digest { what: "the stream".into(), wanted, found });
                }
                Ok(Frame::End)
            }
            b'F' => {
                let length = self.from.read_u32().await.map_err(Error::CutOff)? as usize;
                let mut why = vec![0; length.min(REASON_MAX)];
                self.from.read_exact(&mut why).await.map_err(Error::CutOff)?;
                Err(Error::Sender(String::from_utf8_lossy(&why).into_owned()))
            }
            other => Err(Error::Stream(format!("it has a frame {other:#x}"))),
        }
    }

    fn advance(&mut self, first: u64, count: u64) -> Result<(), Error> {
        let end = first.checked_add(count).filter(|end| *end <= chunks(self.head.size) && first >= self.next);
        self.next =
            end.ok_or_else(|| Error::Stream("its chunks are out of order or out of bounds".into()))?;
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn cut_off() -> Error {
    Error::CutOff(std::io::ErrorKind::UnexpectedEof.into())
}
