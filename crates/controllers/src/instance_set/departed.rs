//! Members that have just gone. Their names rest a moment before a new member takes them: a client that waits for
//! a deletion looks at the name a few times in a row (`kubectl delete` lists, then watches), and one that finds it
//! taken again would wait for ever. Forgetting all of this, as a restart does, loses nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a name rests: many round trips of a client on a busy machine, and little to who waits for the member.
const REST: Duration = Duration::from_millis(500);

/// When which name went. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Departed {
    resting: Arc<Mutex<Resting>>,
}

#[derive(Debug, Default)]
struct Resting {
    names: HashMap<String, Instant>,
    /// The same, oldest first; a name that went twice is in it twice.
    order: VecDeque<(Instant, String)>,
}

impl Departed {
    pub(super) fn note(&self, key: String) {
        let now = Instant::now();
        let mut resting = self.resting.lock();
        while let Some((went, name)) = resting.order.pop_front_if(|(went, _)| now - *went >= REST) {
            if resting.names.get(&name) == Some(&went) {
                resting.names.remove(&name);
            }
        }
        resting.names.insert(key.clone(), now);
        resting.order.push_back((now, key));
    }

    /// How long the name still rests; nothing when it may be taken.
    pub(super) fn wait(&self, key: &str) -> Option<Duration> {
        let went = self.resting.lock().names.get(key).copied()?;
        REST.checked_sub(went.elapsed()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_rests_for_a_moment_only() {
        let departed = Departed::default();
        departed.note("p/web-0".into());
        assert_eq!(departed.wait("p/web-0"), Some(REST));
        assert_eq!(departed.wait("p/web-1"), None);
        tokio::time::advance(REST).await;
        assert_eq!(departed.wait("p/web-0"), None);
    }
}
