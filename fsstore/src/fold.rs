//! Names that differ in case alone: what a name is for who does not tell case apart.
//!
//! A name that is valid UTF-8 folds by Unicode's simple case folding (one character stays one: `ß` is not `ss`, and `İ` and
//! `ı` are themselves, in every locale); of any other name only the ASCII letters fold. The table is the volume
//! format's own, not that of the standard library or a crate, which an update changes.

mod table;

use std::borrow::Cow;
use table::RUNS;

/// The name as all that differ from it in case alone fold. Folding again changes nothing. It may be longer than the name, by half
/// at the most.
pub fn fold_name(name: &[u8]) -> Cow<'_, [u8]> {
    let text = if name.is_ascii() { None } else { str::from_utf8(name).ok() };
    match text {
        None if name.iter().any(u8::is_ascii_uppercase) => Cow::Owned(name.to_ascii_lowercase()),
        Some(text) if text.chars().any(|c| fold_char(c) != c) => {
            Cow::Owned(text.chars().map(fold_char).collect::<String>().into_bytes())
        }
        _ => Cow::Borrowed(name),
    }
}

fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let code = u32::from(c);
    let run = RUNS.get(RUNS.partition_point(|(_, last, ..)| *last < code));
    let folded = run.filter(|(first, _, step, _)| code >= *first && (code - first).is_multiple_of(*step));
    folded.and_then(|(.., add)| char::from_u32(code.wrapping_add_signed(*add))).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(name: &str) -> String {
        String::from_utf8(fold_name(name.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn letters_of_every_script_fold_one_by_one() {
        assert_eq!(folded("README.TXT"), "readme.txt");
        assert_eq!(folded("ÀÉÎÕÜ ŁÓDŹ Ÿ"), "àéîõü łódź ÿ");
        assert_eq!(folded("ΣΊΣΥΦΟΣ"), folded("σίσυφος"));
        assert_eq!(folded("ЁЖИК Ґ"), "ёжик ґ");
        // Armenian, Georgian, Cherokee (to its capitals, which are the older ones), Deseret.
        assert_eq!(folded("ԲԱՐԵ Ⴀ ꭰ 𐐀"), "բարե ⴀ Ꭰ 𐐨");
        // U+212A KELVIN SIGN, U+017F LONG S, U+00B5 MICRO SIGN, U+1E9E.
        assert_eq!(folded("\u{212a}\u{17f}\u{b5}\u{1e9e}"), "ksμß");
    }

    #[test]
    fn what_only_full_or_turkic_folding_changes_stays() {
        for name in ["straße", "ŉ", "ﬀ", "İ", "ı", "漢字", "e\u{301}"] {
            assert_eq!(folded(name), name);
        }
        assert_eq!(folded("I"), "i");
        assert_ne!(folded("STRASSE"), folded("straße"));
        // No normalization: a composed character is another than its parts.
        assert_ne!(folded("É"), folded("E\u{301}"));
    }

    #[test]
    fn other_bytes_fold_as_ascii() {
        assert_eq!(fold_name(b"Caf\xc9.TXT")[..], *b"caf\xc9.txt");
        // All of the name, also what would be valid in another.
        assert_eq!(fold_name("É\u{0}".as_bytes()), "é\u{0}".as_bytes());
        assert_eq!(fold_name(b"\xc3\x89A\xff")[..], *b"\xc3\x89a\xff");
    }

    /// Directories on disk are ordered by this: if it fails, a volume of before can't be read any more.
    #[test]
    fn the_table_is_the_one_of_the_volume_format() {
        let changed: Vec<(char, char)> =
            ('\0'..=char::MAX).map(|c| (c, fold_char(c))).filter(|(c, folded)| c != folded).collect();
        assert_eq!(changed.len(), 1484);
        assert!(
            changed.iter().all(|(_, folded)| fold_char(*folded) == *folded),
            "folding again changes nothing"
        );
        assert!(RUNS.windows(2).all(|pair| pair[0].1 < pair[1].0), "the table is ascending");
        let text: String = changed.iter().flat_map(|(c, folded)| [*c, *folded]).collect();
        assert_eq!(crate::layout::checksum(text.as_bytes()), 15_208_190_470_405_661_562);
    }
}
