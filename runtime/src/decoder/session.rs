//! [`Session`]: one conversation with a model.

use super::DecodeError;
use super::cache::Cache;
use super::forward::{self, Batch, Buffers};
use super::ops::Ops;
use super::rope::Rope;
use crate::model::Model;
use crate::team::Team;
use kinglet_kernels::{Kernels, KvType};

/// How a session is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions the session can hold.
    pub n_ctx: usize,
    /// Type of the key-value cache.
    pub kv: KvType,
    /// Tokens that are decoded at once at most.
    pub batch: usize,
}

impl SessionOptions {
    /// Positions when nobody says otherwise: never a function of the machine (law 1).
    pub const DEFAULT_CTX: usize = 4096;
    /// Tokens of a batch when nobody says otherwise.
    pub const DEFAULT_BATCH: usize = 512;

    /// The defaults for a model: f16 cache, batches of 512, as much context as the model has up to
    /// [`SessionOptions::DEFAULT_CTX`].
    pub fn for_model(model: &Model<'_>) -> SessionOptions {
        let n_ctx = model.spec.context_length.min(SessionOptions::DEFAULT_CTX);
        SessionOptions { n_ctx, kv: KvType::F16, batch: SessionOptions::DEFAULT_BATCH }
    }
}

/// Which logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: the tokens only go into the cache.
    Nothing,
    /// Those after the last token.
    Last,
    /// Those after the token with this index, counting from the first one appended, and after all that follow.
    From(usize),
}

/// Rows of logits that are computed at once: a large vocabulary makes them the widest activation.
const LOGIT_ROWS: usize = 16;

/// The key-value cache of one conversation, and the position in it.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model<'m>,
    kernels: Kernels,
    options: SessionOptions,
    cache: Cache,
    ropes: Vec<Rope>,
    buffers: Buffers,
    logits: Vec<f32>,
    position: usize,
    /// The tokens at all positions, of a model whose cache cannot go back to every one.
    tokens: Vec<u32>,
}

impl<'m> Session<'m> {
    /// An empty session. Memory for the cache is taken as the conversation grows.
    ///
    /// # Errors
    /// When the context or the batch is empty, or the context is longer than the model's.
    pub fn new(
        model: &'m Model<'m>,
        kernels: Kernels,
        options: SessionOptions,
    ) -> Result<Session<'m>, DecodeError> {
        let most = model.spec.longest_context();
        if options.n_ctx == 0 || options.n_ctx > most {
            let what =
                format!("a context of {} is not possible: the model was made for 1 to {most}", options.n_ctx);
            return Err(DecodeError::Option(what));
        }
        if options.batch == 0 {
            return Err(DecodeError::Option("a batch of 0 tokens is not possible".to_owned()));
        }
        let ropes: Vec<Rope> = model.spec.ropes.iter().map(|r| Rope::new(r, options.n_ctx)).collect();
        let buffers = Buffers::new(ropes.len());
        let cache = Cache::new(&model.spec, options.kv, options.n_ctx, options.batch);
        let (logits, tokens) = (Vec::new(), Vec::new());
        Ok(Session { model, kernels, options, cache, ropes, buffers, logits, position: 0, tokens })
    }

    /// How many positions are filled.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The options it was made with.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// Forgets everything from `position` on.
    ///
    /// Logits afterwards are those of a session that never went further. Most models go back at once. Where sliding windows
    /// have dropped keys that are needed there, or no state of a convolution was kept, the next [`Session::eval`] first decodes
    /// again what lies between [`Session::resumes_at`] and `position`.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// From which position on tokens are decoded again after a [`Session::rewind`] to `position`: that position itself where
    /// nothing has been lost, which is always so within a batch of the farthest position the session has been at; 0 where a sliding
    /// window has left it behind.
    pub fn resumes_at(&self, position: usize) -> usize {
        let position = self.position.min(position);
        self.cache.resumes_at(position)
    }

    /// Bytes of keys, values and convolution states that are allocated now; [`super::cache_bytes`] says how many they become.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Appends `tokens`, and returns the logits `[vocab_size]` after the last one.
    ///
    /// # Errors
    /// A token that is out of range, a full context, or no memory; nothing has been appended then.
    pub fn eval(&mut self, team: &Team, tokens: &[u32]) -> Result<&[f32], DecodeError> {
        self.eval_with(team, tokens, Want::Last, |_, _| {})?;
        Ok(&self.logits)
    }

    /// Appends `tokens`, and calls `sink(i, logits)` for the tokens whose logits are wanted, `i` counting from the first of
    /// `tokens`.
    ///
    /// # Errors
    /// As [`Session::eval`].
    pub fn eval_with(
        &mut self,
        team: &Team,
        tokens: &[u32],
        want: Want,
        mut sink: impl FnMut(usize, &[f32]),
    ) -> Result<(), DecodeError> {
        let vocab_size = self.model.spec.vocab_size;
        if let Some(id) = tokens.iter().find(|id| **id as usize >= vocab_size) {
            return Err(DecodeError::Token { id: *id, vocab_size });
        }
        let (wanted, n_ctx) = (self.position + tokens.len(), self.options.n_ctx);
        if wanted > n_ctx {
            return Err(DecodeError::Context { wanted, n_ctx });
        }
        self.cache.reserve(wanted)?;
        self.catch_up(team)?;
        let mut done = 0;
        for batch in tokens.chunks(self.options.batch) {
            let last = done + batch.len() == tokens.len();
            let rows = match want {
                Want::Nothing => batch.len()..batch.len(),
                Want::Last if !last => batch.len()..batch.len(),
                Want::Last => batch.len() - 1..batch.len(),
                Want::From(first) => first.saturating_sub(done).min(batch.len())..batch.len(),
            };
            self.decode(team, batch, rows, |i, logits| sink(done + i, logits))?;
            done += batch.len();
        }
        Ok(())
    }

    /// After a rewind to where the cache has kept no state: decodes again what lies between. The bits are the same again.
    fn catch_up(&mut self, team: &Team) -> Result<(), DecodeError> {
        let position = self.position;
        let start = self.cache.rewind(position);
        let missing = self.tokens.get(start..position).unwrap_or_default().to_vec();
        self.position = position - missing.len();
        for batch in missing.chunks(self.options.batch) {
            self.decode(team, batch, 0..0, |_, _| {})?;
        }
        Ok(())
    }

    /// One batch: one parallel region, in which the crew does every operation together. Logits of the tokens `wanted`.
    fn decode(
        &mut self,
        team: &Team,
        tokens: &[u32],
        wanted: std::ops::Range<usize>,
        mut sink: impl FnMut(usize, &[f32]),
    ) -> Result<(), DecodeError> {
        crate::trace::mark("first prompt token");
        let _eval = crate::trace::eval(tokens.len());
        let Session { model, cache, buffers, logits, position, .. } = self;
        cache.write_up_to(*position + tokens.len());
        for (rope, table) in self.ropes.iter().zip(&mut buffers.ropes) {
            rope.fill(table, *position, tokens.len());
        }
        team.region(tokens.len(), |crew| {
            let ops = Ops::new(crew, self.kernels);
            forward::embed(&ops, model, tokens, buffers, *position);
            let batch = Batch { position: *position, wanted: wanted.clone() };
            forward::layers(&ops, model, buffers, cache, batch);
            for start in (0..wanted.len()).step_by(LOGIT_ROWS) {
                let end = (start + LOGIT_ROWS).min(wanted.len());
                forward::logits(&ops, model, buffers, start..end, logits);
                for (i, row) in logits.chunks(model.spec.vocab_size).enumerate() {
                    sink(wanted.start + start + i, row);
                }
            }
            ops.finish()
        })?;
        if self.cache.forgets() {
            self.tokens.truncate(self.position);
            self.tokens.extend_from_slice(tokens);
        }
        self.position += tokens.len();
        Ok(())
    }
}
