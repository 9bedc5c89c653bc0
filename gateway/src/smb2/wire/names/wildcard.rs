//! Patterns for names with the rules of DOS, MS-FSA §2.1.4.4: `*` any characters, `?` one character, and what the client makes of
//! these for programs of old: `<` (DOS_STAR) any characters up to the last period, `>` (DOS_QM) one character or none before
//! a period or the end, `"` (DOS_DOT) a period or nothing at the end.

use super::super::Malformed;
use super::super::status::NtStatus;

/// Characters of a pattern at the most: a name has 255, and the work is the product of both.
const PATTERN_LEN_MAX: usize = 512;

/// A pattern, ready to compare many names with it.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Folded.
    pattern: Vec<char>,
    fold: fn(char) -> char,
}

/// Whether a name has characters that make it a pattern.
#[must_use]
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '<', '>', '"'])
}

impl Pattern {
    /// `fold` makes those characters one that are to be equal: [`super::upcase`], or nothing at all where case counts.
    ///
    /// # Errors
    /// [`Malformed`] with `OBJECT_NAME_INVALID` for what is longer than any name's pattern.
    pub fn new(pattern: &str, fold: fn(char) -> char) -> Result<Pattern, Malformed> {
        if pattern.chars().nth(PATTERN_LEN_MAX).is_some() {
            return Err(Malformed::with("pattern", NtStatus::OBJECT_NAME_INVALID));
        }
        Ok(Pattern { pattern: pattern.chars().map(fold).collect(), fold })
    }

    /// Every name fits.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.pattern == ['*']
    }

    /// Whether the name fits. Takes time as the product of both lengths, whatever they hold.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.matches_all() {
            return true;
        }
        let name: Vec<char> = name.chars().map(self.fold).collect();
        let last_period = name.iter().rposition(|c| *c == '.');
        // fits[at]: the pattern from some place on fits the name from `at` on. Begins with the pattern's end, goes to its beginning.
        let mut fits = vec![false; name.len() + 1];
        fits[name.len()] = true;
        for &wanted in self.pattern.iter().rev() {
            // Of the pattern's rest, one character further in the name than the one that is looked at.
            let mut rest_after = false;
            for at in (0..=name.len()).rev() {
                let rest_here = fits[at];
                let this_after = at < name.len() && fits[at + 1];
                let c = name.get(at).copied();
                fits[at] = match wanted {
                    '*' => rest_here || this_after,
                    '<' if c.is_some() && Some(at) == last_period => rest_here || rest_after,
                    '<' => rest_here || this_after,
                    '?' => rest_after,
                    '>' if c == Some('.') => rest_here || (at + 1 == name.len() && rest_after),
                    '>' if c.is_none() => rest_here,
                    '>' => rest_after,
                    '"' if c.is_none() => rest_here,
                    '"' => c == Some('.') && rest_after,
                    _ => c == Some(wanted) && rest_after,
                };
                rest_after = rest_here;
            }
        }
        fits[0]
    }
}
