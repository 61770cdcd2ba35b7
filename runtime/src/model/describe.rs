//! What a spec says, for a person.

use super::spec::{
    AttentionSpec, LayerSpec, Mixer, ModelSpec, Norm, QkNorm, Residual, RopeFactors, RopeScaling,
};

/// Layers that are described alike, in order of their first.
fn groups<T: PartialEq>(layers: &[LayerSpec], of: impl Fn(&LayerSpec) -> T) -> Vec<(usize, T)> {
    let mut groups: Vec<(usize, T)> = Vec::new();
    for layer in layers {
        let this = of(layer);
        match groups.iter_mut().find(|(_, other)| *other == this) {
            Some((n, _)) => *n += 1,
            None => groups.push((1, this)),
        }
    }
    groups
}

/// `3 × this, 1 × that`, or `this` when there is nothing else.
fn list(groups: &[(usize, String)]) -> String {
    match groups {
        [(_, only)] => only.clone(),
        many => many.iter().map(|(n, what)| format!("{n} × {what}")).collect::<Vec<_>>().join("; "),
    }
}

fn heads(a: &AttentionSpec) -> String {
    let (h, kv, d, v) = (a.n_heads, a.n_kv_heads, a.head_dim, a.value_dim);
    let value = if v == d { String::new() } else { format!(", values of {v}") };
    let latent = if a.latent.is_some() { ", from latent vectors" } else { "" };
    format!("{h} heads of {d}{value}, {kv} for keys and values{latent}")
}

fn scores(a: &AttentionSpec) -> String {
    let mut parts = vec![a.window.map_or("all keys".to_owned(), |w| format!("the last {w} keys"))];
    let norm = match a.qk_norm {
        QkNorm::None => None,
        QkNorm::PerHead | QkNorm::OwnPerHead => Some("queries and keys normed by head"),
        QkNorm::Whole => Some("queries and keys normed over all heads"),
    };
    parts.extend(norm.map(str::to_owned));
    parts.extend((!a.slopes.is_empty()).then(|| "ALiBi".to_owned()));
    parts.extend(a.softcap.map(|c| format!("softcap {c}")));
    parts.extend(a.clamp.map(|c| format!("clamped to {c}")));
    parts.join(", ")
}

impl ModelSpec {
    /// Lines of a name and what it is, about how the decoder runs the model.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let (dim, vocab) = (self.dim, self.vocab_size);
        let half = groups(&self.layers, |l| l.residual == Residual::Parallel);
        let parallel = half.iter().any(|(_, parallel)| *parallel);
        let halves = if parallel { ", both halves at once" } else { "" };
        let norm = match self.norm {
            Norm::Rms => "RMSNorm",
            Norm::Layer => "LayerNorm",
            Norm::Plain => "LayerNorm without weights",
        };
        let mixers = groups(&self.layers, |l| match &l.mixer {
            Mixer::Attention(a) => heads(a),
            Mixer::ShortConv(n) => format!("convolution over {n} positions"),
        });
        let attention = groups(&self.layers, |l| l.mixer.attention().map(scores));
        let attention: Vec<_> = attention.into_iter().filter_map(|(n, a)| Some((n, a?))).collect();
        let ffn = groups(&self.layers, |l| {
            let (f, gate) = (&l.ffn, if l.ffn.gated { " gate" } else { "" });
            let one = format!("{} wide, {:?}{gate}", f.dim, f.activation);
            match &f.experts {
                None => one,
                Some(e) => {
                    let shared =
                        e.shared.map_or(String::new(), |w| format!(" and one {w} wide for every token"));
                    format!("{} of {} experts{shared}, each {one}", e.used, e.n)
                }
            }
        });
        vec![
            ("layers", format!("{} of {dim}, {norm}{halves}", self.layers.len())),
            ("vocabulary", format!("{vocab}")),
            ("heads", list(&mixers)),
            ("attention", list(&attention)),
            ("network", list(&ffn)),
            ("positions", self.positions()),
            ("besides", self.besides()),
        ]
    }

    /// Multipliers and softcaps that most models do not have.
    fn besides(&self) -> String {
        let mut parts = Vec::new();
        let mut times = |what: &str, by: f32| {
            if by != 1.0 {
                parts.push(format!("{what} times {by}"));
            }
        };
        times("embeddings", self.embedding_scale);
        times("what a half of a layer adds", self.layers.first().map_or(1.0, |l| l.residual_scale));
        times("logits", self.logit_scale);
        parts.extend(self.embedding_norm.then(|| "embeddings are normed".to_owned()));
        parts.extend(self.logit_softcap.map(|c| format!("softcap {c} on logits")));
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }

    fn positions(&self) -> String {
        let context = format!("{} at most", self.longest_context());
        if self.learned_positions {
            return format!("learned, {context}");
        }
        let rotated = groups(&self.layers, |l| l.mixer.attention().and_then(|a| a.rope));
        let mut parts: Vec<String> = Vec::new();
        for (n, rope) in &rotated {
            let Some(rope) = rope.and_then(|r| self.ropes.get(r)) else { continue };
            let mut part = format!("{} values rotated, base {}", rope.n_rot, rope.theta);
            match rope.scaling {
                RopeScaling::None => {}
                RopeScaling::Linear { factor } => part += &format!(", stretched {factor} times"),
                RopeScaling::Yarn { factor, .. } => part += &format!(", stretched {factor} times by YaRN"),
            }
            match rope.factors {
                RopeFactors::None => {}
                RopeFactors::Fixed(_) => part += ", with factors",
                RopeFactors::ByContext { original_context, .. } => {
                    part += &format!(", with other factors for contexts over {original_context}");
                }
            }
            parts.push(if *n == self.layers.len() { part } else { format!("{n} × {part}") });
        }
        parts.push(context);
        parts.join("; ")
    }
}
