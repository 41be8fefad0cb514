//! Frames of an `exec` stream: one byte of kind, four bytes of length (big endian), then the data.

use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame accepted, in bytes.
const FRAME_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// To the program; empty means end of input.
    Stdin(Vec<u8>),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The program ended with this code; the last frame.
    Exit(i32),
    /// The program could not be run, or was lost; the last frame.
    Failed(String),
}

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let (kind, data): (u8, &[u8]) = match self {
            Self::Stdin(data) => (0, data),
            Self::Stdout(data) => (1, data),
            Self::Stderr(data) => (2, data),
            Self::Exit(code) => (3, &code.to_be_bytes()),
            Self::Failed(message) => (4, message.as_bytes()),
        };
        let mut out = BytesMut::with_capacity(data.len() + 5);
        out.put_u8(kind);
        out.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        out.put_slice(data);
        out.to_vec()
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let kind = match from.read_u8().await {
            Ok(kind) => kind,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        };
        let length = from.read_u32().await? as usize;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if length > FRAME_MAX {
            return Err(invalid("a frame is larger than 1 MiB"));
        }
        let mut data = vec![0; length];
        from.read_exact(&mut data).await?;
        Ok(Some(match kind {
            0 => Self::Stdin(data),
            1 => Self::Stdout(data),
            2 => Self::Stderr(data),
            3 => {
                let code = data.try_into().map_err(|_| invalid("an exit frame must have four bytes"))?;
                Self::Exit(i32::from_be_bytes(code))
            }
            4 => Self::Failed(String::from_utf8_lossy(&data).into_owned()),
            _ => return Err(invalid("unknown kind of frame")),
        }))
    }
}
