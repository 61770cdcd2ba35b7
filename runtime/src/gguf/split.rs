//! Models in several files: `NAME-00001-of-00005.gguf` and so on, with `split.no`, `split.count` and
//! `split.tensors.count` in each. The first is opened, and brings the others.

use std::path::{Path, PathBuf};

/// The name of one file of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardName {
    /// What comes before `-00001-of-00005.gguf`.
    pub stem: String,
    /// Which file this is, counted from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl ShardName {
    /// The name of file `number`.
    pub fn name_of(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// Parses a file name (or a path) that ends in `-00001-of-00005.gguf`; `None` for any other.
pub fn parse(name: &str) -> Option<ShardName> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !five(number) || !five(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then(|| ShardName { stem: stem.to_owned(), number, count })
}

/// What the keys of one file say about the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Keys {
    /// `split.no`, counted from 0.
    pub(super) number: u64,
    /// `split.count`; 0 or 1 for a model in one file.
    pub(super) count: u64,
    /// `split.tensors.count`, of all files together.
    pub(super) tensors: Option<u64>,
}

/// The paths of all files of the model whose first is `path`, in order.
pub(super) fn paths(path: &Path, keys: Keys) -> Result<Vec<PathBuf>, String> {
    let count = keys.count;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let Some(shard) = parse(name) else {
        return Err(format!(
            "the model is split into {count} files, and this one is not named like the first \
             (NAME-00001-of-{count:05}.gguf); give all files their own names again"
        ));
    };
    if u64::from(shard.count) != count {
        return Err(format!("`split.count` is {count}, and the file is named one of {}", shard.count));
    }
    if keys.number + 1 != u64::from(shard.number) {
        return Err(format!(
            "`split.no` is {} (counted from 0), and the file is named number {}",
            keys.number, shard.number
        ));
    }
    if keys.number != 0 {
        return Err(format!("it is file {} of {count}; open the first, {}", shard.number, shard.name_of(1)));
    }
    Ok((1..=shard.count).map(|i| path.with_file_name(shard.name_of(i))).collect())
}
