//! Rows of a benchmark: Ferry and a peer measured in turn in one run, the table, and the JSON.
//!
//! Machines are noisy: rounds of the two are interleaved, and the medians are compared.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Whether more is better or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    More,
    /// Latency.
    Less,
}

/// What a row measures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub row: &'static str,
    /// Unit of both numbers.
    pub unit: &'static str,
    /// Which of them is the better one.
    pub better: Better,
    /// What is on disk when an operation counts as done, on both sides.
    pub durability: &'static str,
}

/// One comparison.
#[derive(Clone, Debug)]
struct Row {
    kind: Kind,
    /// Against what.
    peer: String,
    /// Ferry's rounds.
    ferry: Vec<f64>,
    /// The peer's rounds.
    peers: Vec<f64>,
}

impl Row {
    /// How much better Ferry is: 2 is twice as good, also where less is better.
    fn ratio(&self) -> f64 {
        let (ferry, peer) = (median(&self.ferry), median(&self.peers));
        match self.kind.better {
            Better::More => ferry / peer,
            Better::Less => peer / ferry,
        }
    }

    fn json(&self) -> Value {
        json!({
            "row": self.kind.row,
            "peer": self.peer,
            "unit": self.kind.unit,
            "ferry": rounded(median(&self.ferry)),
            "peer_value": rounded(median(&self.peers)),
            "ratio": rounded(self.ratio()),
            "durability": self.kind.durability,
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
    /// Only rows whose name has this in it.
    pub rows: Option<String>,
    /// Where the rows go.
    pub json: Option<PathBuf>,
    /// How long the write-heavy run takes, in minutes.
    pub minutes: Option<u64>,
}

impl Options {
    /// Reads `[--quick] [--rows TEXT] [--json FILE] [--minutes N]`.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--rows" => {
                    options.rows = Some(arguments.next().context("--rows needs a part of their names")?)
                }
                "--json" => options.json = Some(arguments.next().context("--json needs a file")?.into()),
                "--minutes" => {
                    let minutes = arguments.next().context("--minutes needs a number")?;
                    options.minutes = Some(minutes.parse().context("--minutes needs a number")?);
                }
                other => anyhow::bail!("{other}? usage: [--quick] [--rows TEXT] [--json FILE] [--minutes N]"),
            }
        }
        Ok(options)
    }

    /// Whether a row of this name is asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.rows.as_ref().is_none_or(|part| row.contains(part.as_str()))
    }
}

/// The rows of a run.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    more: Vec<Value>,
}

impl Table {
    /// One round of the row of `kind` against `peer`.
    pub fn push(&mut self, kind: &Kind, peer: &str, ferry: f64, value: f64) {
        let same = |row: &&mut Row| row.kind.row == kind.row && row.peer == peer;
        if let Some(row) = self.rows.iter_mut().find(same) {
            row.ferry.push(ferry);
            row.peers.push(value);
        } else {
            let row = Row { kind: *kind, peer: peer.to_owned(), ferry: vec![ferry], peers: vec![value] };
            self.rows.push(row);
        }
    }

    /// Something else for programs, behind the rows.
    pub fn push_more(&mut self, more: Value) {
        self.more.push(more);
    }

    /// Prints the table, and writes the rows where they are wanted.
    ///
    /// # Errors
    /// The host's, for the file; and if no row has the name that was asked for.
    pub fn report(&self, options: &Options) -> Result<()> {
        let rows: Vec<_> = self.rows.iter().filter(|row| options.wants(row.kind.row)).collect();
        anyhow::ensure!(
            !rows.is_empty(),
            "no row has {:?} in its name",
            options.rows.as_deref().unwrap_or("")
        );
        let width = |of: fn(&Row) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
        let (first, second) = (width(|row| row.kind.row.len()), width(|row| row.peer.len()));
        println!(
            "{:first$}  {:second$}  {:>10}  {:>10}  {:>7}  unit",
            "row", "peer", "Ferry", "peer", "ratio"
        );
        for row in &rows {
            let (ferry, peer, ratio) = (median(&row.ferry), median(&row.peers), row.ratio());
            let (name, peer_name, unit) = (row.kind.row, &row.peer, row.kind.unit);
            println!("{name:first$}  {peer_name:second$}  {ferry:10.1}  {peer:10.1}  {ratio:7.2}  {unit}");
        }
        if let Some(path) = &options.json {
            let rows: Vec<_> = rows.iter().map(|row| row.json()).chain(self.more.iter().cloned()).collect();
            let text = serde_json::to_string_pretty(&rows)? + "\n";
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(better: Better, ferry: f64, peer: f64) -> Row {
        let kind = Kind { row: "", unit: "s", better, durability: "" };
        Row { kind, peer: String::new(), ferry: vec![ferry], peers: vec![peer] }
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
