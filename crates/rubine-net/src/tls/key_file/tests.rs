//! Keys as OpenSSL writes them, all of them the same one, which belongs to nobody; the passphrase is 1234.

use rustls::pki_types::PrivateKeyDer;

use super::{KeyError, parse_key};

const PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/DJgOUcVLxwjA56e
sNBB/qlRxgtmyeZO8YQ5nUHespOhRANCAAT82RKqJJXxuYN1YhYdscRNrCA4eD9F
q+C2FqVgXuK97jRqp9t8BlEmXbR9algneF9QSMbiDUlzxPWI9YdzKGcA
-----END PRIVATE KEY-----
";

const PKCS8_AES_256: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgexTLadaBmoAICA+gw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAYLHO3bCud0c35zoqJbfqUEgZDT
pHWv1jO1ioL9p87WobWjsMLWTpqJsIr6lRQKAib+aKjp7qQYTTZQmhU2X2i+qcwn
P6Zm0Od3GhL1vZRlDmk2l3eDPgmr+F9ovEXIDcqVtTmzV0xGNx4q9qJLllYPgbWa
hJowPxqUQk9IRS1ZGx7Zx//Pq0M43uq0NDX0wuJnX7CdGOkds9oNVr0KtqM2I3g=
-----END ENCRYPTED PRIVATE KEY-----
";

const PKCS8_AES_128_SHA1: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAih8uu76+c5qwICA+gw
HQYJYIZIAWUDBAECBBAKPoXhlZROwPnhRW8nDkEGBIGQmJ3o0eBZVrzz8IdSN/B9
mxZQ7dLNeG5x2sGtKC0NQlgLuTUpn1wzk6G1cRSyxQGIF0hEvL52xiJThe5PZEuT
zmULY0kQdJnwWTnizTcvASkNq53vdeHva+gn9DtCfBs2kTTg49wMEclEAt2cWZrz
ZIvjAAKJ6RCl+4Ppk912aODAbzqrFid6ed4j6D0agUMC
-----END ENCRYPTED PRIVATE KEY-----
";

const PKCS8_3DES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAi0gkZGl31SLQICA+gw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIn56slVYVJUoEgZAPFmKNDK12ryMk
vsVUu8yNyf5oHaXBnd/NI1f2xP/FageYG8aSoyu4FY6dMGyGgnk3nRRukZIuDBXw
5WzTT6dXgopZHwZ1eYCul0lAj5MxvKSy3SX4B/ZzQWBBd0dHYfWPQJfzZLQNplCW
dzOWoSgLGBDtHSvuoUEr8Vlq26hAIWobZYTXu/P9SW1qk2/Olfg=
-----END ENCRYPTED PRIVATE KEY-----
";

const PKCS8_SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAhkYhp2qDznoAICBAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBD2HOEGacGo+ZLCJhQ4v78oBIGQJO1OJoWOTJH1
i3uHf9d/8NHjYyDWPYfgiJlZjD8cD1ebjhCBlps9TV20SzKV4RUZ0wGlWVUmGF/g
IHGH//CafE+Dwymv9KjXxnG2zwOhsKaMkkniBkhn2/j+A3qiT4o0dn8c7isbonu9
9fczCc79vGezkFHiziDBKssmiMbDvCvj3WMi4KFRvHfgEaQsgdm/
-----END ENCRYPTED PRIVATE KEY-----
";

const PKCS8_OLD: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGxMBwGCiqGSIb3DQEMAQMwDgQIdYup6et79B0CAggABIGQTCvE0VrekibTjLho
KQTwaDiNuioml//5iloChUiuVcwH77JuNgc9jrTjbdEnCAhAPaNmpAmtD8c6FAbR
Stmwp4H4+Z+yCwURcOe7xK6TB4kWKwX/v0lEmFb59rawziGdl9x+X5WCQoNoLFgl
MpnvYrQCcqorVXEUAHhOhuS5IGuQRhT2eI2fioF98IbnajGO
-----END ENCRYPTED PRIVATE KEY-----
";

const TRADITIONAL: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIPwyYDlHFS8cIwOenrDQQf6pUcYLZsnmTvGEOZ1B3rKToAoGCCqGSM49
AwEHoUQDQgAE/NkSqiSV8bmDdWIWHbHETawgOHg/RavgthalYF7ive40aqfbfAZR
Jl20fWpYJ3hfUEjG4g1Jc8T1iPWHcyhnAA==
-----END EC PRIVATE KEY-----
";

const TRADITIONAL_AES_256: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,5B8199A5F4038F6FC0EEA9EC74ADED2A

pqDglGaRV/nmiyjI6QHEQN3ABMpoZWki5+ThafPIrv1h69qn0Z7n3kvtLIwJFg/u
WTfJ6cHqgP0MlSZqgP2fDVK9+BPUqB6ibg3vZwpQrkUOoqCSULJpCmseQv0oI8eW
UHV08pUFSUygEAdOTB5AcQMeXSegcf9DbHSTztpTLkA=
-----END EC PRIVATE KEY-----
";

const TRADITIONAL_AES_192: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-192-CBC,180795FFD9AB4D2D4FB8DE9DF6217608

cgtR0iD+reb5FhVYF5fuYyLegQCsMNYVperccGUPslz3wsPAf41+8ytAshMy9RBJ
zZTdvoMm/ESPxkEn3WjjhTDpXarU1GogQ3s/VSSx2Q/Pzv71FMu2K/bq5D0x6OSR
sRBBZNhIhwH4CrJytsa2r6vArQt8+P1XafguPB5o2eM=
-----END EC PRIVATE KEY-----
";

const TRADITIONAL_AES_128: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,F8F279FEDC1BA9973A27FF87E43BCA04

dmWrdqQ/HBZRmCZMGq9hgCicu5E4ur2/NWTOyvb0EZZksp5wq1WDRpADj111j3lH
sQ9joq8IAZqOdTyLQ79eUPC/bQ/aQsw6fgnALrn4alDsuAWI+5rY9YUU4QaVdpVQ
4t1Pju1MioSojwFNgwfpSj0bPQG/1SL8Okw3WKQQG/w=
-----END EC PRIVATE KEY-----
";

const TRADITIONAL_3DES: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: DES-EDE3-CBC,E0E3B98134FC07D0

BhVTD0wZgooayt0xO6rRLhbhIcbIFKgAjXZBx3q12hQ4TAOd7RLZM4vpQAftmE1y
F9541PJlIPWt8wQ7dh5e3w0T9UcWZnNauJtuVHGZonZjkTutkjnTMrwbK4ubWYTl
Aa+PVdq+4ArBQTC+TJ8x0wSrmiSOpchbg52SKRHFmNY=
-----END EC PRIVATE KEY-----
";

const PASSPHRASE: Option<&[u8]> = Some(b"1234");

fn contents(pem: &str, passphrase: Option<&[u8]>) -> Result<Vec<u8>, KeyError> {
    parse_key(pem, passphrase).map(|it| it.secret_der().to_vec())
}

#[test]
fn what_openssl_encrypts_is_opened() {
    let key = contents(PKCS8, None).unwrap();
    for pem in [PKCS8_AES_256, PKCS8_AES_128_SHA1, PKCS8_3DES, PKCS8_SCRYPT] {
        assert_eq!(contents(pem, PASSPHRASE).as_ref(), Ok(&key), "{pem}");
        assert_eq!(contents(pem, None), Err(KeyError::NoPassphrase));
        assert_eq!(contents(pem, Some(b"12345")), Err(KeyError::WrongPassphrase));
    }
    let key = contents(TRADITIONAL, None).unwrap();
    let encrypted =
        [TRADITIONAL_AES_256, TRADITIONAL_AES_192, TRADITIONAL_AES_128, TRADITIONAL_3DES];
    for pem in encrypted {
        assert_eq!(contents(pem, PASSPHRASE).as_ref(), Ok(&key), "{pem}");
        assert_eq!(contents(pem, None), Err(KeyError::NoPassphrase));
        // By chance, what a wrong one makes of it may end as a key does.
        assert_ne!(contents(pem, Some(b"12345")).as_ref(), Ok(&key));
    }
    assert_eq!(contents(PKCS8_OLD, PASSPHRASE), Err(KeyError::NotPbes2));
}

#[test]
fn a_key_is_found_among_other_things() {
    let text = format!(
        "Bag Attributes\n-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n{PKCS8}"
    );
    assert!(matches!(parse_key(&text, None), Ok(PrivateKeyDer::Pkcs8(_))));
    assert!(matches!(parse_key(TRADITIONAL, None), Ok(PrivateKeyDer::Sec1(_))));
    assert_eq!(contents("", None), Err(KeyError::NoKey));
    assert_eq!(contents("-----BEGIN PUBLIC KEY-----", None), Err(KeyError::NoKey));
}

#[test]
fn damage_is_an_error() {
    for pem in [PKCS8_AES_256, PKCS8_SCRYPT, TRADITIONAL_3DES, PKCS8] {
        for cut in 0..pem.len() {
            let _ = contents(&pem[..cut], PASSPHRASE);
            let mut spoilt = pem.as_bytes().to_vec();
            spoilt[cut] = spoilt[cut].wrapping_add(1);
            if pem != PKCS8_SCRYPT {
                let _ = contents(&String::from_utf8_lossy(&spoilt), PASSPHRASE);
            }
        }
    }
}
