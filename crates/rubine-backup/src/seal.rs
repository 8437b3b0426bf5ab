//! The content of an object: compressed, then encrypted, summed up as it is written and read. Knows neither dumps nor logs.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ring::digest::{Context, SHA256};
use rubine_base::clock::monotonic_nanos;
use rubine_persistence::encryption::{Encrypting, Input, KeyRing};

use crate::error::StoreError;
use crate::manifest::Compression;
use crate::store::Upload;
use crate::throttle::Throttle;

/// A wait is slept in steps, so that the end of the server does not wait for it.
const SLEEP_STEP: Duration = Duration::from_millis(50);

/// How content is written.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) keys: Option<Arc<KeyRing>>,
    /// That of zstd; 0 for none.
    pub(crate) level: u8,
}

impl Form {
    pub(crate) fn compression(&self) -> Compression {
        if self.level == 0 { Compression::None } else { Compression::Zstd }
    }

    /// What is added to the name of a file of this form.
    pub(crate) fn suffix(&self) -> &'static str {
        match (self.level, &self.keys) {
            (0, None) => "",
            (0, Some(_)) => ".enc",
            (_, None) => ".zst",
            (_, Some(_)) => ".zst.enc",
        }
    }
}

/// Writes what `fill` gives to `out`, in the form, and gives `out` back with the length of what was given.
pub(crate) fn write_sealed<W: Write>(
    out: W,
    form: &Form,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(W, u64)> {
    match &form.keys {
        None => write_compressed(out, form.level, fill),
        Some(keys) => {
            let (out, plain) = write_compressed(Encrypting::new(out, keys)?, form.level, fill)?;
            Ok((out.finish()?, plain))
        }
    }
}

fn write_compressed<W: Write>(
    out: W,
    level: u8,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(W, u64)> {
    let count = |out: &mut dyn Write| -> io::Result<u64> {
        let mut counting = Counting { out, bytes: 0 };
        fill(&mut counting)?;
        Ok(counting.bytes)
    };
    if level == 0 {
        let mut out = out;
        let plain = count(&mut out)?;
        return Ok((out, plain));
    }
    let mut encoder = zstd::Encoder::new(out, level.into())?;
    encoder.include_checksum(true)?;
    // On a thread beside that which gives the content.
    encoder.multithread(1)?;
    let plain = count(&mut encoder)?;
    Ok((encoder.finish()?, plain))
}

/// Reads content back. Of an encrypted object, its end is known to be that only after all was read.
pub(crate) fn open_sealed(
    source: impl Read + Send + 'static,
    keys: Option<&KeyRing>,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    let input = Input::new(source, keys)?.complete();
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Zstd => Box::new(zstd::Decoder::new(input)?),
    })
}

struct Counting<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What limits a transfer, and who may end it.
pub(crate) struct Limits<'a> {
    pub(crate) bytes_per_second: &'a AtomicU64,
    pub(crate) is_ending: &'a (dyn Fn() -> bool + Sync),
    /// Where bytes are counted as they go.
    pub(crate) counter: Option<&'a AtomicU64>,
}

impl Limits<'_> {
    fn wait(&self, throttle: &mut Throttle, bytes: usize) -> io::Result<()> {
        if let Some(counter) = self.counter {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let limit = self.bytes_per_second.load(Ordering::Relaxed);
        let mut left = throttle.take(bytes, limit, monotonic_nanos());
        loop {
            if (self.is_ending)() {
                return Err(io::Error::other("the server ends"));
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(SLEEP_STEP);
            std::thread::sleep(step);
            left -= step;
        }
    }
}

/// Writes into an upload, summing up.
pub(crate) struct Uploading<'a> {
    upload: Box<dyn Upload>,
    sum: Context,
    bytes: u64,
    throttle: Throttle,
    limits: Limits<'a>,
    /// What the store said, since whoever writes may have words of its own for it.
    failure: &'a OnceLock<StoreError>,
}

impl<'a> Uploading<'a> {
    pub(crate) fn new(
        upload: Box<dyn Upload>,
        limits: Limits<'a>,
        failure: &'a OnceLock<StoreError>,
    ) -> Self {
        let (sum, throttle) = (Context::new(&SHA256), Throttle::default());
        Self { upload, sum, bytes: 0, throttle, limits, failure }
    }

    /// The upload, how many bytes it has, and their sum.
    pub(crate) fn into_parts(self) -> (Box<dyn Upload>, u64, String) {
        (self.upload, self.bytes, hex(self.sum.finish().as_ref()))
    }
}

impl Write for Uploading<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limits.wait(&mut self.throttle, bytes.len())?;
        if let Some(error) = self.failure.get() {
            return Err(error.clone().into());
        }
        self.upload.write(bytes).inspect_err(|error| {
            self.failure.get_or_init(|| error.clone());
        })?;
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an object that has to have a length and a sum.
pub(crate) struct Summed<R> {
    source: R,
    sum: Option<Context>,
    bytes_left: u64,
    expected: String,
}

impl<R: Read> Summed<R> {
    pub(crate) fn new(source: R, bytes: u64, sha256: &str) -> Self {
        let (sum, expected) = (Some(Context::new(&SHA256)), sha256.to_owned());
        Self { source, sum, bytes_left: bytes, expected }
    }
}

impl<R: Read> Read for Summed<R> {
    /// Says that the end is the end only where the sum is right.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
        let count = self.source.read(out)?;
        if self.bytes_left < count as u64 {
            return Err(bad("the object is longer than its manifest says"));
        }
        self.bytes_left -= count as u64;
        if 0 < count {
            if let Some(sum) = &mut self.sum {
                sum.update(&out[..count]);
            }
            return Ok(count);
        }
        if out.is_empty() {
            return Ok(0);
        }
        if 0 < self.bytes_left {
            return Err(crate::store::cut_off());
        }
        let sum = self.sum.take().map(|it| hex(it.finish().as_ref()));
        if sum.is_some_and(|it| it != self.expected) {
            return Err(bad("the sum of the object is not what its manifest says"));
        }
        Ok(0)
    }
}

/// Reads within limits.
pub(crate) struct Limited<'a, R> {
    pub(crate) source: R,
    pub(crate) limits: Limits<'a>,
    pub(crate) throttle: Throttle,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.limits.wait(&mut self.throttle, count)?;
        Ok(count)
    }
}

/// The SHA-256 of `bytes`, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a text takes what is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Arc<KeyRing> {
        Arc::new(KeyRing::parse(format!("a {}", "0".repeat(64)).as_bytes()).unwrap())
    }

    fn sealed(form: &Form, content: &[u8]) -> (Vec<u8>, u64) {
        write_sealed(Vec::new(), form, |out| out.write_all(content)).unwrap()
    }

    #[test]
    fn every_form_reads_back_and_none_is_read_cut_off_or_changed() {
        let content: Vec<u8> = (0..200_000_u32).flat_map(|it| (it / 7).to_le_bytes()).collect();
        for (level, keys) in [(0, None), (1, None), (0, Some(keys())), (3, Some(keys()))] {
            let form = Form { keys, level };
            let (object, plain) = sealed(&form, &content);
            assert_eq!(plain, content.len() as u64);
            let sum = sha256(&object);
            let read = |object: Vec<u8>, sum: &str, len: u64| {
                let source = Summed::new(io::Cursor::new(object), len, sum);
                let mut plain = Vec::new();
                open_sealed(source, form.keys.as_deref(), form.compression())
                    .and_then(|mut it| it.read_to_end(&mut plain))
                    .map(|_| plain)
            };
            let len = object.len() as u64;
            assert_eq!(read(object.clone(), &sum, len).unwrap(), content);
            for at in [0, object.len() / 2, object.len() - 1] {
                let mut changed = object.clone();
                changed[at] ^= 1;
                assert!(read(changed, &sum, len).is_err(), "{}: changed at {at}", form.suffix());
                assert!(read(object[..at].to_vec(), &sum, len).is_err(), "cut at {at}");
            }
            let mut longer = object.clone();
            longer.push(0);
            assert!(read(longer, &sum, len).is_err(), "{}", form.suffix());
        }
    }

    #[test]
    fn without_the_key_nothing_is_read() {
        let (object, _) = sealed(&Form { keys: Some(keys()), level: 1 }, b"secret");
        assert!(open_sealed(io::Cursor::new(object), None, Compression::Zstd).is_err());
    }
}
