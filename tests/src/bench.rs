//! Rows of a benchmark: Ferry and a peer measured in turn in one run, the table, and the JSON.
//!
//! Machines are noisy: rounds of the two are interleaved, and the medians are compared.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Whether more is better or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    More,
    /// Latency.
    Less,
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub row: String,
    /// Against what.
    pub peer: String,
    /// Unit of both numbers.
    pub unit: &'static str,
    /// Which of them is the better one.
    pub better: Better,
    /// Ferry's rounds.
    pub ferry: Vec<f64>,
    /// The peer's rounds.
    pub peers: Vec<f64>,
    /// What is on disk when an operation counts as done, on both sides.
    pub durability: &'static str,
}

impl Row {
    /// How much better Ferry is: 2 is twice as good, also where less is better.
    pub fn ratio(&self) -> f64 {
        let (ferry, peer) = (median(&self.ferry), median(&self.peers));
        match self.better {
            Better::More => ferry / peer,
            Better::Less => peer / ferry,
        }
    }

    fn json(&self) -> Value {
        json!({
            "row": self.row,
            "peer": self.peer,
            "unit": self.unit,
            "ferry": rounded(median(&self.ferry)),
            "peer_value": rounded(median(&self.peers)),
            "ratio": rounded(self.ratio()),
            "durability": self.durability,
        })
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// End within three minutes.
    pub quick: bool,
    /// Where the rows go.
    pub json: Option<PathBuf>,
    /// How long a run that shows latencies takes, in minutes.
    pub minutes: Option<u64>,
}

impl Options {
    /// Reads `[--quick] [--json FILE] [--minutes N]`.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = Some(arguments.next().context("--json needs a file")?.into()),
                "--minutes" => {
                    let minutes = arguments.next().context("--minutes needs a number")?;
                    options.minutes = Some(minutes.parse().context("--minutes needs a number")?);
                }
                other => anyhow::bail!("{other}? usage: [--quick] [--json FILE] [--minutes N]"),
            }
        }
        Ok(options)
    }
}

/// Prints the table, and writes the rows where they are wanted.
///
/// # Errors
/// The host's, for the file.
pub fn report(rows: &[Row], json: Option<&Path>) -> Result<()> {
    report_with(rows, &[], json)
}

/// As [`report`], with more for the file behind the rows.
///
/// # Errors
/// The host's, for the file.
pub fn report_with(rows: &[Row], more: &[Value], json: Option<&Path>) -> Result<()> {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (first, second) = (width(|row| row.row.len()), width(|row| row.peer.len()));
    println!("{:first$}  {:second$}  {:>10}  {:>10}  {:>7}  unit", "row", "peer", "Ferry", "peer", "ratio");
    for row in rows {
        let (ferry, peer, ratio) = (median(&row.ferry), median(&row.peers), row.ratio());
        let (name, peer_name, unit) = (&row.row, &row.peer, row.unit);
        println!("{name:first$}  {peer_name:second$}  {ferry:10.1}  {peer:10.1}  {ratio:7.2}  {unit}");
    }
    if let Some(path) = json {
        let rows: Vec<_> = rows.iter().map(Row::json).chain(more.iter().cloned()).collect();
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(better: Better, ferry: f64, peer: f64) -> Row {
        let (row, peer_name) = (String::new(), String::new());
        Row { row, peer: peer_name, unit: "s", better, ferry: vec![ferry], peers: vec![peer], durability: "" }
    }

    #[test]
    fn a_ratio_above_one_means_that_ferry_is_better() {
        assert!((row(Better::More, 4.0, 2.0).ratio() - 2.0).abs() < 1e-9);
        assert!((row(Better::Less, 4.0, 2.0).ratio() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        assert!((median(&[1.0, 100.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 3.0]) - 2.0).abs() < 1e-9);
    }
}
