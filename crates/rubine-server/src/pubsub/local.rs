//! Which of one worker's clients listen to a name. Never sends anything.

use std::sync::Arc;

use rubine_base::hash::HashMap;

use crate::client::subscriptions::ChannelKind;

/// Clients that listen to a name, each with the version from which on messages are for it.
type Listeners = HashMap<u64, u64>;

/// Which of a worker's clients listen to a name.
#[derive(Debug, Default)]
pub(crate) struct LocalSubscribers {
    pub(crate) by_name: [HashMap<Arc<[u8]>, Listeners>; ChannelKind::COUNT],
}

impl LocalSubscribers {
    /// The clients that listen to a name since `version` or before.
    pub(crate) fn listening(
        &self,
        kind: ChannelKind,
        name: &[u8],
        version: u64,
    ) -> impl Iterator<Item = u64> {
        let clients = self.by_name[kind.index()].get(name).into_iter().flatten();
        clients.filter(move |&(_, &since)| since <= version).map(|(&client, _)| client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_for_nobody_who_came_later() {
        let mut subscribers = LocalSubscribers::default();
        let listeners = Listeners::from_iter([(7, 1), (8, 2), (9, 4)]);
        subscribers.by_name[ChannelKind::Pattern.index()]
            .insert(Arc::from(b"a*".as_slice()), listeners);
        for (version, expected) in [(0, vec![]), (1, vec![7]), (3, vec![7, 8]), (4, vec![7, 8, 9])]
        {
            let mut clients: Vec<_> =
                subscribers.listening(ChannelKind::Pattern, b"a*", version).collect();
            clients.sort_unstable();
            assert_eq!(clients, expected, "sent at {version}");
        }
        assert_eq!(subscribers.listening(ChannelKind::Channel, b"a*", 9).count(), 0);
    }
}
