//! Bytes as they come: UTF-8, line by line or as JSON, no more of them in memory than are looked at.

use std::io::{self, Read};

use super::InputFormat;
use super::error::{InputError, InputProblem, ReadError};
use super::json::{self, Repair};
use super::memory::Meter;

/// Bytes that are read at a time.
const READ: usize = 64 << 10;
/// A buffer that a long line has made larger than this is given back.
const KEEP: usize = 4 * READ;
/// Bytes between two looks at the memory while JSON is read.
const CHECK: usize = 4096;
/// Bytes of a line's beginning that tell how it is written.
const HEAD: usize = 64;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How compressed files begin, none of which a text does.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gzip -dc"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"),
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];
/// Bytes that tell.
const MAGIC: usize = 6;

/// What is left of some input.
pub(super) struct ByteReader<'c, 'm, 'a, R> {
    from: R,
    meter: &'c Meter<'m, 'a>,
    buffer: Vec<u8>,
    /// Of the buffer's bytes, those before are done with.
    at: usize,
    /// Whether there is nothing behind the buffer.
    ended: bool,
}

impl<'c, 'm, 'a, R: Read> ByteReader<'c, 'm, 'a, R> {
    /// After the byte order mark, if there is one.
    pub(super) fn new(from: R, meter: &'c Meter<'m, 'a>) -> Result<Self, ReadError> {
        let mut source = ByteReader { from, meter, buffer: Vec::new(), at: 0, ended: false };
        while source.rest().len() < MAGIC && source.fill()? {}
        for (magic, with, command) in COMPRESSED {
            if source.rest().starts_with(magic) {
                return Err(meter.wrong(InputProblem::Compressed { with, command }));
            }
        }
        if source.rest().starts_with(BYTE_ORDER_MARK) {
            source.at = BYTE_ORDER_MARK.len();
        }
        Ok(source)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads more behind what there is; whether there was more.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if self.ended {
            return Ok(false);
        }
        if self.at == self.buffer.len() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..self.at);
        }
        self.at = 0;
        // As it grows it is in memory twice, and then its text is beside it.
        self.meter.check_ahead(self.buffer.len() as u64, self.buffer.len() as u64)?;
        let read = self.from.by_ref().take(READ as u64).read_to_end(&mut self.buffer);
        let read = read.map_err(ReadError::Io)?;
        self.ended = read < READ;
        Ok(read > 0)
    }

    /// Whether it is JSON.
    pub(super) fn is_json(&mut self, format: InputFormat) -> Result<bool, ReadError> {
        match format {
            InputFormat::Lines => return Ok(false),
            InputFormat::Json => return Ok(true),
            InputFormat::Auto => {}
        }
        // Where the first line begins, blanks before it left out.
        let mut begins = 0;
        loop {
            let (text, broken) = valid(&self.rest()[begins..]);
            let blank = text.len() - text.trim_start().len();
            let (line, whole) = match text[blank..].split_once('\n') {
                Some((line, _)) => (line, true),
                None => (&text[blank..], self.ended || broken),
            };
            if let Some(json) = json::begins(line.trim(), whole) {
                return Ok(json);
            }
            begins += blank;
            self.fill()?;
        }
    }

    /// The next line, without its end, for `take`; whether there was one.
    pub(super) fn line(
        &mut self,
        take: impl FnOnce(&str, &Meter<'m, 'a>) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let mut searched = 0;
        let (length, end) = loop {
            if let Some(place) = self.rest()[searched..].iter().position(|&b| b == b'\n') {
                break (searched + place, 1);
            }
            searched = self.rest().len();
            if !self.fill()? {
                break (searched, 0);
            }
        };
        if length + end == 0 {
            return Ok(false);
        }
        let line = &self.buffer[self.at..self.at + length];
        let line = if end == 1 { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let line = std::str::from_utf8(line).map_err(|_| self.meter.wrong(InputProblem::NotUtf8));
        take(line?, self.meter)?;
        self.at += length + end;
        self.meter.line.set(self.meter.line.get() + 1);
        Ok(true)
    }

    /// The rest as JSON.
    pub(super) fn json(self) -> JsonBytes<'c, 'm, 'a, R> {
        JsonBytes { ready: self.at, source: self, since: 0, line_begins: true }
    }
}

/// The beginning that is UTF-8, and whether what follows is not, whatever comes.
fn valid(bytes: &[u8]) -> (&str, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => {
            let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]);
            (valid.unwrap_or_default(), error.error_len().is_some())
        }
    }
}

/// JSON with U+FFFD in place of every half of a surrogate pair that has no other half; UTF-8 throughout.
pub(super) struct JsonBytes<'c, 'm, 'a, R> {
    source: ByteReader<'c, 'm, 'a, R>,
    /// Where in the buffer the bytes end that have been looked at.
    ready: usize,
    /// Bytes since the memory was last looked at.
    since: usize,
    line_begins: bool,
}

impl<R: Read> JsonBytes<'_, '_, '_, R> {
    /// Looks at more bytes, until there are some to hand out or there are no more.
    fn prepare(&mut self) -> Result<(), ReadError> {
        while self.ready == self.source.at {
            let more = self.source.fill();
            // Also where that failed: who asks again is told again.
            self.ready = self.source.at;
            let more = more?;
            let rest = &self.source.buffer[self.ready..];
            let valid = match std::str::from_utf8(rest) {
                Ok(_) => rest.len(),
                Err(error) if error.error_len().is_none() && more => error.valid_up_to(),
                Err(error) => {
                    let before = &rest[..error.valid_up_to()];
                    let lines = before.iter().filter(|&&b| b == b'\n').count();
                    let meter = self.source.meter;
                    meter.line.set(meter.line.get() + lines);
                    return Err(meter.wrong(InputProblem::NotUtf8));
                }
            };
            let range = self.ready..self.ready + valid;
            let last = valid == rest.len() && !more;
            self.ready += Repair { last }.lone_surrogates(&mut self.source.buffer[range]);
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), ReadError> {
        if self.ready == self.source.at {
            self.prepare()?;
        }
        if self.since >= CHECK {
            self.since = 0;
            self.source.meter.check(0)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for JsonBytes<'_, '_, '_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let meter = self.source.meter;
        if let Err(error) = self.look() {
            meter.stash(error);
            return Err(io::Error::other("see the meter"));
        }
        let from = &self.source.buffer[self.source.at..self.ready];
        let count = from.len().min(to.len());
        to[..count].copy_from_slice(&from[..count]);
        for (at, &byte) in from[..count].iter().enumerate() {
            if std::mem::replace(&mut self.line_begins, byte == b'\n') {
                let head = from[at..].iter().take(HEAD).take_while(|&&b| b != b'\n');
                let mut to = meter.head.borrow_mut();
                to.clear();
                to.extend(head);
            }
            if byte == b'\n' {
                meter.line.set(meter.line.get() + 1);
            }
        }
        meter.consume(count as u64);
        self.since += count;
        self.source.at += count;
        Ok(count)
    }
}

/// One JSON value after another, each for `take`.
pub(super) fn values<R: Read>(
    bytes: JsonBytes<'_, '_, '_, R>,
    mut take: impl FnMut(&mut Json<'_, '_, '_, R>) -> serde_json::Result<()>,
) -> Result<(), ReadError> {
    let meter = bytes.source.meter;
    let mut json = serde_json::Deserializer::from_reader(bytes);
    // Whether there were values before, each on one line.
    let (mut any, mut lines) = (false, true);
    loop {
        match json.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_io() => return Err(reason(meter, error)),
            Err(_) => {}
        }
        let begins = meter.line.get();
        if let Err(error) = take(&mut json) {
            let error = reason(meter, error);
            return Err(match error {
                // What was cut off is wrong, not the line behind it.
                ReadError::Input(InputError { line, problem })
                    if matches!(problem, InputProblem::NotJson { .. }) && any && lines =>
                {
                    InputError { line: begins.min(line), problem }.into()
                }
                error => error,
            });
        }
        lines &= meter.line.get() == begins;
        any = true;
    }
}

/// A parser of JSON.
pub(super) type Json<'c, 'm, 'a, R> =
    serde_json::Deserializer<serde_json::de::IoRead<JsonBytes<'c, 'm, 'a, R>>>;

/// What an error of the parser comes from.
fn reason(meter: &Meter<'_, '_>, error: serde_json::Error) -> ReadError {
    if let Some(problem) = meter.take() {
        return problem;
    }
    if error.is_io() {
        return ReadError::Io(error.into());
    }
    let head = String::from_utf8_lossy(&meter.head.borrow()).into_owned();
    let problem = json::not_json_in(&head, &error);
    InputError { line: error.line().max(1), problem }.into()
}
