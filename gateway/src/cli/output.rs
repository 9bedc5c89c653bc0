//! Prints answers: as a table for people, or as the JSON that came.

use serde_json::Value;
use std::fmt::Write;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

impl Output {
    /// Prints a list with these columns (title, field), or one object field by field.
    pub(super) fn print(self, answer: &Value, columns: &[(&str, &str)]) {
        match (self, answer) {
            (Output::Json, answer) => println!("{answer:#}"),
            (Output::Table, Value::Array(rows)) => print!("{}", table(rows, columns)),
            (Output::Table, Value::Object(_)) => print!("{}", fields(answer, "")),
            (Output::Table, _) => {}
        }
    }

    /// Prints one change between two snapshots: a line for people, a line of JSON for programs.
    pub(super) fn print_change(self, change: &Value) {
        if self == Output::Json {
            println!("{change}");
            return;
        }
        let field = |name: &str| change.get(name).map_or_else(String::new, text);
        let from = change.get("from").map_or_else(String::new, |from| format!("  (was {})", text(from)));
        let ranges = change.get("ranges").and_then(Value::as_array).map_or(0, |ranges| {
            let len = |range: &Value| range.get(1)?.as_u64()?.checked_sub(range.get(0)?.as_u64()?);
            ranges.iter().filter_map(len).sum::<u64>()
        });
        let bytes = if ranges > 0 { format!("  ({})", human_bytes(ranges)) } else { String::new() };
        println!("{:<10}  {}{from}{bytes}", field("change"), field("path"));
    }

    /// Prints what was done; nothing for programs, which have the exit status.
    pub(super) fn done(self, text: &str) {
        if self == Output::Table {
            println!("{text}");
        }
    }
}

fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut lines = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, field)| cell(row, field)).collect()));
    let width =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// `a.b` goes into objects.
fn cell(row: &Value, field: &str) -> String {
    let value = field.split('.').try_fold(row, |value, part| value.get(part));
    let value = value.unwrap_or(&Value::Null);
    match (value.as_u64(), field.ends_with("bytes") || field.contains("bytes_per_s")) {
        (Some(bytes), true) => human_bytes(bytes),
        _ => text(value),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn fields(object: &Value, indent: &str) -> String {
    let mut out = String::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let line = match value {
            Value::Object(inner) if inner.is_empty() => format!("{indent}{name}: -\n"),
            Value::Object(_) => format!("{indent}{name}:\n{}", fields(value, &format!("{indent}  "))),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let lines = items.iter().map(|item| format!("{indent}  - {}\n", one_line(item)));
                format!("{indent}{name}:\n{}", lines.collect::<String>())
            }
            _ => format!("{indent}{name}: {}\n", cell(object, name)),
        };
        out.push_str(&line);
    }
    out
}

fn one_line(item: &Value) -> String {
    match item.as_object() {
        Some(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(name, value)| match value {
                    Value::Object(_) => format!("{name} ({})", one_line(value)),
                    _ => format!("{name} {}", cell(item, name)),
                })
                .collect();
            parts.join(", ")
        }
        None => text(item),
    }
}

/// `1536` as `1.5 KiB`.
pub(super) fn human_bytes(bytes: u64) -> String {
    let mut scale = 1u64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if bytes / scale < 1024 {
            break;
        }
        scale *= 1024;
        unit = next;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    if scale == 1 || tenths % 10 == 0 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// `10G`, `512 MiB`, `1.5T` or plain bytes; all units are powers of 1024.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it like 512M, 10G or 1.5T");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut bytes = whole.checked_mul(1 << shift).ok_or_else(wrong)?;
    if !fraction.is_empty() {
        let digits = fraction.get(..fraction.len().min(6)).ok_or_else(wrong)?;
        let part: u64 = digits.parse().map_err(|_| wrong())?;
        bytes += (part << shift) / 10u64.pow(u32::try_from(digits.len()).unwrap_or(6));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("10G"), Ok(10 << 30));
        assert_eq!(parse_bytes("1.5 MiB"), Ok(3 << 19));
        assert_eq!(parse_bytes("2tb"), Ok(2 << 40));
        for bad in ["", "G", "1x", "-1", "99999999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(1 << 30), "1 GiB");
        assert_eq!(human_bytes(12), "12 B");
    }

    #[test]
    fn columns_line_up() {
        let rows = [json!({"name": "a", "size_bytes": 1024}), json!({"name": "longer", "size_bytes": null})];
        let printed = table(&rows, &[("NAME", "name"), ("SIZE", "size_bytes")]);
        assert_eq!(printed, "NAME    SIZE\na       1 KiB\nlonger  -\n");
    }
}
