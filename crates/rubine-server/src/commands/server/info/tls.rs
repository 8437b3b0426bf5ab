//! The section of INFO about certificates.

use rubine_net::tls::{CertificateFacts, Facts};

use super::{Source, Text};

pub(super) fn tls(source: &Source<'_>, text: &mut Text) {
    let current = source.server.ports.tls.current();
    let Facts { server, client, authority } =
        current.as_ref().map(|it| it.facts.clone()).unwrap_or_default();
    for (name, facts) in [("server", server), ("client", client), ("ca", authority)] {
        let seconds = facts.as_ref().map_or(0, |it| (it.expires_at - source.now / 1000).max(0));
        text.field(&format!("tls_{name}_cert_serial"), serial(facts.as_ref()));
        text.field(&format!("tls_{name}_cert_expires_in_seconds"), seconds);
    }
}

fn serial(facts: Option<&CertificateFacts>) -> &str {
    facts.map_or("none", |it| &it.serial)
}
