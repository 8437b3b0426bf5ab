//! Whatever is done to an encrypted file is found out, and named.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;

const FIRST: &str = "first 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
const SECOND: &str = "second f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f\n";

fn keys(text: &str) -> KeyRing {
    KeyRing::parse(text.as_bytes()).expect("a good file of keys")
}

/// A complete file whose blocks hold `pieces`.
fn encrypt(pieces: &[&[u8]], keys: &KeyRing) -> Vec<u8> {
    let mut out = Encrypting::new(Vec::new(), keys).expect("memory takes what is written");
    for piece in pieces {
        out.write_all(piece).expect("memory takes what is written");
        out.flush().expect("memory takes what is written");
    }
    out.finish().expect("memory takes what is written")
}

fn decrypt(bytes: &[u8], keys: &KeyRing) -> Result<(Vec<u8>, Ending), String> {
    let mut input = Decrypting::new(bytes, keys);
    let mut plain = Vec::new();
    input.read_to_end(&mut plain).map_err(|error| error.to_string())?;
    Ok((plain, input.ending()))
}

#[test]
fn key_files() {
    let check = |text: &str, expected: Result<&str, KeyFileError>| {
        let names =
            KeyRing::parse(text.as_bytes()).map(|it| it.names().collect::<Vec<_>>().join(" "));
        assert_eq!(names, expected.map(str::to_owned), "{text:?}");
    };
    check(&format!("# keys\n\n {SECOND}\r\n{FIRST}"), Ok("second first"));
    check("", Err(KeyFileError::Empty));
    check("first", Err(KeyFileError::Line(1)));
    check(&format!("\n{} more", FIRST.trim()), Err(KeyFileError::Line(2)));
    check(&FIRST.replace("1f", "1"), Err(KeyFileError::Line(1)));
    check(&FIRST.replace("1f", "1g"), Err(KeyFileError::Line(1)));
    check(&FIRST.replace("first", "f/rst"), Err(KeyFileError::Name(1)));
    check(&FIRST.replace("first", &"f".repeat(33)), Err(KeyFileError::Name(1)));
    check(&format!("{FIRST}{FIRST}"), Err(KeyFileError::Repeated(2)));
    assert_eq!(format!("{:?}", keys(FIRST)), "[\"first\"]", "a key is never shown");
}

#[test]
fn what_is_written_is_read_with_the_key_that_it_was_written_with() {
    let old = keys(FIRST);
    let long = vec![7; 3 * BLOCK_BYTES_MAX + 5];
    let bytes = encrypt(&[b"abc", &long], &old);
    let plain = [b"abc", long.as_slice()].concat();
    assert!(is_encrypted(&bytes) && !bytes.windows(9).any(|it| it == [7; 9]));
    for ring in [old, keys(&format!("{SECOND}{FIRST}"))] {
        assert_eq!(decrypt(&bytes, &ring), Ok((plain.clone(), Ending::Complete)));
    }
    let missing = "it is encrypted with the key 'first', which is not in the encryption-key-file";
    assert_eq!(decrypt(&bytes, &keys(SECOND)), Err(missing.to_owned()));
    let other = keys(&SECOND.replace("second", "first"));
    let wrong = "it is encrypted with another key of the name 'first' than the one in the encryption-key-file";
    assert_eq!(decrypt(&bytes, &other), Err(wrong.to_owned()));
    let error = Input::new(bytes.as_slice(), None).err().expect("there are no keys");
    assert_eq!(error.to_string(), EncryptionError::NoKeys.to_string());
    let mut plain = String::new();
    Input::new(&b"RBN"[..], None).unwrap().read_to_string(&mut plain).unwrap();
    assert_eq!(plain, "RBN");
}

#[test]
fn two_files_of_one_content_differ() {
    let keys = keys(FIRST);
    assert_ne!(
        encrypt(&[b"abc"], &keys)[HEADER_BYTES..],
        encrypt(&[b"abc"], &keys)[HEADER_BYTES..]
    );
}

#[test]
fn every_flipped_bit_is_found() {
    let keys = keys(FIRST);
    let bytes = encrypt(&[b"abc", b"defg"], &keys);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let found = decrypt(&bytes, &keys);
        let is_good = matches!(found, Ok((_, Ending::Complete)));
        assert!(!is_good, "bit {bit}: {found:?}");
    }
    let mut changed = bytes;
    changed[HEADER_BYTES + LENGTH_BYTES] ^= 1;
    assert_eq!(decrypt(&changed, &keys), Err("block 0 at offset 104 was changed".to_owned()));
}

#[test]
fn blocks_that_are_moved_or_missing_are_found() {
    let keys = keys(FIRST);
    let bytes = encrypt(&[b"abc", b"def", b"ghi"], &keys);
    let size = LENGTH_BYTES + 3 + TAG_BYTES;
    let (header, blocks) = bytes.split_at(HEADER_BYTES);
    let block = |index: usize| &blocks[index * size..(index + 1) * size];
    let end = &blocks[3 * size..];
    let error = |parts: &[&[u8]]| decrypt(&parts.concat(), &keys).expect_err("it is found");
    assert_eq!(
        error(&[header, block(1), block(0), block(2), end]),
        "block 0 at offset 104 was moved there: it is block 1"
    );
    assert_eq!(
        error(&[header, block(0), block(2), end]),
        "block 1 at offset 127 was moved there: it is block 2"
    );
    assert_eq!(
        error(&[header, block(0), block(0)]),
        "block 1 at offset 127 was moved there: it is block 0"
    );
    assert_eq!(
        error(&[header, block(0), block(1), block(2), end, block(0)]),
        "something follows the end of the file at offset 193"
    );
    assert_eq!(error(&[block(0)]), "there is no segment at offset 0");
    let other = encrypt(&[b"xyz"], &keys);
    assert_eq!(error(&[header, &other[HEADER_BYTES..]]), "block 0 at offset 104 was changed");
    // Another file's segment, and one that came after blocks which are missing.
    let misplaced = "the segment at offset 127 does not follow what is before it: blocks are missing, or not its own";
    assert_eq!(error(&[header, block(0), &other]), misplaced);
    let mut input = Decrypting::new(&bytes[..HEADER_BYTES + 2 * size], &keys);
    assert_eq!(input.read_to_end(&mut Vec::new()).unwrap(), 6);
    let mut further = Vec::new();
    Encryptor::begin(&keys, input.place().0, &mut further).unwrap().seal(b"jkl", &mut further);
    assert_eq!(error(&[header, block(0), &further]), misplaced);
    let joined = [header, block(0), block(1), &further].concat();
    assert_eq!(decrypt(&joined, &keys), Ok((b"abcdefjkl".to_vec(), Ending::Open)));
}

#[test]
fn an_end_of_every_length_is_told_from_damage() {
    let keys = keys(FIRST);
    let bytes = encrypt(&[b"abc", b"defg"], &keys);
    let first_end = HEADER_BYTES + LENGTH_BYTES + 3 + TAG_BYTES;
    let second_end = first_end + LENGTH_BYTES + 4 + TAG_BYTES;
    for len in 0..=bytes.len() {
        let (plain, ending) = decrypt(&bytes[..len], &keys).expect("cut off is not damaged");
        let plain_len = if second_end <= len {
            7
        } else if first_end <= len {
            3
        } else {
            0
        };
        assert_eq!(plain, &b"abcdefg"[..plain_len], "{len} bytes");
        let is_whole = [0, HEADER_BYTES, first_end, second_end].contains(&len);
        match ending {
            Ending::Complete => assert_eq!(len, bytes.len()),
            Ending::Open => assert!(is_whole, "{len} bytes"),
            Ending::Torn(at) => assert!(!is_whole && at < len as u64, "{len} bytes"),
            Ending::Unknown => panic!("all was read"),
        }
    }
}

/// Whatever is done to a file, what is read is the beginning of what was written.
#[test]
fn no_mutation_gives_other_bytes() {
    let keys = keys(FIRST);
    let plain = b"one, two and three";
    let bytes = encrypt(&[&plain[..4], &plain[4..9], &plain[9..]], &keys);
    for seed in 0..5 {
        rubine_testing::mutate::for_each(&bytes, seed, |bad| {
            let mut input = Decrypting::new(bad, &keys);
            let mut read = Vec::new();
            let is_read = input.read_to_end(&mut read).is_ok();
            assert!(plain.starts_with(&read), "{read:?}");
            let is_complete = is_read && input.ending() == Ending::Complete;
            assert!(!is_complete || read == plain, "what is missing at the end is missed");
        });
    }
}

proptest! {
    /// Cut anywhere and go on: what is read is what was kept and what was written then.
    #[test]
    fn a_file_can_be_cut_and_gone_on_with(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..8),
        at in 0.0..1.0,
    ) {
        let keys = keys(FIRST);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let mut bytes = encrypt(&pieces, &keys);
        let plain = pieces.concat();
        let kept = (plain.len() as f64 * at) as usize;
        let cut = find_cut(bytes.as_slice(), &keys, kept as u64).unwrap();
        bytes.truncate(cut.len as usize);
        let mut further = Vec::new();
        let mut encryptor = Encryptor::begin(&keys, cut.place, &mut further).unwrap();
        encryptor.seal(&cut.rest, &mut further);
        encryptor.seal(b"more", &mut further);
        encryptor.finish(&mut further);
        bytes.extend_from_slice(&further);
        let expected = [&plain[..kept], b"more"].concat();
        prop_assert_eq!(decrypt(&bytes, &keys), Ok((expected, Ending::Complete)));
    }

    #[test]
    fn any_bytes_are_safe(bytes: Vec<u8>, has_magic: bool) {
        let start: &[u8] = if has_magic { MAGIC } else { b"" };
        crate::fuzz::encrypted(&[start, &bytes].concat());
    }
}
