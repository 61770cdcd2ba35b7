use super::*;
use crate::record::{Layer, Spec, Unit, Work};
use crate::suite::Entry;

/// A benchmark that counts its iterations, and one that cannot be prepared.
struct Counting;

struct Count(u64);

impl Run for Count {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        self.0 += iterations;
        Ok(Some(10.0 * iterations as f64))
    }
    fn checksum(&mut self) -> Result<String, String> {
        Ok(format!("{:x}", self.0))
    }
}

impl Suite for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn list(&self) -> Vec<Entry> {
        let (work, unit) = (Work::default(), Unit::Bytes);
        let spec = Spec { name: "count".to_owned(), layer: Layer::Operation, unit, work, expected: None };
        vec![Entry { spec, skip: None }]
    }
    fn prepare(&mut self, name: &str) -> Result<Box<dyn Run>, String> {
        if name == "count" { Ok(Box::new(Count(0))) } else { Err(format!("no benchmark `{name}`")) }
    }
}

fn ask(requests: &str, injections: &[Injection]) -> Vec<String> {
    let hello = Hello {
        protocol: PROTOCOL,
        suite: "counting".to_owned(),
        version: "1".to_owned(),
        revision: Revision::default(),
        compiler: String::new(),
        flags: String::new(),
    };
    let mut output = Vec::new();
    talk(&mut Counting, &hello, injections, requests.as_bytes(), &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn requests_are_answered_line_by_line() {
    let said = ask("hello\nlist\nprepare count\nrun 2 5\nchecksum\nquit\nhello\n", &[]);
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said[0].contains("\"protocol\":1") && said[1].contains("\"count\""), "{said:?}");
    assert_eq!(said[2], "{\"ok\":true}");
    assert!(said[3].starts_with("{\"samples\":[10.0,10.0]"), "{said:?}");
    // One to warm up and two times five.
    assert_eq!(said[4], "{\"checksum\":\"b\"}");
}

#[test]
fn what_cannot_be_done_is_an_error_and_not_the_end() {
    let said = ask("run 1 1\nprepare other\nrun x\nrun 0 1\nrun 1 0\nwhat\nprepare count\nrun 1 1\n", &[]);
    assert_eq!(said.len(), 8);
    assert!(said[..6].iter().all(|l| l.starts_with("{\"error\":")), "{said:?}");
    assert!(said[7].contains("[10.0]"), "{said:?}");
}

#[test]
fn a_delay_is_added_where_it_is_asked_for() {
    let slow = ["count:5".parse().unwrap(), "other:50".parse().unwrap()];
    let said = ask("prepare count\nrun 1 4\n", &slow);
    assert!(said[1].contains("[10.5]"), "{said:?}");
    for wrong in ["count", "count:", "count:-1", "count:nan", "count:1e9"] {
        assert!(wrong.parse::<Injection>().is_err(), "{wrong}");
    }
}
