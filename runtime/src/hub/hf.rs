//! Names of files on a hub, `hf:OWNER/REPO[@REVISION]/FILE.gguf`: checked, then made a path of the cache and a URL.

use super::HubError;
use crate::gguf::split;
use std::path::{Path, PathBuf};

/// Longest name, in bytes.
const MAX_NAME: usize = 1024;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HfName {
    owner: String,
    repo: String,
    revision: String,
    /// Path inside the repository.
    file: String,
}

impl HfName {
    /// Parses `OWNER/REPO[@REVISION]/FILE.gguf`, without `hf:`.
    pub(super) fn parse(text: &str) -> Result<HfName, HubError> {
        let fail = |why: &str| HubError::name(format!("`hf:{text}`: {why}; write hf:OWNER/REPO/FILE.gguf"));
        let name = HfName::parse_any(text, fail)?;
        if name.extension() == "gguf" { Ok(name) } else { Err(fail("the file does not end in .gguf")) }
    }

    /// A file of the repository `OWNER/REPO[@REVISION]`.
    pub(super) fn of_repository(repository: &str, file: &str) -> Result<HfName, HubError> {
        let fail = |why: &str| HubError::name(format!("`{repository}`: {why}; write OWNER/REPO[@REVISION]"));
        if repository.split('/').count() != 2 {
            return Err(fail("it is not an owner and a repository"));
        }
        HfName::parse_any(&format!("{repository}/{file}"), fail)
    }

    fn parse_any(text: &str, fail: impl Fn(&str) -> HubError) -> Result<HfName, HubError> {
        if text.len() > MAX_NAME {
            return Err(HubError::name(format!("a model name of {} bytes is too long", text.len())));
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(fail("it has a backslash or a control character"));
        }
        let mut parts = text.splitn(3, '/');
        let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fail("it needs an owner, a repository and a file"));
        };
        let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        let mut segments = [owner, repo, revision].into_iter().chain(file.split('/'));
        if segments.any(|s| s.is_empty() || s == "." || s == ".." || s.len() > 200) {
            return Err(fail("a part of it is empty, `.`, `..` or too long"));
        }
        let plain = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if ![owner, repo, revision].into_iter().all(plain) {
            return Err(fail("owner, repository and revision are letters, digits, `-`, `_` and `.`"));
        }
        let [owner, repo, revision, file] = [owner, repo, revision, file].map(str::to_owned);
        Ok(HfName { owner, repo, revision, file })
    }

    /// What follows the last point of the file's name.
    pub(super) fn extension(&self) -> &str {
        self.file.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The name that a file of the cache has, from its path below `HOME/hf`.
    pub(super) fn of_path(below: &Path) -> Option<HfName> {
        let parts: Option<Vec<&str>> = below.iter().map(|p| p.to_str()).collect();
        let parts = parts?;
        let [owner, repo, revision, file @ ..] = parts.as_slice() else { return None };
        HfName::parse(&format!("{owner}/{repo}@{revision}/{}", file.join("/"))).ok()
    }

    /// Where it lies below `HOME/hf`.
    pub(super) fn path(&self) -> PathBuf {
        [&self.owner, &self.repo, &self.revision]
            .into_iter()
            .map(Path::new)
            .collect::<PathBuf>()
            .join(&self.file)
    }

    /// Where it is served.
    pub(super) fn url(&self, endpoint: &str) -> String {
        let file: Vec<String> = self.file.split('/').map(percent_encode).collect();
        let HfName { owner, repo, revision, .. } = self;
        format!("{}/{owner}/{repo}/resolve/{revision}/{}", endpoint.trim_end_matches('/'), file.join("/"))
    }

    /// The file, or all shards when it is one of several; `None` for a shard that is not the first.
    pub(super) fn shards(&self) -> Result<Vec<HfName>, HubError> {
        let Some(shard) = split::parse(&self.file) else { return Ok(vec![self.clone()]) };
        if shard.number != 1 {
            let first = HfName { file: shard.name_of(1), ..self.clone() };
            let (n, count) = (shard.number, shard.count);
            return Err(HubError::name(format!(
                "`{self}` is part {n} of {count}; give the first, `{first}`"
            )));
        }
        Ok((1..=shard.count).map(|i| HfName { file: shard.name_of(i), ..self.clone() }).collect())
    }
}

impl std::fmt::Display for HfName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hf:{}/{}", self.owner, self.repo)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        write!(f, "/{}", self.file)
    }
}

fn percent_encode(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    segment.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
