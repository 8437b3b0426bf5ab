//! Both sides in memory: records cut and spoilt anywhere, with something being written at every moment.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rubine_base::random::Random;
use rubine_config::Config;
use rubine_testing::papers::Papers;
use rustls::{ClientConfig, ConnectionTrafficSecrets};

use super::Channel;
use crate::tls::Contexts;
use crate::tls::fuzz::{End, fuzz_records};

fn contexts(papers: &Papers, protocols: &str) -> Contexts {
    let config = Config {
        tls_port: 1,
        tls_cert_file: Some(papers.path("server.crt")),
        tls_key_file: Some(papers.path("server.key")),
        tls_ca_cert_file: Some(papers.path("ca.crt")),
        tls_protocols: Some(protocols.to_owned()),
        ..Config::default()
    };
    Contexts::of(&config).unwrap().unwrap()
}

/// Carries what one has to say to the other, in pieces; spoils a byte of it if told to. Returns whether it was good.
fn carry(from: &mut End, to: &mut End, random: &mut Random, spoils: bool) -> bool {
    let mut sent = std::mem::take(&mut from.outgoing);
    if spoils && !sent.is_empty() {
        let at = random.below(sent.len() as u64) as usize;
        sent[at] ^= 1 << random.below(8);
    }
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let len = rest.len().min(1 + random.below(3000) as usize);
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        if !to.take(piece) {
            return false;
        }
        if !to.channel.is_handshaking() && random.below(4) == 0 {
            assert!(to.write(b""), "nothing can always be said");
        }
    }
    true
}

#[test]
fn what_is_said_arrives_however_it_is_cut() {
    let papers = Papers::new();
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let contexts = contexts(&papers, protocols);
        for seed in 1..40 {
            let mut random = Random::with_seed(seed);
            let (mut client, mut server) = End::pair(&contexts, Arc::clone(&contexts.client));
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            assert!(client.take(&[]));
            for _ in 0..20 {
                for (end, said) in [(&mut client, &mut asked), (&mut server, &mut answered)] {
                    if !end.channel.is_handshaking() {
                        let text = vec![random.below(256) as u8; random.below(50_000) as usize];
                        assert!(end.write(&text));
                        said.extend_from_slice(&text);
                    }
                }
                assert!(carry(&mut client, &mut server, &mut random, false));
                assert!(carry(&mut server, &mut client, &mut random, false));
            }
            assert!(carry(&mut client, &mut server, &mut random, false));
            assert!(!asked.is_empty() && server.told == asked && client.told == answered);
            assert!(server.channel.peer_certificate().is_some());
        }
    }
}

#[test]
fn what_is_spoilt_is_refused_and_never_heard() {
    let papers = Papers::new();
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let contexts = contexts(&papers, protocols);
        for seed in 1..300 {
            let mut random = Random::with_seed(seed);
            let (mut client, mut server) = End::pair(&contexts, Arc::clone(&contexts.client));
            let mut asked = Vec::new();
            assert!(client.take(&[]));
            for turn in 0..6 {
                if !client.channel.is_handshaking() {
                    assert!(client.write(b"PING\r\n"));
                    asked.extend_from_slice(b"PING\r\n");
                }
                let spoils = turn == seed % 6;
                if !carry(&mut client, &mut server, &mut random, spoils)
                    || !carry(&mut server, &mut client, &mut random, false)
                {
                    break;
                }
            }
            assert!(asked.starts_with(&server.told), "{protocols} {seed}");
        }
    }
}

#[test]
fn random_choices_of_the_fuzzer() {
    let papers = Papers::new();
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let contexts = contexts(&papers, protocols);
        for seed in 1..200 {
            let mut random = Random::with_seed(seed);
            let len = 20 + random.below(400) as usize;
            // Some of them spoil nothing.
            let mask = if seed % 3 == 0 { 0b1010_0101 } else { 0xff };
            let data: Vec<u8> = (0..len).map(|_| random.below(256) as u8 & mask).collect();
            fuzz_records(&contexts, &data);
        }
    }
}

/// The library keeps positions in what was received and not taken; it fell over when it was asked to write without that.
#[test]
fn half_of_a_message_does_not_keep_the_other_side_from_speaking() {
    let papers = Papers::new();
    let contexts = contexts(&papers, "TLSv1.3");
    let mut config = ClientConfig::clone(&contexts.client);
    config.enable_secret_extraction = true;
    let (mut client, mut server) = End::pair(&contexts, Arc::new(config));
    let mut random = Random::with_seed(1);
    assert!(client.take(&[]));
    for _ in 0..3 {
        assert!(carry(&mut client, &mut server, &mut random, false));
        assert!(carry(&mut server, &mut client, &mut random, false));
    }
    let Channel::Client(client) = client.channel else { panic!("it is a client") };
    let (secrets, _) = client.dangerous_into_kernel_connection().unwrap();
    let (mut sequence, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
        panic!("this cipher is preferred")
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    // The beginning of a message of a handshake that would be 256 bytes long, one byte at a time.
    for piece in [&[24][..], &[0], &[1], &[0], b"x"] {
        let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
        for (byte, number) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= number;
        }
        sequence += 1;
        let mut text = [piece, &[22]].concat();
        let len = text.len() + AES_256_GCM.tag_len();
        let header = [23, 3, 3, (len >> 8) as u8, len as u8];
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(header), &mut text).unwrap();
        if !server.take(&[&header[..], &text].concat()) {
            // It need not be accepted, but survived.
            return;
        }
        assert!(server.write(b"+PONG\r\n"));
    }
}
