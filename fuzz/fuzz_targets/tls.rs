//! Lets arbitrary bytes decide where the records of TLS are cut and spoilt. Never looks inside: what must hold is asserted by
//! the plain function that it calls.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rubine_config::Config;
use rubine_net::tls::Contexts;
use rubine_testing::papers::Papers;

/// Of each version that is spoken.
static CONTEXTS: LazyLock<[Contexts; 2]> = LazyLock::new(|| {
    let papers = Papers::new();
    ["TLSv1.2", "TLSv1.3"].map(|protocols| {
        let config = Config {
            tls_port: 1,
            tls_cert_file: Some(papers.path("server.crt")),
            tls_key_file: Some(papers.path("server.key")),
            tls_ca_cert_file: Some(papers.path("ca.crt")),
            tls_protocols: Some(protocols.to_owned()),
            ..Config::default()
        };
        Contexts::of(&config).expect("the files are good").expect("there is a port")
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    rubine_net::tls::fuzz::fuzz_records(&CONTEXTS[usize::from(kind % 2)], data);
});
