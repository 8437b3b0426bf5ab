//! Ciphers and versions of TLS by the names that OpenSSL gives them. Chooses among those that there are, and no others.

use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::crypto::ring::cipher_suite as suites;
use rustls::version::{TLS12, TLS13};

/// A cipher of TLS 1.2 and the words that mean it in a list of OpenSSL's.
struct Cipher {
    name: &'static str,
    words: &'static [&'static str],
    bits: u16,
    suite: SupportedCipherSuite,
}

/// What each of ours is part of.
const COMMON: &[&str] = &[
    "ALL", "DEFAULT", "HIGH", "FIPS", "AEAD", "TLSv1.2", "ECDHE", "EECDH", "ECDH", "kECDHE",
    "kEECDH",
];

/// In the order in which they are preferred.
const CIPHERS: [Cipher; 6] = [
    Cipher {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        words: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SUITEB128", "SUITEB192"],
        bits: 256,
        suite: suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Cipher {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        words: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SUITEB128", "SUITEB128ONLY"],
        bits: 128,
        suite: suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Cipher {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        words: &["aECDSA", "ECDSA", "CHACHA20"],
        bits: 256,
        suite: suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Cipher {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        words: &["aRSA", "AES", "AES256", "AESGCM"],
        bits: 256,
        suite: suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Cipher {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        words: &["aRSA", "AES", "AES128", "AESGCM"],
        bits: 128,
        suite: suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
    Cipher {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        words: &["aRSA", "CHACHA20"],
        bits: 256,
        suite: suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
];

/// The ciphers of TLS 1.3, in the order in which they are preferred.
const SUITES: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suites::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suites::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suites::TLS13_CHACHA20_POLY1305_SHA256),
];

/// Those that OpenSSL has beyond ours.
const OTHER_SUITES: [&str; 2] = ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"];

impl Cipher {
    /// Whether it is meant by all of the words that are joined by `+`.
    fn is_meant_by(&self, joined: &str) -> bool {
        let is_meant =
            |word: &str| word == self.name || self.words.contains(&word) || COMMON.contains(&word);
        joined.split('+').all(is_meant)
    }
}

/// The ciphers of both versions, as `tls-ciphers` and `tls-ciphersuites` choose them; what is not set chooses all.
pub(super) fn choose(
    ciphers: Option<&str>,
    ciphersuites: Option<&str>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut chosen = match ciphersuites {
        Some(list) => choose_suites(list)?,
        None => SUITES.iter().map(|it| it.1).collect(),
    };
    chosen.extend(choose_ciphers(ciphers.unwrap_or("DEFAULT"))?.iter().map(|it| it.suite));
    Ok(chosen)
}

fn choose_suites(list: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut chosen = Vec::new();
    for name in list.split(':').map(str::trim).filter(|it| !it.is_empty()) {
        match SUITES.iter().find(|it| it.0 == name) {
            Some(&(_, suite)) if !chosen.contains(&suite) => chosen.push(suite),
            Some(_) => {}
            None if OTHER_SUITES.contains(&name) => {}
            None => {
                return Err(format!(
                    "Failed to configure ciphersuites: {list}: no such cipher: {name}"
                ));
            }
        }
    }
    if chosen.is_empty() {
        let known: Vec<_> = SUITES.iter().map(|it| it.0).collect();
        return Err(format!(
            "Failed to configure ciphersuites: {list}: none of them is among {}",
            known.join(", ")
        ));
    }
    Ok(chosen)
}

/// Reads a list as OpenSSL does: words add, `-` takes away, `!` takes away for good, `+` moves to the end. Words that mean
/// none of ours say nothing.
fn choose_ciphers(list: &str) -> Result<Vec<&'static Cipher>, String> {
    let mut chosen: Vec<&'static Cipher> = Vec::new();
    let mut is_banned = [false; CIPHERS.len()];
    for word in list.split([':', ',', ' ', ';']).filter(|it| !it.is_empty()) {
        if word == "@STRENGTH" {
            chosen.sort_by_key(|it| std::cmp::Reverse(it.bits));
            continue;
        }
        let (action, word) = match word.as_bytes()[0] {
            action @ (b'!' | b'-' | b'+') => (action, &word[1..]),
            _ => (b' ', word),
        };
        let meant = (0..CIPHERS.len()).filter(|&index| CIPHERS[index].is_meant_by(word));
        for index in meant {
            let cipher = &CIPHERS[index];
            let place = chosen.iter().position(|it| it.name == cipher.name);
            match (action, place) {
                (b' ', None) if !is_banned[index] => chosen.push(cipher),
                (b'-' | b'!', Some(place)) => drop(chosen.remove(place)),
                (b'+', Some(place)) => {
                    let moved = chosen.remove(place);
                    chosen.push(moved);
                }
                _ => {}
            }
            is_banned[index] |= action == b'!';
        }
    }
    if chosen.is_empty() {
        let known: Vec<_> = CIPHERS.iter().map(|it| it.name).collect();
        return Err(format!(
            "Failed to configure ciphers: {list}: none of them is among {}",
            known.join(", ")
        ));
    }
    Ok(chosen)
}

/// The versions that `tls-protocols` names; what is not set names all. Old ones are passed by, with a word in the log.
pub(super) fn versions(
    protocols: Option<&str>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let Some(list) = protocols else { return Ok(vec![&TLS13, &TLS12]) };
    let mut versions = Vec::new();
    for name in list.split(' ').filter(|it| !it.is_empty()) {
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.3" => versions.push(&TLS13),
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1" | "tlsv1.1" => {
                tracing::warn!("tls-protocols: {name} is not secure, and not spoken here");
            }
            _ => {
                return Err("Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and \
                            'TLSv1.3'."
                    .to_owned());
            }
        }
    }
    if versions.is_empty() {
        return Err(format!(
            "Invalid tls-protocols specified: none of '{list}' is spoken here, which are \
             'TLSv1.2' and 'TLSv1.3'."
        ));
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::{CIPHERS, choose, choose_ciphers, versions};

    fn names(list: &str) -> Vec<&'static str> {
        choose_ciphers(list).map(|it| it.iter().map(|it| it.name).collect()).unwrap_or_default()
    }

    #[test]
    fn lists_mean_what_they_mean_to_openssl() {
        let all: Vec<_> = CIPHERS.iter().map(|it| it.name).collect();
        for list in
            ["DEFAULT", "ALL", "HIGH:!aNULL:!MD5", "DEFAULT:!MEDIUM", "DEFAULT:-AES128-SHA256"]
        {
            assert_eq!(names(list), all, "{list}");
        }
        assert_eq!(
            names("ECDHE+AESGCM:!ECDSA"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            names("aRSA:+AES256:-CHACHA20"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:@STRENGTH"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("!aRSA:ALL").len(), 3);
        assert_eq!(names("AES128-SHA256:AES256-SHA"), [""; 0]);
        assert_eq!(names("+ECDHE:-:!"), [""; 0]);
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        assert!(versions(Some("TLSv1 TLSv1.1")).is_err());
        assert!(versions(Some("SSLv3")).is_err());
        assert_eq!(versions(Some("TLSv1.1 tlsv1.2")).map(|it| it.len()), Ok(1));
        assert!(choose(None, Some("TLS_NULL")).is_err());
        assert!(choose(None, Some("TLS_AES_128_CCM_SHA256")).is_err());
        assert_eq!(choose(None, Some("TLS_AES_128_GCM_SHA256")).map(|it| it.len()), Ok(7));
    }
}
