//! Signs of life on the control stream: when to give one, and when the peer's have been missing too long.
//! Pure; the cutover timer is the machine's.

/// Between two signs of life, in milliseconds.
pub const INTERVAL_MS: u64 = 250;
/// Without one for this long, the link counts as down, in milliseconds.
pub const LOSS_MS: u64 = 3_000;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Send one, with this number.
    Send(u64),
    /// The peer is silent: give the link up.
    Lost,
    /// Nothing yet.
    Nothing,
}

/// State of one link's heartbeat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    heard_ms: u64,
    sent_ms: Option<u64>,
    number: u64,
}

impl Heartbeat {
    /// A link that came up now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Heartbeat { heard_ms: now_ms, sent_ms: None, number: 0 }
    }

    /// Anything arrived.
    pub fn heard(&mut self, now_ms: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
    }

    /// What is due now.
    pub fn poll(&mut self, now_ms: u64) -> Due {
        if now_ms >= self.heard_ms + LOSS_MS {
            return Due::Lost;
        }
        if self.sent_ms.is_none_or(|at| now_ms >= at + INTERVAL_MS) {
            self.sent_ms = Some(now_ms);
            self.number += 1;
            return Due::Send(self.number);
        }
        Due::Nothing
    }

    /// When to poll at the latest.
    #[must_use]
    pub fn next_ms(&self) -> u64 {
        let send = self.sent_ms.map_or(self.heard_ms, |at| at + INTERVAL_MS);
        send.min(self.heard_ms + LOSS_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_in_its_interval_and_notices_silence() {
        let mut beat = Heartbeat::new(1000);
        assert_eq!(beat.poll(1000), Due::Send(1));
        assert_eq!(beat.poll(1249), Due::Nothing);
        assert_eq!(beat.next_ms(), 1250);
        assert_eq!(beat.poll(1250), Due::Send(2));
        beat.heard(2000);
        assert_eq!(beat.poll(4999), Due::Send(3));
        assert_eq!(beat.next_ms(), 5000);
        assert_eq!(beat.poll(5000), Due::Lost);
    }
}
