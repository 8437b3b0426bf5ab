//! What a certificate says of itself: when it ends, its number, and the names of whom it is for. Trusts none.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// What INFO tells of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its number, in hexadecimal digits.
    pub serial: String,
    /// When it ends, Unix seconds.
    pub expires_at: i64,
}

impl CertificateFacts {
    /// `None` for what is no certificate that can be read here.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let end = certificate.validity.not_after.to_unix_duration().as_secs();
        let serial: String =
            certificate.serial_number.as_bytes().iter().map(|it| format!("{it:02X}")).collect();
        let serial = match serial.trim_start_matches("00") {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        };
        Some(Self { serial, expires_at: i64::try_from(end).unwrap_or(i64::MAX) })
    }

    /// Of the one that ends first.
    pub(super) fn of_first_to_end<'a>(
        certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> Option<Self> {
        certificates.into_iter().filter_map(Self::of).min_by_key(|it| it.expires_at)
    }
}

/// The common name of whom a certificate is for, as it was signed, even with a zero byte in it.
pub(super) fn common_name(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    let names = certificate.tbs_certificate.subject.0;
    let mut attributes = names.iter().flat_map(|it| it.0.iter());
    let name = attributes.find(|it| it.oid == COMMON_NAME)?.value.value();
    (!name.is_empty()).then(|| name.to_vec())
}

/// The URIs among the other names of whom a certificate is for, in their order. One with a zero byte could be taken for
/// another one, and is none.
pub(super) fn uris(der: &CertificateDer<'_>) -> Vec<Vec<u8>> {
    let Ok(certificate) = Certificate::from_der(der) else { return Vec::new() };
    let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
    let names = extensions.iter().find(|it| it.extn_id == SUBJECT_ALT_NAME);
    let Some(names) = names.and_then(|it| SubjectAltName::from_der(it.extn_value.as_bytes()).ok())
    else {
        return Vec::new();
    };
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_bytes().to_vec()),
        _ => None,
    };
    names.0.iter().filter_map(uri).filter(|it| !it.is_empty() && !it.contains(&0)).collect()
}
