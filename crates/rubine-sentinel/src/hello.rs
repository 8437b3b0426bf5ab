//! Hello messages, by which Sentinels find each other and tell of new masters:
//! `ip,port,id,current epoch,name,master's ip,master's port,its configuration's epoch`.

use rubine_base::number::parse_u64_loosely;

use crate::address::is_host;

/// What a Sentinel says of itself and of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) master: String,
    pub(crate) master_host: String,
    pub(crate) master_port: u16,
    pub(crate) config_epoch: u64,
}

/// Longer ids are none.
const ID_LEN_MAX: usize = 64;

impl Hello {
    /// Reads a message. What comes from it may go into the configuration file, so its words must be words.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split(',');
        let [host, port, id, epoch, master, master_host, master_port, config_epoch] =
            std::array::from_fn(|_| parts.next());
        let hello = Self {
            host: host?.to_owned(),
            port: port?.parse().ok()?,
            id: id?.to_owned(),
            epoch: number(epoch?),
            master: master?.to_owned(),
            master_host: master_host?.to_owned(),
            master_port: master_port?.parse().ok()?,
            config_epoch: number(config_epoch?),
        };
        let is_id = (1..=ID_LEN_MAX).contains(&hello.id.len())
            && hello.id.bytes().all(|it| it.is_ascii_alphanumeric());
        let is_whole = parts.next().is_none();
        (is_whole && is_id && is_host(&hello.host) && is_host(&hello.master_host)).then_some(hello)
    }

    pub(crate) fn text(&self) -> String {
        let Self { host, port, id, epoch, master, master_host, master_port, config_epoch } = self;
        format!("{host},{port},{id},{epoch},{master},{master_host},{master_port},{config_epoch}")
    }
}

/// The digits in front, as C reads a number.
pub(crate) fn number(text: &str) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    parse_u64_loosely(&text.as_bytes()[..digits]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let text = "127.0.0.1,26379,abc0123,7,mymaster,10.0.0.2,6379,5";
        let hello = Hello::parse(text.as_bytes()).unwrap();
        assert_eq!((hello.epoch, hello.config_epoch, hello.master_port), (7, 5, 6379));
        assert_eq!(hello.text(), text);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "127.0.0.1,26379,abc,7,mymaster,10.0.0.2,6379",
            "127.0.0.1,26379,abc,7,mymaster,10.0.0.2,6379,5,6",
            "127.0.0.1,99999,abc,7,mymaster,10.0.0.2,6379,5",
            "127.0.0.1,1,a\nb,7,mymaster,10.0.0.2,6379,5",
            "a b,1,abc,7,mymaster,10.0.0.2,6379,5",
            "127.0.0.1,1,abc,7,mymaster,10.0.0.2\nsentinel,6379,5",
        ] {
            assert_eq!(Hello::parse(text.as_bytes()), None, "{text}");
        }
    }
}
