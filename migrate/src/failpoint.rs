//! Places where tests make a migration fail: a process that ends, a link that breaks. Off unless asked for.
//!
//! A place is named `role.phase.step`, e.g. `source.cutover.freeze`: it is hit just before the driver does
//! that step in that phase. `FERRY_FAILPOINT=source.cutover.freeze:exit` in the environment, where the
//! gateway reads it, ends the process there; `:cut` breaks the link once.

use parking_lot::Mutex;
use std::sync::Arc;

/// What happens at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailAction {
    /// The process ends at once, as if killed.
    Exit,
    /// The link breaks.
    Cut,
    /// This migration's driver stops as if the process had ended (for tests within one process).
    Stop,
}

type Hook = dyn FnMut(&str) -> Option<FailAction> + Send;

/// The places that are armed.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<Mutex<Hook>>>);

impl std::fmt::Debug for Failpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Failpoints(armed: {})", self.0.is_some())
    }
}

impl Failpoints {
    /// None: nothing ever fails.
    #[must_use]
    pub fn off() -> Self {
        Failpoints(None)
    }

    /// Asks `hook` at every place.
    pub fn hook(hook: impl FnMut(&str) -> Option<FailAction> + Send + 'static) -> Self {
        Failpoints(Some(Arc::new(Mutex::new(hook))))
    }

    /// Parses `place:exit` or `place:cut`, several separated by commas. Each fires once.
    ///
    /// # Errors
    /// The part that makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut armed = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (place, action) = part.rsplit_once(':').ok_or_else(|| part.to_owned())?;
            let action = match action {
                "exit" => FailAction::Exit,
                "cut" => FailAction::Cut,
                _ => return Err(part.to_owned()),
            };
            armed.push((place.to_owned(), action));
        }
        if armed.is_empty() {
            return Ok(Self::off());
        }
        Ok(Self::hook(move |place| {
            let at = armed.iter().position(|(name, _)| name == place)?;
            Some(armed.swap_remove(at).1)
        }))
    }

    /// Passes a place. Does not return if the process is to end here.
    pub(crate) fn hit(&self, place: &str) -> Option<FailAction> {
        let action = self.0.as_ref().and_then(|hook| (hook.lock())(place))?;
        tracing::warn!(place, ?action, "failpoint");
        if action == FailAction::Exit {
            std::process::exit(86);
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_places_fire_once() {
        let points = Failpoints::parse("source.cutover.freeze:cut, a.b.c:cut").unwrap();
        assert_eq!(points.hit("source.cutover.thaw"), None);
        assert_eq!(points.hit("source.cutover.freeze"), Some(FailAction::Cut));
        assert_eq!(points.hit("source.cutover.freeze"), None);
        assert_eq!(Failpoints::parse("x:y").unwrap_err(), "x:y");
        assert_eq!(Failpoints::off().hit("anything"), None);
    }
}
