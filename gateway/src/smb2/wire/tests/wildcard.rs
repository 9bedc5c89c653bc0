//! Patterns.

use super::super::names::upcase;
use super::super::names::wildcard::{Pattern, is_pattern};
use super::samples::Random;
use std::time::{Duration, Instant};

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern, upcase).unwrap().matches(name)
}

#[test]
fn patterns_follow_the_rules_of_dos() {
    for (pattern, fitting, not) in [
        ("*", &["", "a", "a.b", "."][..], &[][..]),
        ("a", &["a", "A"], &["", "b", "aa"]),
        ("É*", &["é", "éa"], &["e"]),
        ("a*c", &["ac", "abc", "a.bcc"], &["a", "c", "acb"]),
        ("*.*", &["a.b", ".", "a.", ".b"], &["a", ""]),
        ("?", &["a", "."], &["", "ab"]),
        ("a?c", &["abc", "a.c"], &["ac", "abbc"]),
        // DOS_QM: none at the end and before a period.
        (">", &["", "a"], &["ab"]),
        ("a>>", &["a", "ab", "abc"], &["abcd", "a.b"]),
        ("a>>.b", &["a.b", "ax.b", "axy.b"], &["axyz.b", "a"]),
        (">.>", &["a.b", ".b", "a.", "."], &["ab.c", "a"]),
        // DOS_STAR: up to the last period.
        ("<.txt", &["a.txt", "a.b.txt", ".txt"], &["a.txt.b", "txt"]),
        ("<", &["", "a", "a.", "a.b."], &["a.b"]),
        // DOS_DOT: a period, or nothing at the end.
        ("a\"", &["a", "a."], &["ab", "a.b"]),
        ("a\"b", &["a.b"], &["ab"]),
        ("<\"*", &["a", "a.b", "a.b.c", ""], &[]),
        ("", &[""], &["a"]),
    ] {
        for name in fitting {
            assert!(matches(pattern, name), "{pattern:?} {name:?}");
        }
        for name in not {
            assert!(!matches(pattern, name), "{pattern:?} {name:?}");
        }
    }
}

#[test]
fn the_caller_says_what_is_equal() {
    let exact = Pattern::new("aB*", |c| c).unwrap();
    assert!(exact.matches("aBc") && !exact.matches("abc"));
    assert!(Pattern::new("*", |c| c).unwrap().matches_all());
    assert!(is_pattern("a<") && !is_pattern("a.b"));
    assert!(Pattern::new(&"*".repeat(513), upcase).is_err());
}

/// The rules once more, as they are written: each character of the pattern with all that it may stand for.
fn by_definition(pattern: &[char], name: &[char]) -> bool {
    let Some((wanted, rest)) = pattern.split_first() else { return name.is_empty() };
    let first = name.first();
    match wanted {
        '*' => (0..=name.len()).any(|len| by_definition(rest, &name[len..])),
        '<' => {
            // With the last period, or up to it; where there is none (any more), all.
            let most = name.iter().rposition(|c| *c == '.').map_or(name.len(), |last| last + 1);
            (0..=most).any(|len| by_definition(rest, &name[len..]))
        }
        '?' => first.is_some() && by_definition(rest, &name[1..]),
        '>' if first == Some(&'.') => {
            by_definition(rest, name) || (name.len() == 1 && by_definition(rest, &[]))
        }
        '>' if first.is_none() => by_definition(rest, name),
        '>' => by_definition(rest, &name[1..]),
        '"' if first.is_none() => by_definition(rest, name),
        '"' => first == Some(&'.') && by_definition(rest, &name[1..]),
        _ => first == Some(wanted) && by_definition(rest, &name[1..]),
    }
}

#[test]
fn random_patterns_match_as_the_rules_say() {
    let mut random = Random::seeded();
    let mut text = |alphabet: &str, len: usize| -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..random.below(len)).map(|_| alphabet[random.below(alphabet.len())]).collect()
    };
    let mut hits = 0;
    for _ in 0..30_000 {
        let (pattern, name) = (text("ab.*?<>\"", 7), text("ab.", 8));
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = by_definition(&chars(&pattern), &chars(&name));
        assert_eq!(Pattern::new(&pattern, |c| c).unwrap().matches(&name), expected, "{pattern:?} {name:?}");
        hits += usize::from(expected);
    }
    assert!(hits > 1000, "{hits} of the pairs match");
}

#[test]
fn a_spiteful_pattern_takes_no_longer_than_others() {
    let pattern = Pattern::new(&"*a<".repeat(170), upcase).unwrap();
    let begun = Instant::now();
    assert!(!pattern.matches(&format!("{}b", "a.".repeat(127))));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
