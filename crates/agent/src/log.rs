//! Logs as people read them: what was printed, without what the file keeps beside it.

use driver::LogFormat;

/// Most bytes of one line that are held back to see its end.
const LINE_MAX: usize = 64 * 1024;

/// Turns a log file's bytes into what was printed, in pieces of any size.
#[derive(Debug)]
pub(crate) struct Decoder {
    format: LogFormat,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(format: LogFormat) -> Self {
        Self { format, rest: Vec::new() }
    }

    pub(crate) fn decode(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.format == LogFormat::Raw {
            return piece.to_vec();
        }
        self.rest.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.rest.len());
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|b| *b == b'\n') {
            self.append_line(&mut out, &self.rest[start..=start + length]);
            start += length + 1;
        }
        self.rest.drain(..start);
        if self.rest.len() > LINE_MAX {
            let line = std::mem::take(&mut self.rest);
            self.append_line(&mut out, &line);
        }
        out
    }

    fn append_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let line = self.format.read_line(line);
        out.extend_from_slice(line.text);
        if line.is_whole {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-01-01T00:00:00.1+00:00 stdout F one\n2026-01-01T00:00:00.2+00:00 stderr P tw\n\
                         2026-01-01T00:00:00.3+00:00 stderr F o\n2026-01-01T00:00:00.4+00:00 stdout F \n";

    #[test]
    fn pieces_of_any_size_give_the_same_text() {
        for size in 1..LOG.len() {
            let mut decoder = Decoder::new(LogFormat::Cri);
            let text: Vec<u8> = LOG.chunks(size).flat_map(|piece| decoder.decode(piece)).collect();
            assert_eq!(String::from_utf8_lossy(&text), "one\ntwo\n\n", "in pieces of {size}");
        }
    }

    #[test]
    fn a_raw_log_is_left_alone() {
        assert_eq!(Decoder::new(LogFormat::Raw).decode(LOG), LOG);
    }

    #[test]
    fn what_is_no_entry_is_shown_as_it_is() {
        assert_eq!(Decoder::new(LogFormat::Cri).decode(b"a b\n"), b"a b\n");
    }
}
