//! What directives say about alerts: who is told, and the labels of all of them. Sends nothing.

use rubine_alerts::{Labels, WEBHOOKS_MAX, Webhook};

use super::setting::{Rule, Setting, utf8};

/// Labels of all alerts: no more than these.
const LABELS_MAX: usize = 16;

/// Who is told of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertWebhooks(pub Vec<Webhook>);

/// Each URL begins another webhook; nothing at all removes those that there are.
impl Setting for AlertWebhooks {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let mut words = Vec::new();
        for argument in arguments.iter().filter(|it| !it.is_empty()) {
            words.push(utf8(argument)?);
        }
        if words.is_empty() {
            self.0.clear();
            return Ok(());
        }
        let mut begins: Vec<usize> =
            (0..words.len()).filter(|it| Webhook::is_url(words[*it])).collect();
        // What stands before the first URL is told to be none.
        if begins.first() != Some(&0) {
            begins.insert(0, 0);
        }
        begins.push(words.len());
        for part in begins.windows(2) {
            let webhook = Webhook::parse(&words[part[0]..part[1]])?;
            self.0.retain(|it| it.url != webhook.url || it.format != webhook.format);
            self.0.push(webhook);
        }
        if WEBHOOKS_MAX < self.0.len() {
            return Err(format!("there are {WEBHOOKS_MAX} webhooks at most"));
        }
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        let words: Vec<String> = self.0.iter().flat_map(Webhook::words).collect();
        words.join(" ").into_bytes()
    }

    fn lines(&self, _: Rule) -> Vec<Vec<u8>> {
        self.0.iter().map(|it| it.words().join(" ").into_bytes()).collect()
    }
}

/// Labels that every alert has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLabels(pub Labels);

impl Setting for AlertLabels {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let mut labels = Labels::new();
        for argument in arguments.iter().filter(|it| !it.is_empty()) {
            let text = utf8(argument)?;
            let (name, value) = text.split_once('=').ok_or("a label is given as name=value")?;
            let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
            let is_name = !name.is_empty()
                && !name.as_bytes()[0].is_ascii_digit()
                && name.bytes().all(is_word);
            if !is_name || ["alertname", "severity", "instance"].contains(&name) {
                return Err(format!("'{name}' cannot be the name of a label"));
            }
            labels.insert(name.to_owned(), value.to_owned());
        }
        if LABELS_MAX < labels.len() {
            return Err(format!("alerts have {LABELS_MAX} labels at most"));
        }
        self.0 = labels;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        let words: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        words.join(" ").into_bytes()
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![if self.0.is_empty() { b"\"\"".to_vec() } else { self.text(rule) }]
    }
}
