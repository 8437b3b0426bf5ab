//! What the list of processes shows of this one, made from `proc-title-template`.

use std::borrow::Cow;

use rubine_config::{Config, ConfigSource, expand_template};
use rubine_system::title;

/// Shows the title that the configuration asks for, if it does.
pub(crate) fn show(config: &Config, source: &ConfigSource) {
    if config.set_proc_title {
        let text = of(config, source, &title::program());
        title::set(text.as_bytes());
    }
}

fn of(config: &Config, source: &ConfigSource, program: &str) -> String {
    let value_of = |name: &str| {
        Some(match name {
            "title" => Cow::Borrowed(program),
            "listen-addr" => Cow::Owned(listen_address(config)),
            "server-mode" => Cow::Borrowed(if config.cluster_enabled { "[cluster]" } else { "" }),
            "config-file" => match &source.file {
                Some(path) => path.to_string_lossy(),
                None => Cow::Borrowed("-"),
            },
            "port" => Cow::Owned(config.port.to_string()),
            "tls-port" => Cow::Owned(config.tls_port.to_string()),
            "unixsocket" => Cow::Borrowed(config.unixsocket.as_deref().unwrap_or_default()),
            _ => return None,
        })
    };
    // An unknown variable was refused when the template was set.
    expand_template(&config.proc_title_template, value_of).unwrap_or_default()
}

fn listen_address(config: &Config) -> String {
    let port = if config.port == 0 { config.tls_port } else { config.port };
    if port == 0 {
        return format!("unixsocket:{}", config.unixsocket.as_deref().unwrap_or_default());
    }
    let first = config.bind.iter().find(|it| !it.is_empty()).map_or("*", String::as_str);
    format!("{first}:{port}")
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigSource, of};

    fn title(arguments: &[&str]) -> String {
        let arguments: Vec<_> = arguments.iter().map(|it| it.as_bytes().to_vec()).collect();
        let (config, _) = Config::from_args(&arguments, rubine_config::Mode::Server)
            .expect("the arguments are right");
        let file = Some("/etc/rubine.conf".into());
        of(&config, &ConfigSource { file, ..ConfigSource::default() }, "./rubine-server")
    }

    #[test]
    fn it_says_what_the_template_asks_for() {
        assert_eq!(title(&[]), "./rubine-server *:6379");
        assert_eq!(title(&["--bind", "::1 127.0.0.1", "--port", "7"]), "./rubine-server ::1:7");
        assert_eq!(title(&["--bind", ""]), "./rubine-server *:6379");
        let closed = title(&["--port", "0", "--unixsocket", "/a.sock"]);
        assert_eq!(closed, "./rubine-server unixsocket:/a.sock");
        let template = " {{x} {port}{tls-port} {unixsocket}|{config-file} ";
        assert_eq!(title(&["--proc-title-template", template]), "{x} 63790 |/etc/rubine.conf");
    }
}
