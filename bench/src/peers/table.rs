//! What a comparison with peers found, as Markdown and JSON.

use crate::report::rows::short;
use crate::stats::median;
use serde_json::{Value, json};

/// One test of one model, tier and number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// File name of the model.
    pub model: String,
    /// Our tier, and what the first peer was built for.
    pub tier: String,
    /// Threads of each.
    pub threads: usize,
    /// `pp512`, `tg128 @ d4096`.
    pub test: String,
    /// Tokens of one run.
    pub tokens: usize,
    /// Bytes of weights that a run reads; 0 where that is not what bounds it.
    pub bytes: u64,
    /// Our seconds, a run each.
    pub ours: Vec<f64>,
    /// Each peer's name and seconds, or why it has none.
    pub peers: Vec<(String, Result<Vec<f64>, String>)>,
    /// Best bytes per second of a plain read of the mapped weights in this test's minutes, and of a large buffer.
    pub roof: (f64, f64),
}

impl Row {
    fn speed(&self, seconds: &[f64]) -> f64 {
        self.tokens as f64 / median(seconds)
    }

    /// Share of the read roof of the mapped weights.
    fn share(&self, seconds: &[f64]) -> Option<f64> {
        let rate = self.bytes as f64 / median(seconds);
        (self.bytes > 0 && self.roof.0 > 0.0).then(|| rate / self.roof.0)
    }

    /// The median of the ratios of neighbours: how many times as fast we are.
    fn ratio(&self, theirs: &[f64]) -> f64 {
        median(&theirs.iter().zip(&self.ours).map(|(t, o)| t / o).collect::<Vec<_>>())
    }
}

fn speed(row: &Row, seconds: &[f64]) -> String {
    let share = row.share(seconds).map_or(String::new(), |s| format!(" ({:.0} %)", s * 100.0));
    format!("{}{share}", short(row.speed(seconds)))
}

/// A table; shares of the read roof are in brackets. `peers` are the columns.
pub fn head(peers: &[String]) -> String {
    let mut out = "| model | tier | threads | test | kinglet t/s |".to_owned();
    peers.iter().for_each(|p| out += &format!(" {p} t/s | ratio |"));
    out += " read GB/s: mapped, buffer |\n|---|---|---:|---|---:|";
    peers.iter().for_each(|_| out += "---:|---:|");
    out + "---:|"
}

/// One line of it.
pub fn line(row: &Row) -> String {
    let Row { model, tier, threads, test, .. } = row;
    let mut out = format!("| {model} | {tier} | {threads} | {test} | {} |", speed(row, &row.ours));
    for (_, peer) in &row.peers {
        out += &match peer {
            Ok(seconds) => format!(" {} | {:.2} |", speed(row, seconds), row.ratio(seconds)),
            Err(_) => " - | - |".to_owned(),
        };
    }
    out + &format!(" {}, {} |", short(row.roof.0 / 1e9), short(row.roof.1 / 1e9))
}

/// Everything with raw samples.
pub fn to_json(rows: &[Row], notes: &[String], kernels: &[Value]) -> Value {
    let row = |r: &Row| {
        let peer = |(name, result): &(String, Result<Vec<f64>, String>)| match result {
            Ok(s) => {
                json!({ "name": name, "t_per_s": r.speed(s), "of_roof": r.share(s), "ratio": r.ratio(s), "seconds": s })
            }
            Err(why) => json!({ "name": name, "error": why }),
        };
        json!({
            "model": r.model, "tier": r.tier, "threads": r.threads, "test": r.test, "tokens": r.tokens, "bytes": r.bytes,
            "read_mapped": r.roof.0, "read_buffer": r.roof.1,
            "kinglet": { "t_per_s": r.speed(&r.ours), "of_roof": r.share(&r.ours), "seconds": r.ours },
            "peers": r.peers.iter().map(peer).collect::<Vec<_>>(),
        })
    };
    json!({ "schema": 1, "kind": "peers", "notes": notes, "tests": rows.iter().map(row).collect::<Vec<_>>(), "kernels": kernels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_neighbours_and_shares_of_the_roof() {
        let row = Row {
            model: "m.gguf".to_owned(),
            tier: "avx2".to_owned(),
            threads: 1,
            test: "tg10".to_owned(),
            tokens: 10,
            bytes: 5_000_000_000,
            ours: vec![1.0, 2.0, 1.0],
            peers: vec![
                ("llama.cpp".to_owned(), Ok(vec![2.0, 4.0, 2.0])),
                ("candle".to_owned(), Err("no Q4_1".to_owned())),
            ],
            roof: (10e9, 8e9),
        };
        assert_eq!(
            line(&row),
            "| m.gguf | avx2 | 1 | tg10 | 10.0 (50 %) | 5.00 (25 %) | 2.00 | - | - | 10.0, 8.00 |"
        );
        let names = ["llama.cpp".to_owned(), "candle".to_owned()];
        let columns = |l: &str| l.matches('|').count();
        assert!(head(&names).lines().all(|l| columns(l) == columns(&line(&row))));
        let json = to_json(&[row], &["a note".to_owned()], &[]);
        assert_eq!(json["tests"][0]["peers"][0]["ratio"], 2.0);
        assert_eq!(json["tests"][0]["peers"][1]["error"], "no Q4_1");
        assert_eq!(json["tests"][0]["kinglet"]["seconds"][1], 2.0);
    }
}
